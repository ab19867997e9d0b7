"""Effects with their intervals and p-values, for the few runs that a study has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.measures.chance.seeds import mean_over_seeds

NAN = float("nan")
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """``value`` with its 95 % interval over ``n`` units, and the two-sided ``p`` of the null.

    NaN where it cannot be known: the interval with one unit, ``p`` also where all units are equal,
    which gives no idea of their spread.
    """

    value: float
    low: float
    high: float
    n: int
    p: float


NOTHING = Estimate(NAN, NAN, NAN, 0, NAN)


def mean_estimate(values: Sequence[float], null: float = 0.0) -> Estimate:
    """Mean of one value a unit with Student's t interval and the t test of mean = ``null``."""
    found = mean_over_seeds(list(values), LEVEL)
    p = NAN
    if found.seeds > 1 and found.sd > 1e-12 * max(abs(found.mean - null), 1e-12):
        from scipy.special import stdtr

        t = (found.mean - null) / (found.sd / math.sqrt(found.seeds))
        p = 2 * float(stdtr(found.seeds - 1, -abs(t)))
    return Estimate(found.mean, found.low, found.high, found.seeds, p)


def welch_estimate(
    mean_a: float, sd_a: float, n_a: int, mean_b: float, sd_b: float, n_b: int
) -> Estimate:
    """``mean_a - mean_b`` of two independent groups given as mean, sd and n (Welch 1947).

    ``n`` is that of the smaller group. Where both sds are 0 there is no interval.
    """
    if min(n_a, n_b) < 2 or not sd_a + sd_b > 0:
        return Estimate(mean_a - mean_b, NAN, NAN, min(n_a, n_b), NAN)
    from scipy.special import stdtr, stdtrit

    a, b = sd_a**2 / n_a, sd_b**2 / n_b
    se = math.sqrt(a + b)
    df = (a + b) ** 2 / (a**2 / (n_a - 1) + b**2 / (n_b - 1))
    half = float(stdtrit(df, (1 + LEVEL) / 2)) * se
    value = mean_a - mean_b
    p = 2 * float(stdtr(df, -abs(value / se)))
    return Estimate(value, value - half, value + half, min(n_a, n_b), p)


def pearson(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Pearson's r with Fisher's z interval (n > 3) and the t test of r = 0; NaN if constant."""
    return _correlation(np.asarray(x, np.float64), np.asarray(y, np.float64), ranks=False)


def spearman(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Spearman's ρ with the interval of Bonett and Wright (2000), n > 3; ties share their rank.

    ``p`` is that of the t approximation; for ρ = ±1 it is exact and there is no interval.
    """
    return _correlation(_ranks(x), _ranks(y), ranks=True)


def leave_one_out(x: Sequence[float], y: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """(index, Pearson's r without it) for every unit, lowest r first."""
    found = []
    for at in range(len(x)):
        rest_x = [v for i, v in enumerate(x) if i != at]
        rest_y = [v for i, v in enumerate(y) if i != at]
        found.append((at, pearson(rest_x, rest_y).value))
    return tuple(sorted(found, key=lambda item: item[1]))


def _correlation(x: np.ndarray, y: np.ndarray, *, ranks: bool) -> Estimate:
    n = len(x)
    if n < 2:
        return Estimate(NAN, NAN, NAN, n, NAN)
    a, b = x - x.mean(), y - y.mean()
    norms = math.sqrt(float(a @ a) * float(b @ b))
    tiny = 1e-12 * max(1.0, float(np.abs(x).max()) * float(np.abs(y).max())) * n
    if norms <= tiny:
        return Estimate(NAN, NAN, NAN, n, NAN)
    r = max(-1.0, min(1.0, float(a @ b) / norms))
    if n < 4:
        return Estimate(r, NAN, NAN, n, NAN)
    if 1 - abs(r) < 1e-12:
        # Equal ranks say nothing of the spread; their chance is known exactly.
        return Estimate(r, NAN, NAN, n, 2 / math.factorial(n)) if ranks else Estimate(r, r, r, n, 0)
    from scipy.special import ndtri, stdtr

    spread = 1 + r**2 / 2 if ranks else 1.0
    half = float(ndtri((1 + LEVEL) / 2)) * math.sqrt(spread / (n - 3))
    t = r * math.sqrt((n - 2) / (1 - r**2))
    low, high = math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
    return Estimate(r, low, high, n, 2 * float(stdtr(n - 2, -abs(t))))


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Ranks from 1, ties at their mean."""
    array = np.asarray(values, np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: np.ndarray = ((ends - counts + 1 + ends) / 2)[inverse]
    return ranks
