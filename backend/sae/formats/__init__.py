"""The layouts in which autoencoders are kept: one file a layout, one line in ``loading.py``."""
