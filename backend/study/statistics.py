"""Effects with their intervals and p-values, for the few runs that a study has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.measures.chance.seeds import LEVEL, mean_over_seeds, t_quantile
from backend.measures.core.base import Float64

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """``value`` with its 95 % interval over ``n`` units, and the two-sided ``p`` of the null.

    NaN where it cannot be known: the interval with one unit, ``p`` also where all units are equal,
    which gives no idea of their spread. ``se`` is the standard error with ``freedom`` degrees of
    freedom, on the scale of the test. ``from_items`` is the share of the variance (0..1) that comes
    from the choice of a test set; NaN where the test set is taken as given.
    """

    value: float
    low: float
    high: float
    n: int
    p: float
    se: float = NAN
    freedom: float = NAN
    from_items: float = NAN


NOTHING = Estimate(NAN, NAN, NAN, 0, NAN)


def mean_estimate(values: Sequence[float]) -> Estimate:
    """Mean of one value a unit with Student's t interval and the t test of mean = 0."""
    over = mean_over_seeds(list(values))
    p = NAN
    if over.seeds > 1 and over.sd > 1e-12 * max(abs(over.mean), 1e-12):
        from scipy.stats import ttest_1samp

        p = float(ttest_1samp(values, 0.0, nan_policy="omit").pvalue)
    se = over.sd / math.sqrt(over.seeds) if over.seeds > 1 else NAN
    return Estimate(over.mean, over.low, over.high, over.seeds, p, se, over.seeds - 1)


def crossed_estimate(values: Sequence[float], influences: Float64) -> Estimate:
    """Mean of one value a seed, where all seeds were scored on one sample of items, too.

    ``values`` are S differences, ``influences`` (S, G) what each of G items (or groups of them)
    adds to each: (G - 1) (value - value without it), the jackknife (Efron 1982). Seeds and items
    are crossed and both are random, so the variance of the mean is that over seeds, plus that over
    items, less what both hold of the noise of single cells (Dorfman, Berbaum and Metz 1992, for
    readers and cases); what items add is at least 0 (Hillis 2007). The degrees of freedom are those
    at which Student's 95 % quantile is the mean of the two, weighted by their variances (Cochran
    and Cox 1950, §4.14): Satterthwaite's find up to 9 % where nothing is, with 3 seeds
    (``benchmarks/inference_study.py``). NaN as for :func:`mean_estimate`.
    """
    alone = mean_estimate(values)
    seeds, groups = influences.shape
    if seeds < 2:
        return alone
    means = influences.mean(axis=0)
    noise = influences - means - influences.mean(axis=1, keepdims=True) + influences.mean()
    cells = float((noise**2).sum()) / ((seeds - 1) * (groups - 1)) / (seeds * groups)
    items = max(float(means.var(ddof=1)) / groups - cells, 0.0)
    variance = alone.se**2 + items
    if not variance > (1e-12 * max(abs(alone.value), 1e-12)) ** 2:
        return alone
    from scipy.special import stdtr, stdtridf

    share = items / variance
    reach = (1 - share) * t_quantile(seeds - 1) + share * t_quantile(groups - 1)
    freedom = float(stdtridf((1 + LEVEL) / 2, reach))
    se = math.sqrt(variance)
    p = 2 * float(stdtr(freedom, -abs(alone.value) / se))
    low, high = alone.value - reach * se, alone.value + reach * se
    return Estimate(alone.value, low, high, seeds, p, se, freedom, share)


def equivalence_p(estimate: Estimate, low: float, high: float) -> float:
    """p of "the mean lies within ``low``..``high``", or outside where the estimate does.

    Two one-sided tests (Schuirmann 1987), doubled: below 0.05 exactly where the estimate's 95 % t
    interval lies wholly within the margin, or wholly outside. NaN where there is no spread.
    """
    if math.isnan(estimate.p):
        return NAN
    from scipy.special import stdtr

    below = float(stdtr(estimate.freedom, (low - estimate.value) / estimate.se))
    above = float(stdtr(estimate.freedom, (estimate.value - high) / estimate.se))
    if low < estimate.value < high:
        return min(1.0, 2 * max(below, above))
    return min(1.0, 2 - 2 * max(below, above))


def welch_estimate(
    mean_a: float, sd_a: float, n_a: int, mean_b: float, sd_b: float, n_b: int
) -> Estimate:
    """``mean_a - mean_b`` of two independent groups given as mean, sd and n (Welch 1947).

    ``n`` is that of the smaller group. Where both sds are 0 there is no interval.
    """
    value, n = mean_a - mean_b, min(n_a, n_b)
    if n < 2 or not sd_a + sd_b > 0:
        return Estimate(value, NAN, NAN, n, NAN)
    from scipy.stats import ttest_ind_from_stats

    a, b = sd_a**2 / n_a, sd_b**2 / n_b
    freedom = (a + b) ** 2 / (a**2 / (n_a - 1) + b**2 / (n_b - 1))
    half = t_quantile(freedom) * math.sqrt(a + b)
    test = ttest_ind_from_stats(mean_a, sd_a, n_a, mean_b, sd_b, n_b, equal_var=False)
    se = math.sqrt(a + b)
    return Estimate(value, value - half, value + half, n, float(test.pvalue), se, freedom)


def pearson(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Pearson's r with Fisher's z interval (n > 3) and the t test of r = 0; NaN if constant.

    ``se`` is that of Fisher's z, 1 / √(n - 3), and ``freedom`` that of the t test, n - 2.
    """
    return _correlation(np.asarray(x, np.float64), np.asarray(y, np.float64), ranks=False)


def spearman(x: Sequence[float], y: Sequence[float]) -> Estimate:
    """Spearman's ρ with the interval of Bonett and Wright (2000), n > 3; ties share their rank.

    ``p`` is that of the t approximation; for ρ = ±1 it is exact and there is no interval.
    """
    from scipy.stats import rankdata

    return _correlation(rankdata(x), rankdata(y), ranks=True)


def leave_one_out(x: Sequence[float], y: Sequence[float]) -> tuple[tuple[int, float], ...]:
    """(index, Pearson's r without it) for every unit, lowest r first."""
    without = [
        (at, pearson(np.delete(x, at).tolist(), np.delete(y, at).tolist()).value)
        for at in range(len(x))
    ]
    return tuple(sorted(without, key=lambda item: item[1]))


def _correlation(x: np.ndarray, y: np.ndarray, *, ranks: bool) -> Estimate:
    n = len(x)
    if n < 2 or _constant(x) or _constant(y):
        return Estimate(NAN, NAN, NAN, n, NAN)
    from scipy.stats import norm, pearsonr

    result = pearsonr(x, y)
    r = float(result.statistic)
    if n < 4:
        return Estimate(r, NAN, NAN, n, NAN)
    if 1 - abs(r) < 1e-12:
        # Equal ranks say nothing of the spread; their chance is exact.
        return Estimate(r, NAN, NAN, n, 2 / math.factorial(n)) if ranks else Estimate(r, r, r, n, 0)
    spread = 1 + r**2 / 2 if ranks else 1.0
    half = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt(spread / (n - 3))
    low, high = math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
    return Estimate(r, low, high, n, float(result.pvalue), math.sqrt(spread / (n - 3)), n - 2)


def _constant(values: np.ndarray) -> bool:
    """Whether values are equal up to rounding."""
    return float(np.ptp(values)) <= 1e-12 * max(1.0, float(np.abs(values).max()))
