"""Intervals beside values: the same bars in every figure that has them."""

from __future__ import annotations

import pandas as pd


def whiskers(rows: pd.DataFrame, colour: str, **settings: object) -> dict[str, object]:
    """``error_x`` from ``low`` to ``high`` of rows with ``value``; no bar where they are NaN."""
    return {
        "type": "data",
        "symmetric": False,
        "array": (rows["high"] - rows["value"]).to_numpy(),
        "arrayminus": (rows["value"] - rows["low"]).to_numpy(),
        "color": colour,
        **settings,
    }
