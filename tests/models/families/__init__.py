"""A tiny random model of the real class for every family: one module each, with ``tiny()``."""
