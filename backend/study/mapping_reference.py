"""Published curves of how image tokens are rebuilt by autoencoders of text, read-only.

Source: Venhoff et al. (2025), "How visual representations map to language feature space in
multimodal LLMs": frozen Gemma 2 2B and CLIP ViT-L/14 joined by one linear adapter, read with Gemma
Scope's autoencoders of 16,384 features after each of 26 blocks. Read off their figures, so to
about 1 % of an axis. Only numbers are kept: ``data/mapping_curves.csv``.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import pandas as pd

SOURCE = (
    "Venhoff et al. (2025), read off their figures: Gemma 2 2B and CLIP ViT-L/14, one linear "
    "adapter, Gemma Scope's autoencoders."
)
MEASURES = ("mse", "l0_share", "match_rate")
DEPTH = 26


@cache
def _curves() -> pd.DataFrame:
    with (files(__package__) / "data" / "mapping_curves.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)


def published_mapping(measure: str) -> pd.DataFrame:
    """``tokens``, ``layer`` (1 to 26), ``value`` of one of :data:`MEASURES`; ValueError else.

    ``mse`` is in their units and not to be compared with that of another model.
    """
    if measure not in MEASURES:
        raise ValueError(f"{measure!r} was not published")
    rows = _curves()
    return rows[rows["measure"].eq(measure)].drop(columns="measure").reset_index(drop=True)
