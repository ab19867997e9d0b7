"""The exact null of statistics of two matrices over the same samples: Σ_{a≠b} A[a,b] B[a,b].

Mutual kNN (A, B adjacency matrices), CKNNA (Gram values at the neighbours) and the correlation of
RDMs all have this form. Under a random matching of the samples B becomes B[π(a), π(b)], and the
mean and variance over all n! of them follow from a few sums of A and of B each (Mantel 1967, here
for matrices that need not be symmetric): two ordered pairs of samples can be the same pair, the
same reversed, share their first, their second or one of each, or be disjoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.measures.core.base import Float64


@dataclass(frozen=True, eq=False)
class MatchingSums:
    """What the null needs of one matrix: its off-diagonal ``total`` and, after subtracting the
    mean off-diagonal entry, the sums over ``overlaps`` of two ordered pairs (6,), in the order
    same, reversed, same first, same second, first of one is second of the other, disjoint.
    """

    n: int
    total: float
    overlaps: Float64


def matching_sums(firsts: Float64, seconds: Float64, squares: float, mutual: float) -> MatchingSums:
    """The sums of a matrix with zero diagonal from its row sums and column sums (n,), the sum of
    squares of its entries and ``mutual`` = Σ A[a,b] A[b,a].
    """
    n = len(firsts)
    total = float(firsts.sum())
    mean = total / (n * (n - 1))
    # Centring first: the variance is then a sum without a large mean to subtract.
    firsts, seconds = firsts - mean * (n - 1), seconds - mean * (n - 1)
    same, back = squares - mean * total, mutual - mean * total
    first = float(firsts @ firsts) - same
    second = float(seconds @ seconds) - same
    chain = float(firsts @ seconds) - back
    disjoint = -(same + back + first + second + 2 * chain)
    return MatchingSums(n, total, np.array([same, back, first, second, chain, disjoint]))


def matching_null(
    rows: Sequence[MatchingSums], columns: Sequence[MatchingSums]
) -> tuple[Float64, Float64]:
    """Mean and sd, each (L, M), of Σ_{a≠b} A[a,b] B[π(a),π(b)] over all matchings π.

    The sd is NaN for n < 4.
    """
    n = rows[0].n
    totals = np.outer([s.total for s in rows], [s.total for s in columns])
    means = totals / (n * (n - 1))
    if n < 4:
        return means, np.full_like(means, np.nan)
    two = 1 / (n * (n - 1))
    three = two / (n - 2)
    four = three / (n - 3)
    weights = np.array([two, two, three, three, 2 * three, four])
    left = np.stack([s.overlaps for s in rows])
    right = np.stack([s.overlaps for s in columns])
    variances = (left * weights) @ right.T
    # Rounding can leave the variance of a statistic that cannot vary at about -1e-17.
    return means, np.sqrt(np.maximum(variances, 0.0))
