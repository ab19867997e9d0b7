"""Data: opening a dataset by its layout, and what the author of a layout writes."""

from backend.data.base import Pair, PairSource
from backend.data.registry import open_source
from backend.data.sample import Sample

__all__ = ["Pair", "PairSource", "Sample", "open_source"]
