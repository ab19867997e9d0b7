"""Permutation test of a matrix of CKA values, corrected for looking at all of its cells.

The rows of one side are shuffled, every cell is computed again, and its p-value is how often the
shuffled value reaches the true one. For the corrected p-values the true value is compared with the
*largest* cell of each shuffle (Westfall & Young 1993): layers that resemble each other make the
correction milder than Holm's, and it needs no assumption on the tail. Debiased CKA has the same
null mean and sd in every cell, so that no cell dominates the maximum by its scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from backend.errors import InputError
from backend.measures.chance.samples import u_shift
from backend.measures.core.base import Float64, FloatArray, Prepared
from backend.measures.core.hsic import all_pairs
from backend.measures.core.pairs import grid
from backend.measures.core.parallel import map_pieces, worker_count
from backend.measures.core.result import MatrixResult
from backend.measures.families.kernel import matrix_result, prepare_layers

_GROUP_BYTES = 128 << 20
_ACCUMULATE = 8192  # products summed in the working precision before float64 takes over


def permutation_test(
    layers: Sequence[object],
    others: Sequence[object] | None = None,
    *,
    permutations: int = 999,
    seed: int = 0,
    labels: Sequence[str] | None = None,
    other_labels: Sequence[str] | None = None,
) -> MatrixResult:
    """Debiased CKA of ``layers`` (L arrays (n, d)) with ``others`` (M), tested by permutation.

    ``p_values`` are (1 + shuffles with a value at least as high) / (1 + permutations), one-sided;
    ``p_corrected`` compare with the highest cell of each shuffle, so that under chance any cell of
    the matrix is below 0.05 in 5 % of cases. All cells share the shuffles, which keep what the
    layers of one side have in common. Without ``others`` the layers are compared with each other:
    of each pair the later layer is shuffled, by the same permutations for all pairs, and a layer
    with itself is NaN and not among the cells. Undefined cells are NaN with a reason.

    Cost: permutations · L·M·n² multiply-adds and permutations · M·n² look-ups. Memory: the Grams
    of a group of layers of either side, 128 MB each or one n x n Gram if that is more, and a few MB
    a core. InputError for unusable arrays, n < 4, no permutations.
    """
    if permutations < 1:
        raise InputError(f"needs at least 1, got {permutations}", where="permutations")
    cells = grid(layers, others, labels, other_labels)
    names = cells.names
    prepared = prepare_layers([*layers, *(others or ())], names, min_samples=4)
    split = len(cells.rows)
    right_at = slice(0, split) if others is None else slice(split, None)
    result = matrix_result(
        all_pairs(prepared), [p.d for p in prepared], "debiased", names, slice(0, split), right_at
    )
    tested = np.isfinite(result.values)
    if others is None:
        tested &= np.triu(np.ones(tested.shape, dtype=bool), 1)
    left, right = prepared[:split], prepared[right_at]
    orders = _orders(left[0].n, permutations, seed)
    # The first order leaves all as it is: true and shuffled values share their rounding.
    values = _values(left, right, orders)
    true, shuffled = values[0], values[1:]
    tie = 64 * float(np.finfo(left[0].data.dtype).eps)
    highest = np.where(tested, shuffled, -np.inf).max(axis=(1, 2), initial=-np.inf)
    raw = (1 + (shuffled >= true - tie).sum(axis=0)) / (1 + permutations)
    reached = highest[:, None, None] >= true - tie
    corrected = (1 + reached.sum(axis=0)) / (1 + permutations)
    p, p_corrected = (np.where(tested, found, np.nan) for found in (raw, corrected))
    if others is None:
        below = np.tril_indices_from(p, -1)
        p[below], p_corrected[below] = p.T[below], p_corrected.T[below]
    return replace(
        result,
        p_values=p,
        p_corrected=p_corrected,
        params={**result.params, "permutations": permutations, "seed": seed},
    )


def _orders(n: int, permutations: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.arange(n), *(rng.permutation(n) for _ in range(permutations))]


def _values(
    left: Sequence[Prepared], right: Sequence[Prepared], orders: Sequence[np.ndarray]
) -> Float64:
    """CKA (orders, L, M) with the rows of ``right`` in each order; undefined cells are garbage."""
    n = left[0].n
    values = np.zeros((len(orders), len(left), len(right)))
    for i, a in _groups(left):
        for j, b in _groups(right):

            def compare(order: np.ndarray, a: FloatArray = a, b: FloatArray = b) -> Float64:
                return _inner_products(a, b, order)

            work = float(len(orders)) * len(a) * len(b) * n**2
            step = 64 * worker_count()
            for start in range(0, len(orders), step):
                some = orders[start : start + step]
                found = map_pieces(compare, some, work)
                values[start : start + len(some), i : i + len(a), j : j + len(b)] = found
    return values


def _inner_products(a: FloatArray, b: FloatArray, order: np.ndarray) -> Float64:
    """Σ A_i[s,t] B_j[order s, order t] (L, M), by blocks of rows that fit the cache."""
    size, n, _ = a.shape
    step = max(1, _ACCUMULATE // n)
    total = np.zeros((size, len(b)))
    for start in range(0, n, step):
        rows = b[:, order[start : start + step]]
        shuffled = np.take(rows, order, axis=2).reshape(len(b), -1)
        total += a[:, start : start + step].reshape(size, -1) @ shuffled.T
    return total


def _groups(layers: Sequence[Prepared]) -> Iterator[tuple[int, FloatArray]]:
    """Index of the first layer and unit U-centred Grams (l, n, n), a memory's share at a time."""
    n, itemsize = layers[0].n, layers[0].data.dtype.itemsize
    step = max(1, _GROUP_BYTES // (n * n * itemsize))
    for start in range(0, len(layers), step):
        yield start, np.stack([_unit_gram(layer) for layer in layers[start : start + step]])


def _unit_gram(layer: Prepared) -> FloatArray:
    x = layer.data
    shift = u_shift(layer.row_norms[None])[0].astype(x.dtype)
    gram: FloatArray = x @ x.T
    gram += shift[:, None]
    gram += shift
    np.fill_diagonal(gram, 0)
    norm = float(np.linalg.norm(gram))
    return gram / np.asarray(norm or 1.0, dtype=x.dtype)
