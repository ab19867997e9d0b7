"""Mean of a value over runs that differ in their seed only, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backend.errors import InputError
from backend.measures.core.result import NAN

LEVEL = 0.95


@dataclass(frozen=True)
class SeedMean:
    """``mean`` and ``sd`` (with n-1) over ``seeds`` runs and the t interval ``low``..``high``."""

    mean: float
    sd: float
    low: float
    high: float
    seeds: int


def mean_over_seeds(values: ArrayLike, level: float = LEVEL) -> SeedMean:
    """Mean, sd and Student t interval at ``level`` of one value per seed, ``values`` (s,).

    NaN values (a run in which it is undefined) are left out and not counted in ``seeds``. With one
    seed sd and interval are NaN, with none the mean too. The interval assumes that seeds scatter
    about normally; with equal values it is the mean itself. InputError for a level outside (0, 1)
    or values that are not one-dimensional. (Student 1908.)
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
    sd = float(defined.std(ddof=1))
    return SeedMean(mean, sd, *t_interval(mean, sd, count, level), count)


def t_interval(mean: float, sd: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Student's t interval of the mean of ``n`` values whose sd (with n-1) is ``sd``."""
    half = t_quantile(n - 1, level) * sd / math.sqrt(n) if n > 1 else NAN
    return mean - half, mean + half


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
