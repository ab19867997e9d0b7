"""The mean of a ratio over samples of unlike size: summed numerators over summed denominators."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backend.measures.chance.seeds import LEVEL, t_quantile
from backend.measures.core.base import Float64
from backend.measures.core.result import NAN


class Ratio(NamedTuple):
    """``value`` with its interval ``low``..``high``, of ``groups`` independent groups."""

    value: float
    low: float
    high: float
    groups: int


def ratio(
    numerators: Float64,
    denominators: Float64,
    groups: np.ndarray | None = None,
    level: float = LEVEL,
) -> Ratio:
    """Σ numerators / Σ denominators, both (n,), with Student's interval over groups of samples.

    The standard error is that of a ratio of two sums over independent groups (Cochran 1977,
    §2.11). ``groups`` (n,) are names; None: each sample is its own. NaN where the denominators sum
    to 0, and for the interval of a single group.
    """
    which = np.arange(len(numerators))
    if groups is not None:
        _, which = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    above, below = np.bincount(which, numerators), np.bincount(which, denominators)
    count, total = len(above), float(below.sum())
    if total == 0:
        return Ratio(NAN, NAN, NAN, count)
    value = float(above.sum() / total)
    if count < 2:
        return Ratio(value, NAN, NAN, count)
    left = above - value * below
    se = float(np.sqrt((left**2).sum() * count / (count - 1))) / abs(total)
    half = float(t_quantile(float(count - 1), level)) * se
    return Ratio(value, value - half, value + half, count)
