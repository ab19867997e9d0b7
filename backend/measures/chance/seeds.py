"""Mean of a value over runs that differ in their seed only, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from backend.errors import InputError
from backend.measures.core.result import NAN


@dataclass(frozen=True)
class SeedMean:
    """``mean`` and ``sd`` (with n-1) over ``seeds`` runs and the t interval ``low``..``high``."""

    mean: float
    sd: float
    low: float
    high: float
    seeds: int


def mean_over_seeds(values: ArrayLike, level: float = 0.95) -> SeedMean:
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
    known = array[~np.isnan(array)]
    count = len(known)
    if count == 0:
        return SeedMean(NAN, NAN, NAN, NAN, 0)
    mean = float(known.mean())
    if count == 1:
        return SeedMean(mean, NAN, NAN, NAN, 1)
    from scipy.special import stdtrit

    sd = float(known.std(ddof=1))
    half = float(stdtrit(count - 1, (1 + level) / 2)) * sd / math.sqrt(count)
    return SeedMean(mean, sd, mean - half, mean + half, count)
