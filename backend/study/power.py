"""The smallest effect that a test would have found, given its spread and its number of runs.

The observed spread is taken for the true one; the observed effect plays no part (power "after the
fact" only repeats the p-value: Hoenig and Heisey 2001).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

POWER = 0.8
_GRID = 4000
_NORMS = 400


def detectable_mean(se: float, freedom: float, level: float, power: float = POWER) -> float:
    """Effect > 0 that a two-sided t test at ``level`` finds with probability ``power``.

    ``se`` and the result have the effect's unit; noncentral t (Cohen 1988), without the chance,
    below 1e-4 at this power, of a clear effect on the wrong side. With 3 values and 9 tests
    (level 0.05 / 9) it is 9.8 sd, and a mean must reach 7.7 sd to be clear.
    """
    from scipy.special import nctdtrinc, stdtrit

    reach = float(stdtrit(freedom, 1 - level / 2))
    return se * float(nctdtrinc(freedom, 1 - power, reach))


def detectable_margin(se: float, freedom: float, level: float, power: float = POWER) -> float:
    """Smallest margin within which no effect at all would be found to lie, by two one-sided tests.

    Each at ``level`` / 2 (Schuirmann 1987): the margin m with P(|mean| < m - t s) = ``power``,
    averaged over the distribution of the observed standard error s.
    """
    from scipy.optimize import brentq
    from scipy.special import chdtri, ndtr, stdtrit

    reach = float(stdtrit(freedom, 1 - level / 2))
    shares = (np.arange(_GRID) + 0.5) / _GRID
    spread = np.sqrt(chdtri(freedom, shares) / freedom)

    def missing(margin: float) -> float:
        within = np.maximum(2 * ndtr(margin - reach * spread) - 1, 0.0)
        return float(within.mean()) - power

    return se * float(brentq(missing, 0.0, 10 * reach * float(spread.max())))


@lru_cache(maxsize=64)
def detectable_correlation(n: int, level: float, power: float = POWER) -> float:
    """|r| in 0..1 that the t test of Pearson's r finds with probability ``power``, n > 3.

    Exact for a bivariate normal: given the values of one variable, t is noncentral with
    ρ / √(1 - ρ²) times their norm, the square of which is χ² with n - 1 degrees of freedom.
    """
    from scipy.optimize import brentq
    from scipy.special import chdtri, nctdtr, stdtrit

    reach = float(stdtrit(n - 2, 1 - level / 2))
    norms = np.sqrt(chdtri(n - 1, (np.arange(_NORMS) + 0.5) / _NORMS))

    def missing(ratio: float) -> float:
        # NaN far from the bound, where the chance to stay below it is 0.
        below = np.nan_to_num(nctdtr(n - 2, ratio * norms, reach), nan=0.0)
        return 1 - power - float(below.mean())

    ratio = float(brentq(missing, 0.0, 10 * reach))
    return ratio / math.sqrt(1 + ratio**2)
