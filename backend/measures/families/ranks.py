"""How far down a search the first partner comes: the median rank."""

from __future__ import annotations

import numpy as np

from backend.measures.chance.bootstrap import LEAST_GROUPS, LEVEL, RESAMPLES
from backend.measures.chance.clusters import NONE, Interval, exchanged
from backend.measures.core.base import Float64
from backend.measures.core.distances import block_rows
from backend.measures.core.groups import Groups
from backend.measures.core.parallel import map_pieces
from backend.measures.core.result import NAN, Result
from backend.remarks import Remarks, remark

LARGEST = 8_192
"""Rows above which the table of ranks, rows times groups, would be too large."""

_TIE = 1e-12  # difference of cosines that is rounding


def median_rank(queries: Float64, targets: Float64, own: Groups) -> Result:
    """The median over queries of the rank of the best placed partner, among unit rows (m, r).

    ``own`` (m,) are the groups from 0: rows of one group are each other's partners. Range 1..m, 1
    is best; rows that tie share the mean of their places. The null exchanges whole groups of one
    size: about (m + 1) / 2 where every row is alone. The interval is the bootstrap's, over groups.
    Cost: m²·r and a sort of every row. NaN above ``LARGEST`` rows. (Hodosh et al. 2013.)
    """
    m = len(own)
    value, mean, sd, few, interval = NAN, NAN, NAN, None, NONE
    too_many = remark("rank_table", n=m, largest=LARGEST) if m > LARGEST else None
    if too_many is None:
        ranks = best_ranks(queries, targets, own)
        rows = np.arange(m)
        found = ranks[rows, own]
        value = float(np.median(found))
        mean, sd, few = exchanged(lambda order: float(np.median(ranks[rows, own[order]])), own)
        interval = _interval(found, own)
    return Result(
        measure="median_rank",
        value=value,
        n=m,
        dims=(queries.shape[1], targets.shape[1]),
        estimator="sample",
        ci_low=interval[0],
        ci_high=interval[1],
        null_mean=mean,
        null_sd=sd,
        warnings=Remarks.of(few),
        reason=Remarks.of(too_many),
    )


def best_ranks(queries: Float64, targets: Float64, own: Groups) -> Float64:
    """(m, g): of each query by cosine, the rank from 1 of the best placed row of each group."""
    from scipy.stats import rankdata

    m = len(own)
    by_group = np.argsort(own, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(own))[:-1]])
    step = block_rows(m)

    def block(start: int) -> Float64:
        cosines = np.round((queries[start : start + step] @ targets.T) / _TIE) * _TIE
        places = rankdata(-cosines, axis=1)[:, by_group]
        best: Float64 = np.minimum.reduceat(places, starts, axis=1)
        return best

    work = float(m) ** 2 * (queries.shape[1] + 100)
    return np.concatenate(map_pieces(block, range(0, m, step), work))


def _interval(found: Float64, own: Groups) -> Interval:
    """The percentile interval of the median when whole groups are drawn anew."""
    count = int(own.max()) + 1
    if count < LEAST_GROUPS:
        return NONE
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    order = np.argsort(found, kind="stable")
    passed = np.cumsum(drawn[:, own[order]], axis=1)
    medians = found[order][(2 * passed >= passed[:, -1:]).argmax(axis=1)]
    low, high = np.quantile(medians, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)
