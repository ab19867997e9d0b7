"""Training one placement over several seeds. Needs torch."""
