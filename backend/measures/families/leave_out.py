"""Gap, alignment and uniformity without each group of samples: what their jackknife needs.

The arguments are unit rows (n, d) and the samples' groups (n,) from 0; what comes back is (g,).
"""

from __future__ import annotations

import numpy as np

from backend.measures.core.base import Float64
from backend.measures.core.distances import block_rows
from backend.measures.core.groups import Groups, group_sums


def gaps_without(u: Float64, v: Float64, own: Groups) -> Float64:
    """:func:`~backend.measures.families.gap.modality_gap` of the others."""
    apart = u - v
    left = (len(own) - np.bincount(own))[:, None]
    gaps: Float64 = np.linalg.norm((apart.sum(axis=0) - group_sums(apart, own)) / left, axis=1)
    return gaps


def alignments_without(u: Float64, v: Float64, own: Groups) -> Float64:
    """:func:`~backend.measures.families.gap.alignment` of the others."""
    squared = ((u - v) ** 2).sum(axis=1)
    left: Float64 = (squared.sum() - group_sums(squared, own)) / (len(own) - np.bincount(own))
    return left


def uniformities_without(u: Float64, own: Groups) -> Float64:
    """:func:`~backend.measures.families.gap.uniformity` of the others."""
    n = len(own)
    of_row, inside = np.zeros((2, n))
    for start in range(0, n, block_rows(n)):
        rows = slice(start, start + block_rows(n))
        pairs = np.exp(4 * (u[rows] @ u.T - 1))
        pairs[np.arange(len(pairs)), np.arange(n)[rows]] = 0
        of_row[rows] = pairs.sum(axis=1)
        inside[rows] = (pairs * (own[rows, None] == own)).sum(axis=1)
    left = n - np.bincount(own)
    # Every pair is counted from both of its samples, those inside a group from both within it.
    sums = of_row.sum() - 2 * group_sums(of_row, own) + group_sums(inside, own)
    without: Float64 = np.log(sums / (left * (left - 1)))
    return without
