"""Chance and uncertainty of every pair at once: what CKA's functions attach.

Where the samples belong together in groups, the null and p-values are those of exchanging whole
groups of one size, which is exact for independent groups: of all exchanges where there are few, of
random ones else.

Shuffling takes over as well where rows are heavy-tailed, as three moments do not give the tail
there. With κ = mean ‖x‖⁴ / (mean ‖x‖²)² - 1 of the centred rows of a layer (0.03 for 64 normal
directions, 2 where one holds everything, 6 for Student rows of 2 degrees at n = 64), that is where
the product of both layers' κ is above ``HEAVY``. Simulated shares of p < .001 from moments (n = 64
and 256): .001 for .2 and less, one layer however heavy; .0015 to .002 for 1 to 3; .004 to .009 for
rows of Student t with 3 and 2 degrees or log-normal length on both sides, .001 to .002 by counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from backend.measures.chance.bootstrap import (
    LEAST_GROUPS,
    RESAMPLES,
    Estimator,
    cka_intervals,
    interval_reason,
)
from backend.measures.chance.grams import Grams, Pair
from backend.measures.chance.grouped import groups_reason
from backend.measures.chance.pvalues import cka_p_values, p_of_shuffles
from backend.measures.chance.samples import SampleSums
from backend.measures.chance.shuffles import TIE, centred_unit, few_exchanges, shuffled_products
from backend.measures.core.base import Float64, FloatArray
from backend.measures.core.groups import Groups, exchange_orders, exchanges, shuffled_orders
from backend.measures.core.hsic import HsicStatistics
from backend.remarks import NOTHING, Remarks, remark

PERMUTATIONS = 999
LEAST_PERMUTATIONS = 199
"""Random matchings; fewer where they would take more than ``SHUFFLE_WORK``."""

SHUFFLE_WORK = 2e12
"""Multiply-adds of all shuffles of a pass: about a minute on two cores."""

HEAVY = 1.0


@dataclass(frozen=True, eq=False)
class Inference:
    """Interval ends, one-sided p-values and the null of CKA, (L, L) each; NaN where not computed.

    ``counted`` are the pairs whose p was counted over matchings for their heavy tails, ``unsure``
    those that have a value and, as a few samples carry it all, no interval. ``remarks`` go with
    every pair of two different layers.
    """

    low: Float64
    high: Float64
    p: Float64
    means: Float64
    sds: Float64
    counted: NDArray[np.bool_]
    unsure: NDArray[np.bool_]
    permutations: int = 0
    remarks: Remarks = NOTHING

    @classmethod
    def of(cls, statistics: HsicStatistics, estimator: Estimator) -> Self:
        """The null alone."""
        means, sds = statistics.null(estimator)
        low, high, p = np.full((3, *means.shape), np.nan)
        counted, unsure = np.zeros((2, *means.shape), dtype=bool)
        return cls(low, high, p, means, sds, counted, unsure)

    def of_pair(self, i: int, j: int) -> Remarks:
        """What is to be said of a pair of layers; nothing of a layer with itself."""
        if i == j:
            return NOTHING
        return self._said(bool(self.counted[i, j]), bool(self.unsure[i, j]))

    @property
    def of_all(self) -> Remarks:
        """What is to be said of all pairs together."""
        return self._said(bool(self.counted.any()), bool(self.unsure.any()))

    def _said(self, counted: bool, unsure: bool) -> Remarks:
        shuffled = remark("shuffled", permutations=self.permutations) if counted else None
        carried = remark("carried_by_few") if unsure else None
        return Remarks.of(self.remarks, shuffled, carried)


@dataclass(frozen=True, eq=False)
class _Shuffled:
    """p-values and null of the wanted pairs, (P,) each, or why there are none."""

    p: Float64
    means: Float64
    sds: Float64
    permutations: int = 0
    reason: Remarks = NOTHING


def infer(
    sums: SampleSums,
    estimator: Estimator,
    *,
    level: float = 0.0,
    grams: Grams | None = None,
    cubed_traces: Float64 | None = None,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
) -> Inference:
    """The intervals of ``sums.pairs`` at ``level`` (0: none), and the p-values of all pairs.

    p-values need ``grams`` and, without groups, ``cubed_traces`` (tr W³ of each layer); they are
    those of the debiased estimator: for the biased one they are NaN. So are they between a layer
    and itself, which tests nothing. In groups the null comes with the p-values, both of
    ``permutations`` exchanges at most.
    """
    groups = sums.groups
    chance = Inference.of(sums.statistics, estimator)
    if groups is not None:
        chance = replace(chance, remarks=_of_groups(groups, estimator, level))
    if level:
        i, j = np.array(sums.pairs).T
        ends = cka_intervals(sums, estimator, level=level, resamples=resamples)
        for matrix, end in zip((chance.low, chance.high), ends, strict=True):
            matrix[i, j] = matrix[j, i] = end
        # Of fewer samples their number says it.
        if sums.statistics.n >= LEAST_GROUPS and interval_reason(groups) is None:
            lost = np.isnan(ends[0]) & np.isfinite(sums.statistics.cka(estimator)[i, j])
            chance.unsure[i, j] = chance.unsure[j, i] = lost
    if estimator != "debiased":
        return chance
    if groups is not None:
        return _by_exchanges(chance, sums, grams, groups, permutations)
    if grams is None or cubed_traces is None:
        return chance
    p = cka_p_values(sums, cubed_traces)
    np.fill_diagonal(p, np.nan)
    return _with_heavy_tails(replace(chance, p=p), sums, grams)


def heavy_tailed(diagonals: Float64) -> NDArray[np.bool_]:
    """Pairs of layers (L, L) whose rows differ so much in length that moments do not give the tail.

    ``diagonals`` (L, n) are the squared norms of the centred rows; no pair with a constant layer.
    """
    uneven = _unevenness(diagonals)
    heavy: NDArray[np.bool_] = np.outer(uneven, uneven) > HEAVY
    return heavy


def _unevenness(diagonals: Float64) -> Float64:
    """κ of the module's docstring (L,); 0 of a constant layer."""
    mean = diagonals.mean(axis=1)
    squares: Float64 = (diagonals**2).mean(axis=1)
    kappa: Float64 = np.divide(squares, mean**2, out=np.ones_like(mean), where=mean > 0) - 1
    return kappa


def _of_groups(groups: Groups, estimator: Estimator, level: float) -> Remarks:
    if estimator == "biased":
        said = remark("biased_in_groups")
    else:
        said = remark("by_group", n=len(groups), groups=int(groups.max()) + 1)
    return Remarks.of(said, interval_reason(groups) if level else None)


def _by_exchanges(
    chance: Inference,
    sums: SampleSums,
    grams: Grams | None,
    groups: Groups,
    permutations: int,
) -> Inference:
    if groups_reason(groups) is not None:
        return chance
    if grams is None:
        return replace(chance, remarks=Remarks.of(chance.remarks, remark("not_by_group")))
    pairs = [(i, j) for i, j in sums.pairs if i != j]
    shuffled = _shuffled(sums, grams, pairs, groups, permutations)
    means, sds = chance.means.copy(), chance.sds.copy()
    found = (shuffled.p, shuffled.means, shuffled.sds)
    for matrix, values in zip((chance.p, means, sds), found, strict=True):
        _fill(matrix, pairs, values)
    how = shuffled.reason or remark("exchanged", permutations=shuffled.permutations)
    return replace(chance, means=means, sds=sds, remarks=Remarks.of(chance.remarks, how))


def _with_heavy_tails(chance: Inference, sums: SampleSums, grams: Grams) -> Inference:
    heavy, uneven = heavy_tailed(sums.diagonals), _unevenness(sums.diagonals)
    # The heavier layer first: fewer layers on one side.
    pairs = [
        (i, j) if uneven[i] >= uneven[j] else (j, i)
        for i, j in sums.pairs
        if i != j and heavy[i, j]
    ]
    if not pairs:
        return chance
    shuffled = _shuffled(sums, grams, pairs, None, PERMUTATIONS)
    if shuffled.reason:
        return replace(chance, remarks=Remarks.of(remark("heavy_tails")))
    _fill(chance.p, pairs, shuffled.p)
    counted = chance.counted.copy()
    i, j = np.array(pairs).T
    counted[i, j] = counted[j, i] = True
    return replace(chance, counted=counted, permutations=shuffled.permutations)


def _fill(matrix: Float64, pairs: Sequence[Pair], values: Float64) -> None:
    if pairs:
        i, j = np.array(pairs).T
        matrix[i, j] = matrix[j, i] = values


def _shuffled(
    sums: SampleSums,
    grams: Grams,
    pairs: Sequence[Pair],
    groups: Groups | None,
    most: int,
) -> _Shuffled:
    """Chance of the ``pairs`` by shuffling samples, or whole groups, ``most`` times."""
    n = sums.statistics.n
    unknown = np.full(len(pairs), np.nan)
    nothing = _Shuffled(unknown, unknown, unknown)
    few = few_exchanges(groups, n)
    if few is not None:
        return replace(nothing, reason=Remarks.of(few))
    left, right = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
    each = 0.5 * len(left) * len(right)
    permutations = int(min(most, SHUFFLE_WORK / (each * n**2)))
    if permutations < LEAST_PERMUTATIONS:
        largest = int((SHUFFLE_WORK / (each * LEAST_PERMUTATIONS)) ** 0.5)
        return replace(nothing, reason=Remarks.of(remark("many_exchanges", largest=largest)))
    orders, every = (
        (shuffled_orders(None, n, permutations, seed=0), False)
        if groups is None
        else exchange_orders(groups, permutations)
    )

    def unit_gram(layer: int) -> FloatArray:
        return centred_unit(grams.whole(layer), groups)

    # The first order leaves all as it is: true and shuffled values share their rounding.
    values = shuffled_products(unit_gram, left, right, [np.arange(n), *orders])
    rows = [left.index(i) for i, _ in pairs]
    columns = [right.index(j) for _, j in pairs]
    true, draws = values[0, rows, columns], values[1:, rows, columns]
    i, j = np.array(pairs).T
    known = np.isfinite(sums.statistics.debiased()[i, j])
    # No tail that is fitted to draws of few exchanges reaches below the least there is.
    p = np.maximum(p_of_shuffles(true, draws, TIE, every=every), 1 / exchanges(groups, n))
    mean, sd = draws.mean(axis=0), draws.std(axis=0)
    p, mean, sd = (np.where(known, found, np.nan) for found in (p, mean, sd))
    return _Shuffled(p, mean, sd, len(orders))
