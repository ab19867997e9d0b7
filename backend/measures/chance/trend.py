"""Whether one number goes up with another over a few models: rank correlation, counted chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from backend.measures.core.base import Float64
from backend.measures.core.result import NAN

LEAST = 4
"""Models without which nothing is said: of three no order is rarer than one in six."""

_ORDERS = 9_999


@dataclass(frozen=True)
class Trend:
    """Spearman's ``rho`` over ``n`` models, and the share of their orders with one as high."""

    rho: float
    p_value: float
    n: int


def rank_trend(x: Float64, y: Float64, seed: int = 0) -> Trend:
    """Spearman's rank correlation of ``x`` and ``y`` (n,) and its one-sided p-value by permutation.

    All orders are counted where there are at most 5,040 (n <= 7), else 9,999 random ones and the
    one that is there. NaN for fewer than ``LEAST`` models and where either side is constant.
    (Spearman 1904.)
    """
    from scipy.stats import rankdata

    n = len(x)
    if n < LEAST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Trend(NAN, NAN, n)
    a, b = (rankdata(side) - (n + 1) / 2 for side in (x, y))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    rho = float(a @ b) / scale
    rng = np.random.default_rng(seed)
    every = n <= 7
    orders = (
        np.array([*permutations(range(n))])
        if every
        else rng.permuted(np.tile(np.arange(n), (_ORDERS, 1)), axis=1)
    )
    as_high = int((b[orders] @ a / scale >= rho - 1e-12).sum())
    p = as_high / len(orders) if every else (as_high + 1) / (len(orders) + 1)
    return Trend(rho, p, n)
