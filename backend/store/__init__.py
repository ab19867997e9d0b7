"""The activation store: runs as Parquet files that are written once and read by anybody."""

from backend.store.catalogue import Catalogue
from backend.store.compare import assert_comparable
from backend.store.manifest import Manifest
from backend.store.pair import RunPair
from backend.store.reader import BrokenRun, Store
from backend.store.run import Run
from backend.store.verify import Finding, verify
from backend.store.writer import RunWriter

__all__ = [
    "BrokenRun",
    "Catalogue",
    "Finding",
    "Manifest",
    "Run",
    "RunPair",
    "RunWriter",
    "Store",
    "assert_comparable",
    "verify",
]
