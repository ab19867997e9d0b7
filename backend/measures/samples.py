"""What each sample adds to the HSIC sums of a pair of layers, from the same pass over the Grams.

For layers i, j with centred Grams W_i, W_j and diagonals D_i, D_j, every sample a has

    rows[a]    = Σ_{b≠a} W_i[a,b] W_j[a,b]
    crossed[a] = Σ_{b≠a} (W_i[a,b] D_j[b] + W_j[a,b] D_i[b])

(the row sums of a Gram without its diagonal are -D, so ``crossed`` is what centring contributes).
``rows`` sums to ``off`` of :mod:`.hsic`. The U-centred Gram of HSIC_1 is, off its zero diagonal,

    A[a,b] = W[a,b] + u[a] + u[b],   u = D / (n-2) - tr W / (2 (n-1) (n-2)),

and Σ_b A_i[a,b] A_j[a,b] (:meth:`SampleSums.terms`) sums to n(n-3) HSIC_1. ``cubes`` are Σ A³, for
the skewness of the null (:mod:`.pvalues`). The delete-one values that the bootstrap needs are
closed forms in these sums too (:mod:`.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.base import Float64, FloatArray, Prepared
from backend.measures.hsic import (
    HsicStatistics,
    cross_product,
    gram_is_cheaper,
    gram_statistics,
)
from backend.measures.parallel import map_pieces, worker_count

Pair = tuple[int, int]

_BLOCK_BYTES = 32 << 20
_ACCUMULATE = 8192  # products summed in the working precision before float64 takes over


@dataclass(frozen=True, eq=False)
class SampleSums:
    """The sums of the module's docstring for L layers and P pairs of n samples.

    ``pairs`` starts with the L pairs of a layer with itself. ``rows`` and ``crossed`` are (n, P),
    ``diagonals`` (L, n); ``cubes`` (L,) is NaN where it was not asked for.
    """

    statistics: HsicStatistics
    pairs: tuple[Pair, ...]
    rows: Float64
    crossed: Float64
    diagonals: Float64
    cubes: Float64

    def terms(self, columns: slice | NDArray[np.intp] = slice(None)) -> Float64:
        """(n, P): each sample's row of the U-centred products; a column sums to n(n-3) HSIC_1."""
        n, traces = self.statistics.n, self.statistics.traces
        left, right = np.array(self.pairs)[columns].T
        d, e = self.diagonals[left].T, self.diagonals[right].T
        w = (d * e).sum(axis=0)
        remaining = (traces[right] - e) / (n - 2) - e
        own = d / (n - 2) - traces[left] / ((n - 1) * (n - 2))
        terms: Float64 = (
            self.rows[:, columns]
            + self.crossed[:, columns] / (n - 2)
            + own * remaining
            + (w - d * e) / (n - 2) ** 2
        )
        return terms


def u_shift(diagonals: Float64) -> Float64:
    """``u`` of the module's docstring, from (L, n) diagonals."""
    n = diagonals.shape[1]
    shift: Float64 = diagonals / (n - 2) - diagonals.sum(axis=1, keepdims=True) / (
        2 * (n - 1) * (n - 2)
    )
    return shift


def sample_sums(
    layers: Sequence[Prepared], pairs: Sequence[Pair] | None = None, *, cubes: bool = False
) -> SampleSums:
    """The sums over samples of prepared linear layers (n >= 4), for ``pairs`` (default: i <= j).

    All of :class:`HsicStatistics` is filled, whichever pairs are asked for. By Gram blocks:
    ½n²Σd + 1½L²n² multiply-adds and, with ``cubes``, ½Ln² cubes; memory 32 MB of blocks a core and
    8nP bytes for the result. By covariances, where that is cheaper (n above about Σd) and no cubes
    are wanted: 2n Σ d_i d_j.
    """
    n, size = layers[0].n, len(layers)
    wanted = with_diagonal(size, pairs)
    data = [layer.data for layer in layers]
    diagonals = np.stack([layer.row_norms for layer in layers])
    w = diagonals @ diagonals.T
    cubed = np.full(size, np.nan)
    if cubes or gram_is_cheaper(n, [layer.d for layer in layers]):
        rows, off, found = _by_gram(data, wanted, u_shift(diagonals), cubes)
        cubed = found if cubes else cubed
    else:
        rows, off = _by_covariance(data, wanted, diagonals)
    traces = np.array([0.0 if layer.constant else 1.0 for layer in layers])
    statistics = HsicStatistics(n, traces, w, off, float(np.finfo(data[0].dtype).eps))
    products = map_pieces(
        lambda x: _kernel_times(x, diagonals), data, 2.0 * size * sum(x.size for x in data)
    )
    return SampleSums(
        statistics=statistics,
        pairs=wanted,
        rows=rows,
        crossed=_crossed(np.stack(products), diagonals, wanted),
        diagonals=diagonals,
        cubes=cubed,
    )


def sample_sums_of_grams(
    grams: Float64, diagonals: Float64, pairs: Sequence[Pair] | None = None
) -> SampleSums:
    """The same of explicit centred Grams (L, n, n) with emptied diagonals, kept (L, n)."""
    size, n, _ = grams.shape
    wanted = with_diagonal(size, pairs)
    shift = u_shift(diagonals)
    cubes = np.zeros(size)
    products = np.empty((size, n, size))
    for layer, gram in enumerate(grams):
        products[layer] = gram @ diagonals.T + (diagonals[layer] * diagonals).T
        centred = gram + shift[layer][:, None] + shift[layer]
        np.fill_diagonal(centred, 0)
        cubes[layer] = (centred * centred * centred).sum()
    rows = np.stack([np.einsum("ab,ab->a", grams[i], grams[j]) for i, j in wanted], axis=1)
    crossed = _crossed(products, diagonals, wanted)
    return SampleSums(gram_statistics(grams, diagonals), wanted, rows, crossed, diagonals, cubes)


def with_diagonal(size: int, pairs: Sequence[Pair] | None) -> tuple[Pair, ...]:
    """Each layer with itself, then ``pairs`` (default: all i < j) as they were given.

    InputError for a layer outside 0..size-1.
    """
    if pairs is None:
        pairs = [(i, j) for i in range(size) for j in range(i + 1, size)]
    outside = [pair for pair in pairs if not all(0 <= layer < size for layer in pair)]
    if outside:
        raise InputError(f"pair {outside[0]} lies outside 0..{size - 1}", where="pairs")
    return (*((layer, layer) for layer in range(size)), *((int(i), int(j)) for i, j in pairs))


def _kernel_times(x: FloatArray, vectors: Float64) -> Float64:
    """X Xᵀ vᵀ (n, L) for the rows v of ``vectors`` (L, n)."""
    projected = vectors.astype(x.dtype) @ x
    return (x @ projected.T).astype(np.float64)


def _crossed(products: Float64, diagonals: Float64, pairs: Sequence[Pair]) -> Float64:
    """``crossed`` from products[i, :, j] = W_i D_j, diagonal of W_i included."""
    left, right = np.array(pairs).T
    own = 2 * diagonals[left] * diagonals[right]
    both = products[left, :, right] + products[right, :, left] - own
    return np.ascontiguousarray(both.T)


def _by_covariance(
    data: Sequence[FloatArray], pairs: Sequence[Pair], diagonals: Float64
) -> tuple[Float64, Float64]:
    """x_aᵀ (XᵀY) y_a - D_a E_a; the matrix of all sums is completed from ‖XᵀY‖²."""
    size, n = len(data), data[0].shape[0]
    asked: dict[Pair, list[int]] = {(i, j): [] for i in range(size) for j in range(i, size)}
    for column, (i, j) in enumerate(pairs):
        asked[min(i, j), max(i, j)].append(column)
    rows = np.empty((n, len(pairs)))

    def take(pair: Pair) -> float:
        i, j = pair
        cross = cross_product(data[i], data[j])
        flat = cross.ravel()
        if asked[pair]:
            mapped = data[i] @ cross.astype(data[i].dtype)
            found = np.einsum("ad,ad->a", mapped, data[j]) - diagonals[i] * diagonals[j]
            rows[:, asked[pair]] = found[:, None]
        return float(flat @ flat) - float(diagonals[i] @ diagonals[j])

    work = 2.0 * n * sum(data[i].shape[1] * data[j].shape[1] for i, j in asked)
    off = np.empty((size, size))
    for (i, j), value in zip(asked, map_pieces(take, asked, work), strict=True):
        off[i, j] = off[j, i] = value
    return rows, off


def _by_gram(
    data: Sequence[FloatArray], pairs: Sequence[Pair], shift: Float64, cubes: bool
) -> tuple[Float64, Float64, Float64]:
    """``rows``, ``off`` and Σ A³, by blocks of rows of the upper triangle, all layers together."""
    size, n, itemsize = len(data), data[0].shape[0], data[0].dtype.itemsize
    left, right = np.array(pairs).T
    b = min(n, int(np.clip(_BLOCK_BYTES // (size * n * itemsize), 16, 256)))
    rows, off, cubed = np.zeros((n, len(pairs))), np.zeros((size, size)), np.zeros(size)
    starts = range(0, n, b)
    group = 2 * worker_count()  # blocks held at once; added in order, whoever finishes first
    per_block = b * n * (0.5 * sum(x.shape[1] for x in data) + 1.5 * size**2)
    for first in range(0, len(starts), group):
        some = starts[first : first + group]

        def take(start: int) -> tuple[Float64, Float64, Float64]:
            found, total, third = _block_sums(data, start, b, shift if cubes else None)
            return found[:, left, right], total, third

        for start, (found, total, third) in zip(
            some, map_pieces(take, some, per_block * len(some)), strict=True
        ):
            rows[start:] += found
            off += total
            cubed += third
    return rows, off, cubed


def _block_sums(
    data: Sequence[FloatArray], start: int, b: int, shift: Float64 | None
) -> tuple[Float64, Float64, Float64]:
    """What the products of rows start..start+b with themselves and all later rows add.

    Products[a] (n - start, L, L) to the samples from ``start`` on, their sum, and Σ A³.
    """
    size, n = len(data), data[0].shape[0]
    stop = min(start + b, n)
    rows = stop - start
    block = np.empty((size, rows, n - start), dtype=data[0].dtype)
    inside = np.arange(rows)
    for layer, x in enumerate(data):
        np.matmul(x[start:stop], x[start:].T, out=block[layer])
    block[:, inside, inside] = 0
    products = np.zeros((n - start, size, size))
    by_row = block.transpose(1, 0, 2)
    for first in range(0, n - start, _ACCUMULATE):
        piece = by_row[:, :, first : first + _ACCUMULATE]
        products[:rows] += piece @ piece.transpose(0, 2, 1)
    if stop < n:
        by_column = np.ascontiguousarray(block[:, :, rows:].transpose(2, 0, 1))
        products[rows:] += by_column @ by_column.transpose(0, 2, 1)
    cubes = np.zeros(size)
    if shift is not None:
        for layer, a in enumerate(block):
            u = shift[layer].astype(a.dtype)
            a += u[start:stop, None]
            a += u[start:]
            a[inside, inside] = 0
            third = a * a
            third *= a
            sums = third.sum(axis=0, dtype=np.float64)
            cubes[layer] = sums[:rows].sum() + 2 * sums[rows:].sum()
    return products, products.sum(axis=0), cubes
