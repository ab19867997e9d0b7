"""The Trace page: its form, its stages, the strip and the panels that follow it."""
