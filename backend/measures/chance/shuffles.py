"""Similarity under random matchings of the samples, or of whole groups of them, one by one.

Where rows are heavy-tailed or samples belong together, no closed form is right and chance is found
by shuffling. The similarity is Σ_{a≠b} A_i[a,b] A_j[π(a), π(b)] of symmetric matrices at norm 1: of
Grams, centred as for HSIC_1, it is debiased CKA, of RDMs it is RSA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from backend.measures.chance.grouped import group_shift
from backend.measures.chance.samples import u_shift
from backend.measures.core.base import Float64, FloatArray
from backend.measures.core.groups import LEAST_EXCHANGES, Groups, exchange_orders, exchanges
from backend.measures.core.parallel import map_pieces
from backend.remarks import Remark, remark

UnitMatrix = Callable[[int], FloatArray]

NULL_ORDERS = 199
"""Random exchanges where the null alone is asked for: they give its sd to 5 %."""

TIE = 64 * float(np.finfo(np.float32).eps)
"""Values of CKA nearer to each other than this are equal up to the rounding of the shuffles."""

_BATCH_BYTES = 128 << 20
_ACCUMULATE = 8192  # products summed in float32 before float64 takes over
_TOGETHER = 8  # orders whose products are one multiplication of matrices


def few_exchanges(groups: Groups | None, n: int) -> Remark | None:
    """Why chance is not told where samples or groups can hardly be exchanged; None where it is."""
    ways = exchanges(groups, n)
    if ways >= LEAST_EXCHANGES:
        return None
    return remark("few_exchanges", ways=int(ways), least=LEAST_EXCHANGES)


def null_orders(groups: Groups, largest: int) -> list[Groups] | Remark:
    """The orders of :func:`~backend.measures.core.groups.exchange_orders` for a null's mean and sd.

    Or why there is none: too few exchanges, or more than ``largest`` samples.
    """
    few = few_exchanges(groups, len(groups))
    if few is not None:
        return few
    if len(groups) > largest:
        return remark("many_exchanges", largest=largest)
    return exchange_orders(groups, NULL_ORDERS)[0]


def shuffled_products(
    unit: UnitMatrix, left: Sequence[int], right: Sequence[int], orders: Sequence[Groups]
) -> Float64:
    """Similarity (orders, L, M) of the layers ``left`` with ``right`` in each order (n,).

    ``unit(i)`` is the symmetric matrix of layer i at norm 1 (:func:`centred_unit`), its diagonal
    left out; where it is zero so is the similarity. Products are float32. ½n² L M multiply-adds and
    ½n² look-ups of M numbers an order. Memory: matrices of some layers of either side, 128 MB each
    or one n x n matrix if that is more, and a few MB a core.
    """
    n = len(orders[0])
    values = np.zeros((len(orders), len(left), len(right)))
    every = [
        np.stack(orders[start : start + _TOGETHER]) for start in range(0, len(orders), _TOGETHER)
    ]
    for i, a in _batches(unit, left):
        upper = 2 * np.triu(a, 1)  # both are symmetric

        for j, matrices in _batches(unit, right):
            # The layers of a place beside each other: one look-up gives all.
            b = np.ascontiguousarray(np.moveaxis(matrices, 0, -1)).reshape(n * n, -1)

            def compare(some: Groups, a: FloatArray = upper, b: FloatArray = b) -> Float64:
                return _inner_products(a, b, some)

            work = float(len(orders)) * len(a) * len(matrices) * n**2
            products = np.concatenate(map_pieces(compare, every, work))
            values[:, i : i + len(a), j : j + len(matrices)] = products
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


def _inner_products(a: FloatArray, b: FloatArray, orders: Groups) -> Float64:
    """Σ A_i[s,t] B_j[order s, order t] (o, L, M) of ``orders`` (o, n), by blocks of rows.

    ``a`` (L, n, n) are upper triangles, ``b`` (n·n, M) one matrix a column.
    """
    size, n, _ = a.shape
    count = len(orders)
    step = max(1, _ACCUMULATE // n)
    total = np.zeros((size, count * b.shape[1]))
    for start in range(0, n, step):
        at = slice(start, start + step)
        places = orders[:, at, None] * n + orders[:, None, start:]
        shuffled = np.take(b, places.reshape(count, -1).T, axis=0)
        total += a[:, at, start:].reshape(size, -1) @ shuffled.reshape(len(shuffled), -1)
    return total.reshape(size, count, -1).transpose(1, 0, 2)


def _batches(unit: UnitMatrix, layers: Sequence[int]) -> Iterator[tuple[int, FloatArray]]:
    """Place of the first layer and the matrices (l, n, n) of some, a memory's share at a time."""
    start = 0
    while start < len(layers):
        some = [unit(layers[start]).astype(np.float32)]
        step = max(1, _BATCH_BYTES // some[0].nbytes)
        some += [unit(layer).astype(np.float32) for layer in layers[start + 1 : start + step]]
        yield start, np.stack(some)
        start += step
