"""The activation store: runs as Parquet files that are written once and read by anybody."""

from backend.store.compare import assert_comparable
from backend.store.manifest import Manifest
from backend.store.pair import RunPair
from backend.store.reader import Store
from backend.store.run import Run
from backend.store.source import BrokenRun, Listing
from backend.store.verify import Finding, verify
from backend.store.writer import RunWriter

__all__ = [
    "BrokenRun",
    "Finding",
    "Listing",
    "Manifest",
    "Run",
    "RunPair",
    "RunWriter",
    "Store",
    "assert_comparable",
    "verify",
]
