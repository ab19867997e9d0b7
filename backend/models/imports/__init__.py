"""Checkpoints of other programs, turned into our own: one file a format, one line in registry.py.

They are pickles, so nothing of them is believed before :mod:`backend.models.imports.archive` has
listed what is in them.
"""
