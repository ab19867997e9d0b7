"""Representational similarity analysis: compare two layers by the distances between their samples.

Each layer is reduced once to its representational dissimilarity matrix (RDM): the distances of all
pairs of samples, as a vector over a < b. (Kriegeskorte et al. 2008.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backend.measures.chance.shuffles import null_orders, shuffled_products
from backend.measures.core.base import Float64, FloatArray, duplicate_warning
from backend.measures.core.comparison import Comparison, Layer, Scores, compare, compare_all
from backend.measures.core.distances import TIE, condensed, prepared_for
from backend.measures.core.groups import Groups, as_groups
from backend.measures.core.hsic import biased_null, sum_of
from backend.measures.core.matching import MatchingSums, matching_null, matching_sums
from backend.measures.core.parallel import map_pieces
from backend.measures.core.result import MatrixResult, Result
from backend.measures.families.kernel import check_choice
from backend.remarks import NOTHING, Remark, Remarks, remark

RdmComparison = Literal["spearman", "pearson", "cosine", "cosine_cov"]
Distance = Literal["euclidean", "correlation"]

FLOAT64_PAIRS = 500_000
"""Distances up to which an RDM is kept in float64 (n = 1000); longer ones are kept in float32."""

LARGEST_IN_GROUPS = 8_192
"""Samples in groups above which the null would take too long."""

_ACCUMULATE = 1 << 17


@dataclass(frozen=True, eq=False)
class Rdm:
    """A layer's RDM made ready to compare: with a symmetric matrix A whose upper triangle is
    ``upper`` and whose diagonal is ``diagonal``, ‖A‖ = 1 and the score of two layers is <A, B>.
    """

    upper: FloatArray
    diagonal: Float64
    sums: MatchingSums


def rsa(
    x: object,
    y: object,
    *,
    comparison: RdmComparison = "spearman",
    distance: Distance = "euclidean",
    groups: object = None,
) -> Result:
    """Agreement of the RDMs of ``x`` (n, d_x) and ``y`` (n, d_y), n >= 3.

    ``distance="euclidean"`` is the squared Euclidean distance, as in rsatoolbox: the one that adds
    up over coordinates (for Spearman the square does not matter); ``"correlation"`` is 1 minus the
    correlation of two samples over the coordinates. ``comparison``: ``"spearman"`` (ties share
    their mean rank) and ``"pearson"``, range -1..1; ``"cosine"``, range 0..1, high for any two
    RDMs; ``"cosine_cov"``, the cosine whitened by the covariance that distances have because they
    share samples (Diedrichsen et al. 2021), which on Euclidean distances is biased linear CKA.
    Euclidean RSA is invariant to a common permutation of the rows, shifts, orthogonal maps and
    isotropic scale; with correlation distance, to scaling and shifting single rows instead.
    The null under a random matching of the rows is exact (Mantel 1967), its sd for n >= 4.
    ``groups`` (n names) say which samples belong together, as five captions of a photo: the null is
    then that of exchanging whole groups of one size, the distances inside a group with it.
    Distances are float64; ties are distances that differ by rounding only. Cost:
    ½n²(d_x + d_y) multiply-adds, for Spearman a sort of n²/2 numbers a side; with groups 100 n²
    look-ups; memory about 30n² bytes a side. NaN with a reason for a constant side, equidistant
    samples (Spearman, Pearson) or, with correlation distance, a row that does not vary. InputError
    for unusable arrays and n < 3.
    """
    return compare(_rsa(comparison, distance, groups), x, y)


def rsa_matrix(
    layers: Sequence[object],
    others: Sequence[object] | None = None,
    *,
    comparison: RdmComparison = "spearman",
    distance: Distance = "euclidean",
    groups: object = None,
    labels: Sequence[str] | None = None,
    other_labels: Sequence[str] | None = None,
) -> MatrixResult:
    """:func:`rsa` of L layers (n, d_l) with each other, (L, L), or with M ``others``, (L, M).

    Distances and ranks are made once a layer and kept: ½n²Σd + ½L²n² multiply-adds, memory 2n²
    bytes a layer (4n² up to n = 1000) besides the 30n² of the layers in work.
    """
    return compare_all(_rsa(comparison, distance, groups), layers, others, labels, other_labels)


def ranks(values: Float64, tie: float = 0.0) -> Float64:
    """Ranks from 0 of ``values`` (m,); neighbours in order no more than ``tie`` apart share the
    mean of their ranks.
    """
    order = np.argsort(values)
    ordered = values[order]
    first = np.flatnonzero(np.r_[True, np.diff(ordered) > tie])
    lengths = np.diff(np.r_[first, len(values)])
    ranked = np.empty(len(values))
    ranked[order] = np.repeat(first + (lengths - 1) / 2, lengths)
    return ranked


def _rsa(comparison: RdmComparison, distance: Distance, groups: object) -> Comparison[Rdm]:
    check_choice(comparison, RdmComparison, "comparison")
    check_choice(distance, Distance, "distance")
    return Comparison(
        measure="rsa",
        params={"comparison": comparison, "distance": distance},
        describe=partial(_describe, comparison=comparison, distance=distance),
        score=partial(_score, whitened=comparison == "cosine_cov", groups=groups),
        work=lambda n, d: 0.5 * n * n * (d + 200),
        min_samples=3,
    )


def _describe(array: FloatArray, name: str, *, comparison: str, distance: str) -> Layer[Rdm]:
    n, d = array.shape
    prepared, reason = prepared_for(array, name, distance)
    if prepared is None:
        return Layer(name, d, None, reason)
    upper = condensed(prepared)
    diagonal = np.zeros(n)
    mean = float(upper.mean())
    if comparison == "spearman":
        upper = ranks(upper, TIE * mean)
        upper -= (len(upper) - 1) / 2
    elif comparison == "pearson":
        upper -= mean
        upper[np.abs(upper) <= TIE * mean] = 0.0
    elif comparison == "cosine_cov":
        upper, diagonal = _centred(upper, n)
    size = np.sqrt(2 * float(upper @ upper) + float(diagonal @ diagonal))
    if size == 0:
        return Layer(name, d, None, Remarks.of(remark("equidistant", name)))
    upper /= size
    rows = _row_sums(upper, n)
    squares = 2 * float(upper @ upper)
    held = upper if len(upper) <= FLOAT64_PAIRS else upper.astype(np.float32)
    rdm = Rdm(held, diagonal / size, matching_sums(rows, rows, squares, squares))
    return Layer(name, d, rdm, warnings=Remarks.of(duplicate_warning(prepared, name)))


def _centred(upper: Float64, n: int) -> tuple[Float64, Float64]:
    """Upper triangle and diagonal of the doubly centred -½ RDM: the Gram of the centred samples."""
    means = _row_sums(upper, n) / n
    grand = float(means.mean())
    _, columns = _rows_and_columns(n)
    centred = np.repeat(means[:-1], np.arange(n - 1, 0, -1))
    centred += means[columns]
    centred -= upper
    centred -= grand
    return centred / 2, means - grand / 2


def _row_sums(upper: Float64, n: int) -> Float64:
    """Row sums (n,) of the symmetric matrix with zero diagonal whose upper triangle is given."""
    # A few long operations: a loop over the rows hands the interpreter lock around at each.
    starts, columns = _rows_and_columns(n)
    sums: Float64 = np.bincount(columns, upper, minlength=n).astype(np.float64)
    sums[:-1] += np.add.reduceat(upper, starts)
    return sums


def _rows_and_columns(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each row but the last starts in the upper triangle, and the column of each entry."""
    lengths = np.arange(n - 1, 0, -1)
    starts = np.cumsum(lengths) - lengths
    first = np.arange(1, n)
    columns = np.arange(n * (n - 1) // 2)
    columns -= np.repeat(starts - first, lengths)
    return starts, columns


def _score(
    rows: Sequence[Rdm], columns: Sequence[Rdm], *, whitened: bool, groups: object
) -> Scores:
    n, length = len(rows[0].diagonal), len(rows[0].upper)
    same = rows is columns

    def products(start: int) -> Float64:
        piece = slice(start, start + _ACCUMULATE)
        left = np.stack([r.upper[piece] for r in rows]).astype(np.float64)
        right = left if same else np.stack([c.upper[piece] for c in columns]).astype(np.float64)
        product: Float64 = left @ right.T
        return product

    work = float(length) * len(rows) * len(columns)
    values = np.stack([r.diagonal for r in rows]) @ np.stack([c.diagonal for c in columns]).T
    values += 2 * sum_of(map_pieces(products, range(0, length, _ACCUMULATE), work))
    together = as_groups(groups, n)
    if together is not None:
        return Scores(values, *_exchanged_null(rows, columns, together))
    if whitened:
        return Scores(values, *_whitened_null(n, rows, columns))
    return Scores(values, *matching_null([r.sums for r in rows], [c.sums for c in columns]))


def _exchanged_null(
    rows: Sequence[Rdm], columns: Sequence[Rdm], groups: Groups
) -> tuple[Float64, Float64, Remarks]:
    """Mean and sd, each (L, M), when whole groups of one size of a column are exchanged.

    NaN with a remark where there are too few exchanges or too many samples.
    """
    size, n = len(rows), len(groups)
    orders = null_orders(groups, LARGEST_IN_GROUPS)
    if isinstance(orders, Remark):
        unknown = np.full((size, len(columns)), np.nan)
        return unknown, unknown, Remarks.of(orders)
    both = rows if rows is columns else [*rows, *columns]
    above = np.triu(np.ones((n, n), dtype=bool), 1)

    def unit(layer: int) -> FloatArray:
        matrix = np.zeros((n, n), dtype=np.float32)
        matrix[above] = both[layer].upper
        matrix += matrix.T
        return matrix

    every = range(len(both))
    right = every[:size] if rows is columns else every[size:]
    scores = shuffled_products(unit, every[:size], right, orders)
    own, other = (np.stack([r.diagonal for r in side]) for side in (rows, columns))
    scores += np.stack([own @ other[:, order].T for order in orders])
    means, sds = scores.mean(axis=0), scores.std(axis=0)
    if rows is columns:
        # Of each pair the later layer is exchanged.
        means, sds = (np.triu(m) + np.triu(m, 1).T for m in (means, sds))
    return means, sds, NOTHING


def _whitened_null(n: int, rows: Sequence[Rdm], columns: Sequence[Rdm]) -> tuple[Float64, Float64]:
    """The null of biased CKA, of which the whitened cosine is another name."""
    both = [*rows, *columns]
    blank = np.full((len(rows), len(columns)), np.nan)
    if n < 4:
        return blank, blank.copy()
    traces = np.array([r.diagonal.sum() for r in both])
    squares = np.array([float(r.diagonal @ r.diagonal) for r in both])
    mean, sd = biased_null(n, traces, np.ones(len(both)), squares)
    split = len(rows)
    return mean[:split, split:], sd[:split, split:]
