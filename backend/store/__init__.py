"""The activation store: runs as Parquet files that are written once and read by anybody."""

from backend.store.manifest import Manifest
from backend.store.reader import BrokenRun, Store
from backend.store.run import Run, assert_comparable
from backend.store.writer import RunWriter

__all__ = ["BrokenRun", "Manifest", "Run", "RunWriter", "Store", "assert_comparable"]
