"""Activations that somebody else made, as a run like any other."""

from backend.store.imports.load import add_run
from backend.store.imports.options import ImportOptions

__all__ = ["ImportOptions", "add_run"]
