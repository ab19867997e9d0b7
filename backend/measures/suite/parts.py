"""Which measures are computed together: the parts of a preset, and how a store names their files.

Every part of a preset is one file a pooling in the store, so that a new measure costs its own part
only, and a page reads the parts that it shows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

PRESETS = ("default", "thesis")

PARTS: dict[str, tuple[str, ...]] = {
    "cka": ("cka",),
    "rbf": ("cka_rbf",),
    "shape": ("procrustes",),
    "cca": ("svcca", "pwcca", "mean_cca"),
    "neighbours": ("mutual_knn", "jaccard_knn", "cknna"),
    "rsa": ("rsa",),
    "retrieval": ("recall_at_1", "recall_at_5", "recall_at_10"),
    "gap": ("modality_gap", "alignment", "uniformity"),
    "dimension": (
        "effective_dimension",
        "participation_ratio",
        "effective_rank",
        "stable_rank",
        "two_nn",
    ),
    "probes": ("linear_probe",),
}
"""{part: the measures that it holds} of the default preset."""

THESIS_PARTS: dict[str, tuple[str, ...]] = {
    "cka": ("cka",),
    "shape": ("procrustes",),
    "cca": ("svcca",),
    "neighbours": ("mutual_knn",),
    "dimension": PARTS["dimension"][:4],
}
"""The same of the thesis preset."""

_HELD = {"default": PARTS, "thesis": THESIS_PARTS}

_KEY = re.compile(r"([a-z]+)-([a-z]+)-([a-z]+)-[0-9a-f]{10}")


def gallery_names(a: str, b: str) -> tuple[str, str]:
    """What two streams are called in the directions of retrieval: what is found is an image."""
    one, other = ("image" if name == "vision" else name for name in (a, b))
    return (one, other) if one != other else (a, b)


def preset_of(key: str) -> str:
    """The preset of a store's key of measures; a key of another form counts as default."""
    found = _KEY.fullmatch(key)
    return found[1] if found and found[1] in PRESETS else "default"


def measures_of(key: str) -> tuple[str, ...] | None:
    """The measures that the file of a key may hold; None where only reading it tells."""
    found = _KEY.fullmatch(key)
    return _HELD[found[1]].get(found[2]) if found and found[1] in _HELD else None


def may_hold(key: str, names: Sequence[str]) -> bool:
    """Whether a key's file may hold any of the measures."""
    held = measures_of(key)
    return held is None or not set(held).isdisjoint(names)
