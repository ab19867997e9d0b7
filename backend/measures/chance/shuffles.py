"""Debiased CKA under random matchings of the samples, or of whole groups of them, one by one.

Where rows are heavy-tailed or samples belong together, no closed form is right and chance is found
by shuffling. CKA is then Σ A_i[a,b] A_j[π(a), π(b)] of unit Grams, centred as for HSIC_1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from backend.measures.chance.grouped import group_shift
from backend.measures.chance.samples import u_shift
from backend.measures.core.base import Float64, FloatArray
from backend.measures.core.groups import Groups
from backend.measures.core.parallel import map_pieces, worker_count

UnitGram = Callable[[int], FloatArray]

TIE = 64 * float(np.finfo(np.float32).eps)
"""Values of CKA nearer to each other than this are equal up to the rounding of the shuffles."""

_BATCH_BYTES = 128 << 20
_ACCUMULATE = 16384  # products summed in float32 before float64 takes over


def shuffled_cka(
    unit_gram: UnitGram, left: Sequence[int], right: Sequence[int], orders: Sequence[Groups]
) -> Float64:
    """Debiased CKA (orders, L, M) of the layers ``left`` with ``right`` in each order (n,).

    ``unit_gram(i)`` is the centred Gram of layer i (:func:`centred_unit`); where it is zero so is
    CKA. Products are float32. ½n² L M multiply-adds and ½n² look-ups of M numbers an order. Memory:
    Grams of some layers of either side, 128 MB each or one n x n Gram if that is more, and a few MB
    a core.
    """
    n = len(orders[0])
    values = np.zeros((len(orders), len(left), len(right)))
    for i, a in _batches(unit_gram, left):
        upper = 2 * np.triu(a, 1)  # both are symmetric

        for j, grams in _batches(unit_gram, right):
            # The layers of a place beside each other: one look-up gives all.
            b = np.ascontiguousarray(np.moveaxis(grams, 0, -1)).reshape(n * n, -1)

            def compare(order: Groups, a: FloatArray = upper, b: FloatArray = b) -> Float64:
                return _inner_products(a, b, order)

            work = float(len(orders)) * len(a) * len(grams) * n**2
            step = 64 * worker_count()
            for start in range(0, len(orders), step):
                some = orders[start : start + step]
                found = map_pieces(compare, some, work)
                values[start : start + len(some), i : i + len(a), j : j + len(grams)] = found
    return values


def centred_unit(gram: FloatArray, groups: Groups | None) -> FloatArray:
    """A Gram (n, n) centred as for HSIC_1 or, in groups, as in :mod:`.grouped`, at norm 1.

    It is changed in place; all zero if nothing is left.
    """
    if groups is None:
        shift = u_shift(np.diag(gram)[None].astype(np.float64))[0]
        gram += (shift[:, None] + shift).astype(gram.dtype)
        np.fill_diagonal(gram, 0)
    else:
        inside = groups[:, None] == groups
        own = np.where(inside, gram, 0).sum(axis=1, dtype=np.float64)
        shift = group_shift(own[None], groups)[0]
        gram += (shift[:, None] + shift).astype(gram.dtype)
        gram[inside] = 0
    norm = float(np.linalg.norm(gram))
    gram /= np.asarray(norm or 1.0, dtype=gram.dtype)
    return gram


def _inner_products(a: FloatArray, b: FloatArray, order: Groups) -> Float64:
    """Σ A_i[s,t] B_j[order s, order t] (L, M), by blocks of rows that fit the cache.

    ``a`` (L, n, n) are upper triangles, ``b`` (n·n, M) one Gram a column.
    """
    size, n, _ = a.shape
    step = max(1, _ACCUMULATE // n)
    total = np.zeros((size, b.shape[1]))
    for start in range(0, n, step):
        at = slice(start, start + step)
        places = (order[at, None] * n + order[start:]).ravel()
        total += a[:, at, start:].reshape(size, -1) @ np.take(b, places, axis=0)
    return total


def _batches(unit_gram: UnitGram, layers: Sequence[int]) -> Iterator[tuple[int, FloatArray]]:
    """Place of the first layer and the Grams (l, n, n) of some, a memory's share at a time."""
    start = 0
    while start < len(layers):
        grams = [unit_gram(layers[start]).astype(np.float32)]
        step = max(1, _BATCH_BYTES // grams[0].nbytes)
        grams += [unit_gram(layer).astype(np.float32) for layer in layers[start + 1 : start + step]]
        yield start, np.stack(grams)
        start += step
