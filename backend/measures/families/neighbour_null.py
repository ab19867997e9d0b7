"""What neighbour graphs agree on by chance, where samples belong together: groups are exchanged.

Graphs are sparse: a shuffled score costs as many look-ups as there are edges, in a table of the
other graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.measures.chance.shuffles import null_orders
from backend.measures.core.base import Float64
from backend.measures.core.groups import Groups
from backend.measures.core.parallel import map_pieces
from backend.remarks import NOTHING, Remark, Remarks

LARGEST = 8_192
"""Samples above which the table, n² numbers, would be too large."""

_LOOKUP = 20.0  # multiply-adds that a look-up is worth


@dataclass(frozen=True, eq=False)
class Edges:
    """A graph of n samples: the edges (E,) go from ``first`` to ``second`` and have ``weights``."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weights: Float64


def exchanged_null(
    rows: Sequence[Edges],
    columns: Sequence[Edges],
    score: Callable[[Edges, Float64], float],
    groups: Groups,
) -> tuple[Float64, Float64, Remarks]:
    """Mean and sd, each (L, M), of scores when whole groups of one size of a column are exchanged.

    ``score(a, weights)`` is that of ``a`` with a graph in which each edge of ``a`` has the weight
    given, 0 where it is not there. NaN with a remark where groups can be exchanged in fewer than
    ``LEAST_EXCHANGES`` ways, and above ``LARGEST`` samples. ``NULL_ORDERS`` · L M E look-ups.
    """
    n = len(groups)
    means, sds = np.full((2, len(rows), len(columns)), np.nan)
    orders = null_orders(groups, LARGEST)
    if isinstance(orders, Remark):
        return means, sds, Remarks.of(orders)
    same = rows is columns

    def of_column(at: int) -> Float64:
        b = columns[at]
        table = np.zeros((n, n), dtype=np.float32)
        table[b.first, b.second] = b.weights
        some = rows[: at + 1] if same else rows
        scores = [
            [score(a, table[order[a.first], order[a.second]].astype(np.float64)) for a in some]
            for order in orders
        ]
        return np.array(scores)

    work = _LOOKUP * len(orders) * len(rows) * len(columns) * len(rows[0].first)
    for j, scores in enumerate(map_pieces(of_column, range(len(columns)), work)):
        known = slice(0, scores.shape[1])
        means[known, j], sds[known, j] = scores.mean(axis=0), scores.std(axis=0)
        if same:
            means[j, known], sds[j, known] = means[known, j], sds[known, j]
    return means, sds, NOTHING
