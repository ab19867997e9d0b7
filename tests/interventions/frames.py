"""Tables of interventions with values that are known."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from backend.interventions.partners import PARTNERS
from backend.interventions.run import COLUMNS

Value = Callable[[str, str, str, int, int], float]
"""(weights, partner, placement, seed, layer) -> CKA of the transition to that layer."""

FUSED = {"early": (2,), "late": (4,)}


def cka_table(
    value: Value, seeds: tuple[int, ...] = (0, 1, 2), stream: str = "vision"
) -> pd.DataFrame:
    """CKA at transitions 1 to 4 of one stream, two placements, trained and untrained."""
    rows = [
        (
            *(f"{placement}-{seed}", "macros", placement, seed, weights, partner, stream, k),
            *("k-1 to k", k in fused, "cls", "cka", "debiased"),
            *(value(weights, partner, placement, seed, k), 64, ""),
        )
        for placement, fused in FUSED.items()
        for seed in seeds
        for weights in ("trained", "untrained")
        for partner in PARTNERS
        for k in range(1, 5)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"seed": "Int64"})
