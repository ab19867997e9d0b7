"""What each sample adds to the HSIC sums of a pair of layers, from the same pass over the Grams.

For layers i, j with centred Grams W_i, W_j and diagonals D_i, D_j, every sample a has

    rows[a]    = Σ_{b≠a} W_i[a,b] W_j[a,b]
    crossed[a] = Σ_{b≠a} (W_i[a,b] D_j[b] + W_j[a,b] D_i[b])

(the row sums of a Gram without its diagonal are -D, so ``crossed`` is what centring contributes).
``rows`` sums to ``off`` of :mod:`.hsic`. The U-centred Gram of HSIC_1 is, off its zero diagonal,

    A[a,b] = W[a,b] + u[a] + u[b],   u = D / (n-2) - tr W / (2 (n-1) (n-2)),

and Σ_b A_i[a,b] A_j[a,b] (:meth:`SampleSums.terms`) sums to n(n-3) HSIC_1. ``cubes`` are Σ A³, for
the skewness of the null (:mod:`.pvalues`). The delete-one values that the bootstrap needs are
closed forms in these sums too (:mod:`.bootstrap`). Of samples that belong together in groups
:mod:`.grouped` adds what takes the place of the U-centred products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.chance.grams import HeldGrams, LinearGrams, Pair
from backend.measures.core.base import Float64, FloatArray, Prepared
from backend.measures.core.groups import Groups
from backend.measures.core.hsic import (
    HsicStatistics,
    cross_product,
    gram_is_cheaper,
    gram_statistics,
)
from backend.measures.core.parallel import map_pieces

_BLOCK_BYTES = 32 << 20
_ROWS = 4096


@dataclass(frozen=True, eq=False)
class SampleSums:
    """The sums of the module's docstring for L layers and P pairs of n samples.

    ``pairs`` starts with the L pairs of a layer with itself. ``rows`` and ``crossed`` are (n, P),
    ``diagonals`` (L, n); ``cubes`` (L,) is NaN where it was not asked for. With ``groups`` (n,)
    ``between`` (n, P) are the terms of the Grams that are centred by group.
    """

    statistics: HsicStatistics
    pairs: tuple[Pair, ...]
    rows: Float64
    crossed: Float64
    diagonals: Float64
    cubes: Float64
    groups: Groups | None = None
    between: Float64 | None = None

    def terms(self, columns: slice | NDArray[np.intp] = slice(None)) -> Float64:
        """(n, P): each sample's row of the U-centred products; a column sums to n(n-3) HSIC_1."""
        if self.between is not None:
            between: Float64 = self.between[:, columns]
            return between
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
    ½n²Σd + L²n² multiply-adds and, with ``cubes``, ½Ln² cubes. By covariances, where that is
    cheaper (n above about Σd) and no cubes are wanted: 2n Σ d_i d_j.

    Memory: 16nP bytes for the result and, a core, two copies of a block (L, b, b) of at most 32 MB
    each, b <= 192, with b products (L, L); by covariances a d_i x d_j matrix and 4096 rows of d_j.
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
    crossed = LinearGrams(data).crossings(diagonals, wanted)
    crossed -= _own_crossings(diagonals, wanted)
    return SampleSums(statistics, wanted, rows, crossed, diagonals, cubed)


def sample_sums_of_grams(
    grams: Float64, diagonals: Float64, pairs: Sequence[Pair] | None = None
) -> SampleSums:
    """The same of explicit centred Grams (L, n, n) with emptied diagonals, kept (L, n)."""
    size, _, _ = grams.shape
    wanted = with_diagonal(size, pairs)
    shift = u_shift(diagonals)
    cubes = np.zeros(size)
    for layer, gram in enumerate(grams):
        centred = gram + shift[layer][:, None] + shift[layer]
        np.fill_diagonal(centred, 0)
        cubes[layer] = (centred * centred * centred).sum()
    rows = np.stack([np.einsum("ab,ab->a", grams[i], grams[j]) for i, j in wanted], axis=1)
    crossed = HeldGrams(grams, diagonals).crossings(diagonals, wanted)
    crossed -= _own_crossings(diagonals, wanted)
    return SampleSums(gram_statistics(grams, diagonals), wanted, rows, crossed, diagonals, cubes)


def _own_crossings(diagonals: Float64, pairs: Sequence[Pair]) -> Float64:
    """What the diagonals themselves add to ``crossed`` (n, P), which leaves it out."""
    left, right = np.array(pairs).T
    own: Float64 = (2 * diagonals[left] * diagonals[right]).T
    return own


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
            narrow = cross.astype(data[i].dtype)
            for start in range(0, n, _ROWS):
                at = slice(start, start + _ROWS)
                found = np.einsum("ad,ad->a", data[i][at] @ narrow, data[j][at])
                found = found - diagonals[i, at] * diagonals[j, at]
                rows[at, asked[pair]] = found[:, None]
        return float(flat @ flat) - float(diagonals[i] @ diagonals[j])

    work = 2.0 * n * sum(data[i].shape[1] * data[j].shape[1] for i, j in asked)
    off = np.empty((size, size))
    for (i, j), value in zip(asked, map_pieces(take, asked, work), strict=True):
        off[i, j] = off[j, i] = value
    return rows, off


def _by_gram(
    data: Sequence[FloatArray], pairs: Sequence[Pair], shift: Float64, cubes: bool
) -> tuple[Float64, Float64, Float64]:
    """``rows``, ``off`` and Σ A³, by square blocks of the upper triangle, all layers together.

    A block adds to the rows of both of its groups of samples. The blocks of a round share no group,
    so that all of them add in place, and in the same order whoever finishes first.
    """
    size, n = len(data), data[0].shape[0]
    most = int((_BLOCK_BYTES // (size * data[0].dtype.itemsize)) ** 0.5)
    b = min(n, int(np.clip(n // 16, 64, 192)), max(most, 16))
    columns = np.array([i * size + j for i, j in pairs])
    rows, off, cubed = np.zeros((n, len(pairs))), np.zeros((size, size)), np.zeros(size)

    def take(block: Pair) -> tuple[Float64, Float64]:
        first, second = (slice(g * b, min((g + 1) * b, n)) for g in block)
        return _add_block(data, first, second, shift if cubes else None, rows, columns)

    work = n**2 * (0.5 * sum(x.shape[1] for x in data) + size**2)
    for blocks in _rounds(-(-n // b)):
        for total, third in map_pieces(take, blocks, work):
            off += total
            cubed += third
    return rows, off, cubed


def _rounds(count: int) -> Iterator[list[Pair]]:
    """All pairs of ``count`` groups, also with themselves, in rounds with every group once.

    The circle method of round-robin tournaments: one stays, the others turn about.
    """
    yield [(group, group) for group in range(count)]
    circle = count - 1 + count % 2  # of an odd count the one that stays is nobody
    for turn in range(circle):
        met = [(turn, circle)] if circle < count else []
        for k in range(1, circle // 2 + 1):
            i, j = (turn - k) % circle, (turn + k) % circle
            met.append((min(i, j), max(i, j)))
        if met:
            yield met


def _add_block(
    data: Sequence[FloatArray],
    first: slice,
    second: slice,
    shift: Float64 | None,
    rows: Float64,
    columns: NDArray[np.intp],
) -> tuple[Float64, Float64]:
    """Add what one block of the Grams gives to ``rows`` of its samples, on either side.

    ``columns`` are the wanted pairs in a flattened (L, L). Returned: what the block and its mirror
    add to ``off``, and to Σ A³.
    """
    size, same = len(data), first == second
    height, width = first.stop - first.start, second.stop - second.start
    block = np.empty((size, height, width), dtype=data[0].dtype)
    for layer, x in enumerate(data):
        np.matmul(x[first], x[second].T, out=block[layer])
        if same:
            np.fill_diagonal(block[layer], 0)
    total = _add_products(block.transpose(1, 0, 2), rows[first], columns)
    if not same:
        mirrored = np.ascontiguousarray(block.transpose(2, 0, 1))
        total += _add_products(mirrored, rows[second], columns)
        del mirrored
    cubes = np.zeros(size)
    if shift is not None:
        for layer, a in enumerate(block):
            u = shift[layer].astype(a.dtype)
            a += u[first, None]
            a += u[second]
            if same:
                np.fill_diagonal(a, 0)
            third = a * a
            third *= a
            cubes[layer] = (1 if same else 2) * third.sum(axis=0, dtype=np.float64).sum()
    return total, cubes


def _add_products(by_sample: FloatArray, rows: Float64, columns: NDArray[np.intp]) -> Float64:
    """Add Σ_b W_i[a,b] W_j[a,b] of the wanted pairs to ``rows`` (b, P); their sums over a (L, L).

    ``by_sample`` is (b, L, b'); sums over its at most 192 columns are of the working precision.
    """
    count, size, _ = by_sample.shape
    products = (by_sample @ by_sample.transpose(0, 2, 1)).reshape(count, size * size)
    rows += products[:, columns]
    total: Float64 = products.sum(axis=0, dtype=np.float64).reshape(size, size)
    return total
