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
    matrix_form,
)
from backend.measures.core.distances import Neighbours, nearest, prepared_for
from backend.measures.core.groups import Groups, as_groups
from backend.measures.core.matching import MatchingSums, matching_null, matching_sums
from backend.measures.core.result import Result
from backend.measures.families.kernel import check_choice
from backend.measures.families.neighbour_null import Edges, exchanged_null
from backend.remarks import Remarks, remark

Metric = Literal["euclidean", "cosine"]

_MERGE_WORK = 100.0  # multiply-adds that merging one neighbour is worth


@dataclass(frozen=True, eq=False)
class Graph:
    """A layer's neighbours, the weight of each edge (n·k,), what its null needs, and the groups of
    the samples, where some belong together: those of one are not each other's neighbours.
    """

    neighbours: Neighbours
    weights: Float64
    sums: MatchingSums
    groups: Groups | None = None

    @property
    def edges(self) -> Edges:
        """From whom to whom, and the weights."""
        n = self.neighbours.n
        return Edges(self.neighbours.codes // n, self.neighbours.codes % n, self.weights)


Scorer = Callable[[Sequence[Graph], Sequence[Graph]], Scores]


def mutual_knn(
    x: object, y: object, k: int = 10, *, metric: Metric = "euclidean", groups: object = None
) -> Result:
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
    ``groups`` (n names) say which samples belong together, as five captions of a photo: neighbours
    are then sought in other groups, and the null is that of exchanging whole groups of one size
    (:mod:`.neighbour_null`).
    Cost: n²(d_x + d_y) multiply-adds in float64; memory blocks of 64 MB. NaN with a reason if a
    side is constant or has a zero row under cosine, or if a group leaves fewer than k others.
    InputError naming ``k`` unless 1 <= k < n. (Huh et al. 2024.)
    """
    return compare(_mutual(k, metric=metric, groups=groups), x, y)


def jaccard_knn(
    x: object, y: object, k: int = 10, *, metric: Metric = "euclidean", groups: object = None
) -> Result:
    """Mean over samples of |N_k(x) ∩ N_k(y)| / |N_k(x) ∪ N_k(y)|, ``x`` (n, d_x), ``y`` (n, d_y).

    Range 0..1. Under a random matching each intersection is hypergeometric, which gives the exact
    null mean; the sd depends on how the rows' intersections go together and is left NaN.
    Everything else as for :func:`mutual_knn`.
    """
    return compare(_jaccard(k, metric=metric, groups=groups), x, y)


def cknna(x: object, y: object, k: int = 10, *, groups: object = None) -> Result:
    """CKA restricted to mutual nearest neighbours, of ``x`` (n, d_x) and ``y`` (n, d_y).

    With the centred Grams K = Xc Xcᵀ, L = Yc Ycᵀ and α(a, b) = 1 where b is among the ``k`` nearest
    of a in both: Σ α K L / √(Σ_{b ∈ N_k^x(a)} K² · Σ_{b ∈ N_k^y(a)} L²). This is the definition in
    the paper's text, with the mean over the samples removed from both sides and neighbours by
    Euclidean distance; the authors' program differs: neighbours by inner product, and a debiased
    HSIC of the masked, un-centred Grams. k = n - 1 is biased CKA without the diagonals.
    Range -1..1, 1 for x with itself. Invariances, null (exact mean and sd), groups, ties, cost and
    failures as for :func:`mutual_knn` with the Euclidean metric. (Huh et al. 2024.)
    """
    return compare(_cknna(k, groups=groups), x, y)


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


def _mutual(
    k: int = 10, *, metric: Metric = "euclidean", groups: object = None
) -> Comparison[Graph]:
    return _knn("mutual_knn", k, metric, _mutual_scores, groups)


def _jaccard(
    k: int = 10, *, metric: Metric = "euclidean", groups: object = None
) -> Comparison[Graph]:
    return _knn("jaccard_knn", k, metric, _jaccard_scores, groups)


def _knn(measure: str, k: int, metric: Metric, score: Scorer, groups: object) -> Comparison[Graph]:
    check_choice(metric, Metric, "metric")
    check_k(k)
    return Comparison(
        measure=measure,
        params={"k": int(k), "metric": metric},
        describe=partial(_describe, k=k, metric=metric, weighted=False, groups=groups),
        score=score,
        work=_work,
    )


def _cknna(k: int = 10, *, groups: object = None) -> Comparison[Graph]:
    check_k(k)
    return Comparison(
        measure="cknna",
        params={"k": int(k)},
        describe=partial(_describe, k=k, metric="euclidean", weighted=True, groups=groups),
        score=_cknna_scores,
        work=_work,
    )


def _work(n: int, d: int) -> float:
    return float(n) * n * (d + 10)


def _describe(
    array: FloatArray, name: str, *, k: int, metric: str, weighted: bool, groups: object
) -> Layer[Graph]:
    n, d = array.shape
    check_k(k, n)
    together = as_groups(groups, n)
    others = n - 1 if together is None else n - int(np.bincount(together).max())
    if others < k:
        return Layer(name, d, None, Remarks.of(remark("few_other_groups", others=others, k=k)))
    prepared, reason = prepared_for(array, name, metric)
    if prepared is None:
        return Layer(name, d, None, reason)
    neighbours = nearest(prepared, k, array, together)
    codes, weights = neighbours.codes, np.ones(n * k)
    if weighted:
        norms = prepared.row_norms
        weights = (norms[codes // n] + norms[codes % n] - neighbours.squared) / 2
        size = math.sqrt(float(weights @ weights))
        if size == 0:
            return Layer(name, d, None, Remarks.of(remark("orthogonal_neighbours", name)))
        weights = weights / size
    graph = Graph(neighbours, weights, _sums(neighbours, weights), together)
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
    groups = rows[0].groups
    if groups is not None:
        shared = _in_groups(rows, columns, lambda _, common: float(common.sum()) / edges, groups)
        return Scores(values, *shared)
    means, sds = matching_null([g.sums for g in rows], [g.sums for g in columns])
    return Scores(values, means / edges, sds / edges)


def _jaccard_scores(rows: Sequence[Graph], columns: Sequence[Graph]) -> Scores:
    n, k = rows[0].neighbours.n, rows[0].neighbours.k
    common = np.arange(k + 1)
    jaccard = common / (2 * k - common)

    def cell(a: Graph, b: Graph) -> float:
        here, _ = _shared(a.neighbours.codes, b.neighbours.codes)
        return float(jaccard[np.bincount(here // k, minlength=n)].mean())

    def score(_: Edges, shared: Float64) -> float:
        # The edges of a sample are beside each other.
        return float(jaccard[shared.reshape(n, k).sum(axis=1).astype(np.intp)].mean())

    values = cell_by_cell(rows, columns, cell, _MERGE_WORK * n * k)
    groups = rows[0].groups
    if groups is not None:
        return Scores(values, *_in_groups(rows, columns, score, groups))
    ways = [math.comb(k, h) * math.comb(n - 1 - k, k - h) for h in range(k + 1)]
    chance = sum(j * (w / math.comb(n - 1, k)) for j, w in zip(jaccard, ways, strict=True))
    return Scores(values, np.full_like(values, chance), np.full_like(values, np.nan))


def _cknna_scores(rows: Sequence[Graph], columns: Sequence[Graph]) -> Scores:
    def cell(a: Graph, b: Graph) -> float:
        here, there = _shared(a.neighbours.codes, b.neighbours.codes)
        return float(a.weights[here] @ b.weights[there])

    values = cell_by_cell(rows, columns, cell, _MERGE_WORK * len(rows[0].weights))
    groups = rows[0].groups
    if groups is not None:
        products = _in_groups(rows, columns, lambda a, found: float(a.weights @ found), groups)
        return Scores(values, *products)
    means, sds = matching_null([g.sums for g in rows], [g.sums for g in columns])
    return Scores(values, means, sds)


def _in_groups(
    rows: Sequence[Graph],
    columns: Sequence[Graph],
    score: Callable[[Edges, Float64], float],
    groups: Groups,
) -> tuple[Float64, Float64, Remarks]:
    left = [graph.edges for graph in rows]
    right = left if rows is columns else [graph.edges for graph in columns]
    return exchanged_null(left, right, score, groups)


mutual_knn_matrix = matrix_form(_mutual)
"""Matrix form of :func:`mutual_knn`: each layer's neighbours are found once, n²Σd multiply-adds,
then n·k comparisons a pair."""

jaccard_knn_matrix = matrix_form(_jaccard)
cknna_matrix = matrix_form(_cknna)
