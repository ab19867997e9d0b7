"""Do two representations agree on who is near whom? Mutual kNN, Jaccard of kNN, CKNNA.

Each layer is reduced once to its k-nearest-neighbour graph; a pair then costs a merge of two lists
of n·k neighbours. ``k`` is part of the result: values of different k cannot be compared.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.core.base import Float64, FloatArray, duplicate_warning
from backend.measures.core.comparison import (
    Comparison,
    Layer,
    Scores,
    cell_by_cell,
    compare,
    compare_all,
)
from backend.measures.core.distances import Neighbours, nearest, prepared_for
from backend.measures.core.matching import MatchingSums, matching_null, matching_sums
from backend.measures.core.result import MatrixResult, Result
from backend.measures.families.kernel import check_choice
from backend.remarks import Remarks, remark

Metric = Literal["euclidean", "cosine"]

_MERGE_WORK = 100.0  # multiply-adds that merging one neighbour is worth


@dataclass(frozen=True, eq=False)
class Graph:
    """A layer's neighbours, the weight of each edge (n·k,) and what its null needs."""

    neighbours: Neighbours
    weights: Float64
    sums: MatchingSums


Scorer = Callable[[Sequence[Graph], Sequence[Graph]], Scores]


def mutual_knn(x: object, y: object, k: int = 10, *, metric: Metric = "euclidean") -> Result:
    """Share of the ``k`` nearest neighbours that ``x`` (n, d_x) and ``y`` (n, d_y) have in common.

    Mean over samples of |N_k(x) ∩ N_k(y)| / k; a sample is not its own neighbour. Range 0..1.
    ``metric="euclidean"`` is invariant to a common permutation of the rows (up to ties), shifts,
    orthogonal maps and isotropic scale; ``"cosine"``, taken about the origin as in Huh et al., to
    orthogonal maps and to scaling of single rows, but not to shifts.
    The null under a random matching of the rows is exact for the two graphs: mean k / (n - 1), and
    its sd. Ties at the k-th place, such as copies of a row, are drawn by each layer's own values:
    equal arrays draw alike, a shifted, rotated or scaled copy draws anew, and so does a permuted
    one if rows are copies (tied rows that differ keep their draw). Then the value is one draw, and
    its z is still that of the two graphs: independent layers do not agree because they are tied.
    Cost: n²(d_x + d_y) multiply-adds in float64; memory blocks of 64 MB. NaN with a reason if a
    side is constant, or has a zero row under cosine. InputError naming ``k`` unless 1 <= k < n.
    (Huh et al. 2024.)
    """
    return compare(_knn("mutual_knn", k, metric, _mutual_scores), x, y)


def mutual_knn_matrix(
    layers: Sequence[object],
    others: Sequence[object] | None = None,
    *,
    k: int = 10,
    metric: Metric = "euclidean",
    labels: Sequence[str] | None = None,
    other_labels: Sequence[str] | None = None,
) -> MatrixResult:
    """:func:`mutual_knn` of L layers (n, d_l): each with each, (L, L), or with M others, (L, M).

    Each layer's neighbours are found once: n²Σd multiply-adds, then n·k comparisons a pair.
    """
    comparison = _knn("mutual_knn", k, metric, _mutual_scores)
    return compare_all(comparison, layers, others, labels, other_labels)


def jaccard_knn(x: object, y: object, k: int = 10, *, metric: Metric = "euclidean") -> Result:
    """Mean over samples of |N_k(x) ∩ N_k(y)| / |N_k(x) ∪ N_k(y)|, ``x`` (n, d_x), ``y`` (n, d_y).

    Range 0..1. Under a random matching each intersection is hypergeometric, which gives the exact
    null mean; the sd depends on how the rows' intersections go together and is left NaN.
    Everything else as for :func:`mutual_knn`.
    """
    return compare(_knn("jaccard_knn", k, metric, _jaccard_scores), x, y)


def jaccard_knn_matrix(
    layers: Sequence[object],
    others: Sequence[object] | None = None,
    *,
    k: int = 10,
    metric: Metric = "euclidean",
    labels: Sequence[str] | None = None,
    other_labels: Sequence[str] | None = None,
) -> MatrixResult:
    """:func:`jaccard_knn` of every layer with every other; as :func:`mutual_knn_matrix`."""
    comparison = _knn("jaccard_knn", k, metric, _jaccard_scores)
    return compare_all(comparison, layers, others, labels, other_labels)


def cknna(x: object, y: object, k: int = 10) -> Result:
    """CKA restricted to mutual nearest neighbours, of ``x`` (n, d_x) and ``y`` (n, d_y).

    With the centred Grams K = Xc Xcᵀ, L = Yc Ycᵀ and α(a, b) = 1 where b is among the ``k`` nearest
    of a in both: Σ α K L / √(Σ_{b ∈ N_k^x(a)} K² · Σ_{b ∈ N_k^y(a)} L²). This is the definition in
    the paper's text, with the mean over the samples removed from both sides and neighbours by
    Euclidean distance; the authors' program differs: neighbours by inner product, and a debiased
    HSIC of the masked, un-centred Grams. k = n - 1 is biased CKA without the diagonals.
    Range -1..1, 1 for x with itself. Invariances, null (exact mean and sd), ties, cost and failures
    as for :func:`mutual_knn` with the Euclidean metric. (Huh et al. 2024.)
    """
    return compare(_cknna(k), x, y)


def cknna_matrix(
    layers: Sequence[object],
    others: Sequence[object] | None = None,
    *,
    k: int = 10,
    labels: Sequence[str] | None = None,
    other_labels: Sequence[str] | None = None,
) -> MatrixResult:
    """:func:`cknna` of every layer with every other; as :func:`mutual_knn_matrix`."""
    return compare_all(_cknna(k), layers, others, labels, other_labels)


def check_k(k: int, n: int | None = None) -> None:
    """InputError naming ``k`` unless it is a whole number with 1 <= k (< n, once n is known)."""
    try:
        count = operator.index(k)
    except TypeError:
        raise InputError(f"must be a whole number, got {k!r}", where="k") from None
    if count < 1:
        raise InputError(f"must be at least 1, got {k}", where="k")
    if n is not None and count >= n:
        raise InputError(
            f"{k} neighbours of {n} samples",
            where="k",
            hint=f"A sample has {n - 1} others: choose k below {n}.",
        )


def _knn(
    measure: str,
    k: int,
    metric: Metric,
    score: Scorer,
) -> Comparison[Graph]:
    check_choice(metric, Metric, "metric")
    check_k(k)
    return Comparison(
        measure=measure,
        params={"k": int(k), "metric": metric},
        describe=partial(_describe, k=k, metric=metric, weighted=False),
        score=score,
        work=_work,
    )


def _cknna(k: int) -> Comparison[Graph]:
    check_k(k)
    return Comparison(
        measure="cknna",
        params={"k": int(k)},
        describe=partial(_describe, k=k, metric="euclidean", weighted=True),
        score=_cknna_scores,
        work=_work,
    )


def _work(n: int, d: int) -> float:
    return float(n) * n * (d + 10)


def _describe(array: FloatArray, name: str, *, k: int, metric: str, weighted: bool) -> Layer[Graph]:
    n, d = array.shape
    check_k(k, n)
    prepared, reason = prepared_for(array, name, metric)
    if prepared is None:
        return Layer(name, d, None, reason)
    neighbours = nearest(prepared, k, array)
    codes, weights = neighbours.codes, np.ones(n * k)
    if weighted:
        norms = prepared.row_norms
        weights = (norms[codes // n] + norms[codes % n] - neighbours.squared) / 2
        size = math.sqrt(float(weights @ weights))
        if size == 0:
            return Layer(name, d, None, Remarks.of(remark("orthogonal_neighbours", name)))
        weights = weights / size
    graph = Graph(neighbours, weights, _sums(neighbours, weights))
    return Layer(name, d, graph, warnings=Remarks.of(duplicate_warning(prepared, name)))


def _sums(neighbours: Neighbours, weights: Float64) -> MatchingSums:
    n = neighbours.n
    first, second = neighbours.codes // n, neighbours.codes % n
    here, there = _shared(neighbours.codes, np.sort(second * n + first))
    # The reversed edges, put in order, carry their weights along.
    backwards = weights[np.argsort(second * n + first, kind="stable")]
    return matching_sums(
        np.bincount(first, weights, minlength=n).astype(np.float64),
        np.bincount(second, weights, minlength=n).astype(np.float64),
        squares=float(weights @ weights),
        mutual=float(weights[here] @ backwards[there]),
    )


def _shared(
    a: NDArray[np.int64], b: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions in two ascending lists without repeats of the numbers that are in both."""
    at = np.minimum(np.searchsorted(b, a), len(b) - 1)
    here = np.flatnonzero(b[at] == a)
    return here, at[here]


def _mutual_scores(rows: Sequence[Graph], columns: Sequence[Graph]) -> Scores:
    edges = len(rows[0].weights)

    def cell(a: Graph, b: Graph) -> float:
        return len(_shared(a.neighbours.codes, b.neighbours.codes)[0]) / edges

    values = cell_by_cell(rows, columns, cell, _MERGE_WORK * edges)
    means, sds = matching_null([g.sums for g in rows], [g.sums for g in columns])
    return Scores(values, means / edges, sds / edges)


def _jaccard_scores(rows: Sequence[Graph], columns: Sequence[Graph]) -> Scores:
    n, k = rows[0].neighbours.n, rows[0].neighbours.k
    common = np.arange(k + 1)
    jaccard = common / (2 * k - common)

    def cell(a: Graph, b: Graph) -> float:
        here, _ = _shared(a.neighbours.codes, b.neighbours.codes)
        return float(jaccard[np.bincount(here // k, minlength=n)].mean())

    values = cell_by_cell(rows, columns, cell, _MERGE_WORK * n * k)
    ways = [math.comb(k, h) * math.comb(n - 1 - k, k - h) for h in range(k + 1)]
    chance = sum(j * (w / math.comb(n - 1, k)) for j, w in zip(jaccard, ways, strict=True))
    return Scores(values, np.full_like(values, chance), np.full_like(values, np.nan))


def _cknna_scores(rows: Sequence[Graph], columns: Sequence[Graph]) -> Scores:
    def cell(a: Graph, b: Graph) -> float:
        here, there = _shared(a.neighbours.codes, b.neighbours.codes)
        return float(a.weights[here] @ b.weights[there])

    values = cell_by_cell(rows, columns, cell, _MERGE_WORK * len(rows[0].weights))
    means, sds = matching_null([g.sums for g in rows], [g.sums for g in columns])
    return Scores(values, means, sds)
