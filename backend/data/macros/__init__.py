"""The generated set: image macros that need no download."""

from backend.data.macros.source import Macros

__all__ = ["Macros"]
