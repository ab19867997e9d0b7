"""Mean of a value over runs that differ in their seed only, with its uncertainty.

Intervals keep to the range that a measure can have (:class:`Bounds`). Student's t interval over
three seeds does not: with values near 1 it ends above 1 in up to four of five cases, and clipping
it leaves the other end where it was. So the interval is Student's on the scale u = log((m - low) /
(high - m)) of the mean m (log(m - low) with one bound): its standard error there is se · du/dm, the
delta method, and both ends are brought back (Agresti 2013, §3.1.6). It always holds the mean that
is shown. The t interval of the transformed *values* does not: it is about the mean of the logits,
which is another number where values are skewed (coverage 0.88 to 0.95 for 10 values of a beta
distribution; the one here 0.93 to 0.96 for 3, 5 and 10: ``benchmarks/inference.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.errors import InputError
from backend.measures.core.base import Float64
from backend.measures.core.result import NAN

LEVEL = 0.95


@dataclass(frozen=True)
class Bounds:
    """The values that a measure can have, ``low``..``high``; infinite where there is no bound.

    With ``soft`` the measure's expectation is at least ``low`` and single values may lie below it,
    as those of debiased CKA do below 0 where there is no similarity: the bound then gives way to
    two standard deviations below the mean.
    """

    low: float = -math.inf
    high: float = math.inf
    soft: bool = False


UNBOUNDED = Bounds()


@dataclass(frozen=True)
class SeedMean:
    """``mean`` and ``sd`` (with n-1) over ``seeds`` runs and the t interval ``low``..``high``."""

    mean: float
    sd: float
    low: float
    high: float
    seeds: int


def mean_over_seeds(
    values: ArrayLike, level: float = LEVEL, *, bounds: Bounds = UNBOUNDED
) -> SeedMean:
    """Mean, sd and t interval at ``level`` of one value per seed, ``values`` (s,).

    NaN values (a run in which it is undefined) are left out and not counted in ``seeds``. With one
    seed sd and interval are NaN, with none the mean too. The interval keeps to ``bounds``
    (:func:`t_interval`); with equal values, at a bound or not, it is the mean itself. InputError
    for a level outside (0, 1) or values that are not one-dimensional.
    """
    if not 0 < level < 1:
        raise InputError(f"must lie in (0, 1), got {level}", where="level")
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise InputError(f"expected one value a seed, got shape {array.shape}", where="values")
    defined = array[~np.isnan(array)]
    count = len(defined)
    if count == 0:
        return SeedMean(NAN, NAN, NAN, NAN, 0)
    mean = float(defined.mean())
    if count == 1:
        return SeedMean(mean, NAN, NAN, NAN, 1)
    sd = float(defined.std(ddof=1)) if np.ptp(defined) > 0 else 0.0
    return SeedMean(mean, sd, *t_interval(mean, sd, count, level, bounds=bounds), count)


def t_interval(
    mean: float, sd: float, n: int, level: float = LEVEL, *, bounds: Bounds = UNBOUNDED
) -> tuple[float, float]:
    """t interval of the mean of ``n`` values whose sd (with n-1) is ``sd``; NaN for n = 1.

    Student's (1908) without bounds; with them that of the module's docstring, which lies within
    ``bounds`` and holds ``mean``. A bound that the mean itself does not keep to is no bound.
    """
    low, high = t_intervals(np.array([mean]), np.array([sd]), np.array([float(n)]), level, bounds)
    return float(low[0]), float(high[0])


def t_intervals(
    means: Float64, sds: Float64, n: Float64, level: float = LEVEL, bounds: Bounds = UNBOUNDED
) -> tuple[Float64, Float64]:
    """:func:`t_interval` of many means at once, all of one shape: their lower and upper ends."""
    half = t_quantile(n - 1, level) * sds / np.sqrt(n)
    floor = np.minimum(bounds.low, means - 2 * sds) if bounds.soft else bounds.low
    below, above = _inverse(means - floor), _inverse(bounds.high - means)
    # How far the mean moves on the scale u, and what of the way is left at either end.
    step = half * (below + above)
    way, left = -np.expm1(-step), np.exp(-step)
    with np.errstate(divide="ignore", invalid="ignore"):
        down = np.where(step > 0, way / (below + above * left), half)
        up = np.where(step > 0, way / (above + below * left), half)
    return means - down, means + up


def _inverse(distance: Float64) -> Float64:
    """1 / distance to a bound; 0 where there is none, or the mean does not keep to it."""
    with np.errstate(divide="ignore"):
        inverse: Float64 = np.where(distance > 0, 1 / distance, 0.0)
    return inverse


@overload
def t_quantile(freedom: float, level: float = ...) -> float: ...
@overload
def t_quantile(freedom: NDArray[np.float64], level: float = ...) -> NDArray[np.float64]: ...
def t_quantile(
    freedom: float | NDArray[np.float64], level: float = LEVEL
) -> float | NDArray[np.float64]:
    """How many standard errors the two-sided t interval at ``level`` reaches; NaN without freedom.

    ``scipy.special`` and not ``scipy.stats``, which takes several times as long to import: every
    page with a band needs this.
    """
    from scipy.special import stdtrit

    reach = stdtrit(np.where(np.asarray(freedom) > 0, freedom, np.nan), (1 + level) / 2)
    return reach if isinstance(freedom, np.ndarray) else float(reach)
