"""Bootstrap intervals of CKA over samples, without one more Gram matrix.

A resample gives sample a the weight w_a (how often it was drawn; Σ w = n). Of each HSIC only what
is linear in the weights is kept:

    HSIC(w) ≈ HSIC + Σ_a (w_a - 1) I_a / n,   I_a = (n-1) (HSIC - HSIC without a),

the jackknife form of the influence function (Efron 1982), and CKA(w) is the ratio of the three
HSICs, so that its curvature is kept. What centring does at first order is inside ``HSIC without
a``, which is exact. With T = tr W_x, S = tr W_y, D and E the diagonals, and ``rows``, ``crossed``,
``off``, ``w`` as in :mod:`.samples`, all about the mean of all n samples:

    debiased, (n-1)(n-4) HSIC_1 without a = off - 2 rows + (T - 2D)(S - 2E) / ((n-2)(n-3))
                                            - 2 (w - D E + crossed + rows) / (n-3)
    biased,   (n-1)²     HSIC_0 without a = off + w - 2 rows n / (n-1) - D E + D E / (n-1)²

(emptied Grams without row and column a have row sums -D[b] - W[b,a] and total -T + 2D[a]; full ones
-W[b,a] and D[a]). The interval is the percentile one: with the ratio kept, neither bias correction
nor acceleration (BCa) improved its coverage in simulations, and nothing needs clamping.

Of samples in groups whole groups are drawn: group g has the weight w_g. Debiased HSIC is then that
of :mod:`.grouped`, a sum over pairs of two groups; its parts t_g of the groups give

    HSIC(w) ≈ Σ t + Σ_g (w_g - 1) 2 t_g (G - 3) / (G - 4),

as centring changes nothing at first order (the rows sum to 0), and the last factor is what HSIC
without one of G samples has above. The number of pairs cancels in CKA. Biased HSIC sums I_a over
the group.

For two layers without dependence HSIC is degenerate: I_a vanishes to first order and the interval
says little. Whether a cell is above chance is for the null to say (:mod:`.pvalues`), not for
whether the interval holds 0. A biased CKA's interval is about its own expectation at this n, with
all its inflation, not about the population's CKA.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from backend.errors import InputError
from backend.measures.chance.samples import SampleSums
from backend.measures.core.base import Float64
from backend.measures.core.groups import Groups, group_sums
from backend.remarks import Remark, remark

RESAMPLES = 1000
LEVEL = 0.95

LEAST_SAMPLES = 5
"""Debiased HSIC without a sample needs 4 others."""

LEAST_GROUPS = 32
"""Groups from which on intervals cover 0.93 to 0.95 (of 300 draws 0.936 with groups of 2 and 0.946
with groups of 5, CKA 0.89); 0.85 to 0.89 with 16 of them and weakly related layers."""

UNDEFINED_SHARE = 0.01
"""Resamples without a positive self-similarity above which there is no interval."""

_CHUNK = 512  # pairs whose resamples are held at once
_WEIGHTS = 1 << 20  # weights drawn at once

Estimator = Literal["biased", "debiased"]


def interval_level(interval: float | bool) -> float:
    """The level that ``interval=`` asks for: True 0.95, False 0. InputError outside (0, 1)."""
    if isinstance(interval, bool):
        return LEVEL if interval else 0.0
    if not 0 < interval < 1:
        raise InputError(f"must lie in (0, 1), got {interval}", where="interval")
    return float(interval)


def cka_intervals(
    sums: SampleSums,
    estimator: Estimator = "debiased",
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[Float64, Float64]:
    """Lower and upper ends (P,) of the percentile bootstrap intervals of CKA of ``sums.pairs``.

    All pairs see the same resamples, so the same seed gives the same interval whatever the other
    pairs. NaN for constant layers, n < 5, fewer than ``LEAST_GROUPS`` groups, and where over 1 % of
    the resamples leave a layer without similarity (a few samples carry it all). A layer with itself
    has the interval 1..1.
    Cost: B n (P + L) multiply-adds, B n random numbers for 512 pairs, and B P log B comparisons;
    memory 8 n bytes for each of 512 pairs, 8 MB of weights and 8 B (512 + 2 L) bytes.
    """
    if not 0 < level < 1:
        raise InputError(f"must lie in (0, 1), got {level}", where="level")
    if resamples < 2:
        raise InputError(f"needs at least 2 resamples, got {resamples}", where="resamples")
    n, size = sums.statistics.n, len(sums.diagonals)
    low, high = np.full((2, len(sums.pairs)), np.nan)
    if n < LEAST_SAMPLES or interval_reason(sums.groups):
        return low, high
    own = _resampled(sums, slice(0, size), estimator, resamples, seed)
    known = np.isfinite(np.diag(sums.statistics.cka(estimator)))
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = 1.0 / np.sqrt(own)
    scale[:, ~known] = np.nan
    for start in range(0, len(sums.pairs), _CHUNK):
        at = slice(start, start + _CHUNK)
        i, j = np.array(sums.pairs[at]).T
        values = _resampled(sums, at, estimator, resamples, seed) * scale[:, i] * scale[:, j]
        low[at], high[at] = _percentiles(values, level)
        same = (i == j) & known[i]
        low[at][same] = high[at][same] = 1.0
    return low, high


def interval_reason(groups: Groups | None) -> Remark | None:
    """Why samples in these groups have no interval; None where they have."""
    count = LEAST_GROUPS if groups is None else int(groups.max()) + 1
    if count >= LEAST_GROUPS:
        return None
    return remark("few_for_interval", groups=count, least=LEAST_GROUPS)


def delete_one(
    sums: SampleSums, estimator: Estimator, columns: slice = slice(None)
) -> tuple[Float64, Float64]:
    """HSIC (P,) and HSIC without each sample (n, P), exactly; n >= 5, linear or any centred kernel.

    Both are in the units of the data divided by its Frobenius norm.
    """
    n, traces = sums.statistics.n, sums.statistics.traces
    i, j = np.array(sums.pairs[columns]).T
    d, e = sums.diagonals[i].T, sums.diagonals[j].T
    rows, crossed = sums.rows[:, columns], sums.crossed[:, columns]
    both = d * e
    off, w = rows.sum(axis=0), both.sum(axis=0)
    if estimator == "biased":
        without = off + w - 2 * rows * n / (n - 1) - both + both / (n - 1) ** 2
        return (off + w) / n**2, without / (n - 1) ** 2
    whole = off + traces[i] * traces[j] / ((n - 1) * (n - 2)) - 2 * w / (n - 2)
    totals = (traces[i] - 2 * d) * (traces[j] - 2 * e) / ((n - 2) * (n - 3))
    without = off - 2 * rows + totals - 2 * (w - both + crossed + rows) / (n - 3)
    return whole / (n * (n - 3)), without / ((n - 1) * (n - 4))


def _resampled(
    sums: SampleSums, columns: slice, estimator: Estimator, resamples: int, seed: int
) -> Float64:
    """HSIC of every resample (B, P); not positive where it should be: NaN follows."""
    whole, influence = _influences(sums, columns, estimator)
    drawn = len(influence)
    resampled = np.empty((resamples, len(whole)))
    rng = np.random.default_rng(seed)
    step = max(1, _WEIGHTS // drawn)
    for start in range(0, resamples, step):
        rows = resampled[start : start + step]
        # Σ (w_a - 1) I_a = Σ w_a I_a, as the influences sum to 0.
        np.matmul(_weights(rng, drawn, len(rows)), influence, out=rows)
    resampled += whole
    return resampled


def _influences(sums: SampleSums, columns: slice, estimator: Estimator) -> tuple[Float64, Float64]:
    """HSIC (P,), up to a factor, and what a weight of each sample or group adds, of sum 0."""
    groups = sums.groups
    if groups is not None and estimator == "debiased":
        parts = group_sums(sums.terms(columns), groups)
        count = len(parts)
        return parts.sum(axis=0), 2 * (count - 3) / (count - 4) * (parts - parts.mean(axis=0))
    n = sums.statistics.n
    whole, without = delete_one(sums, estimator, columns)
    influence = (n - 1) * (whole - without)
    # Of a biased estimate the influences have a mean, its bias: resamples vary about the estimate.
    influence -= influence.mean(axis=0)
    influence /= n
    return whole, influence if groups is None else group_sums(influence, groups)


def _weights(rng: np.random.Generator, n: int, resamples: int) -> Float64:
    """(B, n): how often each sample is drawn in each resample."""
    weights = np.empty((resamples, n))
    for row in weights:
        row[:] = np.bincount(rng.integers(n, size=n), minlength=n)
    return weights


def _percentiles(values: Float64, level: float) -> tuple[Float64, Float64]:
    """The central ``level`` of each column (B, P), among its resamples that are defined."""
    ordered = np.sort(values, axis=0)  # NaN last
    count = np.isfinite(ordered).sum(axis=0)
    enough = count >= (1 - UNDEFINED_SHARE) * len(values)
    last = np.maximum(count - 1, 0)
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        place = share * last
        below = np.floor(place).astype(int)
        above = np.minimum(below + 1, last)
        column = np.arange(values.shape[1])
        lower, upper = ordered[below, column], ordered[above, column]
        ends.append(np.where(enough, lower + (place - below) * (upper - lower), np.nan))
    return ends[0], ends[1]
