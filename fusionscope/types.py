"""The words of a model's description, as values: streams, sites, meets, and a dataset's records."""

from backend.types import (
    BLOCK,
    POOLINGS,
    LayerRef,
    Meet,
    Pooling,
    Record,
    Site,
    StreamSpec,
    TaskSpec,
    matched_layers,
)

__all__ = [
    "BLOCK",
    "POOLINGS",
    "LayerRef",
    "Meet",
    "Pooling",
    "Record",
    "Site",
    "StreamSpec",
    "TaskSpec",
    "matched_layers",
]
