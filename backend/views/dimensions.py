"""The measures of one layer as pages name them: title, meaning, and the words on an axis."""

from __future__ import annotations

MEASURES: dict[str, tuple[str, str, str]] = {
    "effective_dimension": (
        "Effective dimension",
        "Principal components that hold 95 % of the variance.",
        "components for 95 %",
    ),
    "participation_ratio": (
        "Participation ratio",
        "How evenly the variance is spread: 1 if one direction holds all of it, d if all share it.",
        "participation ratio",
    ),
    "effective_rank": (
        "Effective rank",
        "The exponential of the entropy of the singular values: small directions count as well.",
        "effective rank",
    ),
    "stable_rank": (
        "Stable rank",
        "The total variance over that of the largest direction.",
        "stable rank",
    ),
    "two_nn": (
        "Intrinsic dimension",
        "TwoNN: from the distances to a sample's two nearest neighbours; sees curved sheets, too.",
        "intrinsic dimension (TwoNN)",
    ),
}
SHOWN_FIRST = ("effective_dimension", "participation_ratio")
