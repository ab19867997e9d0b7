"""Pairwise HSIC sums of many layers at once, and what follows from them: CKA and its null.

For layers i, j with centred linear Grams W_i = X_i X_iᵀ (n, n) everything is a function of

    trace_i  = tr W_i
    w_ij     = Σ_a W_i[a,a] W_j[a,a]                  (products of the diagonals)
    off_ij   = Σ_{a≠b} W_i[a,b] W_j[a,b]              (products off the diagonals)

Biased:   HSIC_0 ∝ off + w.
Debiased: the unbiased HSIC_1 of Song et al. (2012) needs the Grams without their diagonals. The
rows of a centred Gram sum to 0, so those of the emptied one sum to minus its diagonal, and
n(n-3) HSIC_1 = off + trace_i trace_j / ((n-1)(n-2)) - 2 w / (n-2).

Keeping ``off`` apart from ``w`` matters: for n << d nearly all of HSIC_0 is w, and subtracting it
afterwards would cancel.

Null. Under a random matching of the rows, with T = tr W, T2 = ‖W‖², S2 = Σ W_aa² (Kazi-Aoual et
al. 1995; Josse et al. 2008 for the RV coefficient, which is biased linear CKA), mean = T T'/(n-1)
and the variance below. HSIC_1 is the inner product of matrices that have zero rows sums *and* zero
diagonals, so the same formula with T = S2 = 0 gives the null of debiased CKA: mean 0 and
sd = √(2 / (n (n-3))), whatever the data.

Both nulls take the samples as independent. Where they belong together in groups, HSIC_1 is that of
:mod:`backend.measures.chance.grouped` (``between``), and the null is found by exchanging groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.measures.core.base import Float64, FloatArray, Prepared
from backend.measures.core.parallel import map_pieces, worker_count

_BLOCK_BYTES = 64 << 20
_ACCUMULATE = 8192  # products summed in the working precision before float64 takes over
_ROWS = 16384


@dataclass(frozen=True, eq=False)
class HsicStatistics:
    """The sums of the module's docstring for L layers; NaN for pairs that were not tracked.

    ``eps`` is the rounding unit of the products. ``no_bandwidth`` are the layers whose RBF kernel
    is undefined because their median distance is 0; their sums are 0, but they are not constant.
    ``between`` (L, L), of samples in groups, takes the place of n(n-3) HSIC_1.
    All methods return (L, L) matrices.
    """

    n: int
    traces: Float64
    w: Float64
    off: Float64
    eps: float
    no_bandwidth: frozenset[int] = frozenset()
    between: Float64 | None = None

    @property
    def constant(self) -> NDArray[np.bool_]:
        """(L,) which layers are constant."""
        constant: NDArray[np.bool_] = np.equal(self.traces, 0)
        constant[list(self.no_bandwidth)] = False
        return constant

    def biased(self) -> Float64:
        """Biased linear CKA; NaN for constant layers."""
        return _normalised(self.off + self.w, np.zeros(len(self.traces)))

    def debiased(self) -> Float64:
        """Debiased linear CKA, n >= 4; NaN for constant layers and equidistant samples."""
        # Below this the self-similarity is rounding, not signal.
        floor = 16 * self.eps * np.diag(self.off + self.w)
        return _normalised(self._unbiased(), floor)

    def null(self, estimator: str) -> tuple[Float64, Float64]:
        """Mean and sd of CKA under a random matching of the rows; NaN where n < 4 and in groups."""
        size = len(self.traces)
        blank = np.full((size, size), np.nan)
        if self.n < 4 or self.between is not None:
            return blank, blank.copy()
        if estimator == "debiased":
            known = np.isfinite(self.debiased())
            sd = np.sqrt(2.0 / (self.n * (self.n - 3)))
            return np.where(known, 0.0, np.nan), np.where(known, sd, np.nan)
        squares = np.diag(self.off + self.w)
        return biased_null(self.n, self.traces, squares, np.diag(self.w))

    def cka(self, estimator: str) -> Float64:
        """The matrix of one estimator, ``"biased"`` or ``"debiased"``."""
        return self.biased() if estimator == "biased" else self.debiased()

    def _unbiased(self) -> Float64:
        if self.between is not None:
            return self.between
        n = self.n
        product = np.outer(self.traces, self.traces)
        unbiased: Float64 = self.off + product / ((n - 1) * (n - 2)) - 2 * self.w / (n - 2)
        return unbiased


def biased_null(n: int, t: Float64, t2: Float64, s2: Float64) -> tuple[Float64, Float64]:
    """Mean and sd of biased CKA for every pair, from each centred Gram's T, T2 and S2 (n >= 4)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(t2 > 0, 1.0 / np.sqrt(t2), np.nan)
        # In units of ‖W‖, so that the fourth powers of tiny data do not vanish.
        t, s2 = t * scale, s2 * scale**2
    spread = (n - 1) - t**2
    diagonal = n * (n + 1) * s2 - (n - 1) * (t**2 + 2)
    mean = np.outer(t, t) / (n - 1)
    variance = 2 * np.outer(spread, spread) / ((n - 1) ** 2 * (n + 1) * (n - 2)) + np.outer(
        diagonal, diagonal
    ) / ((n + 1) * n * (n - 1) * (n - 2) * (n - 3))
    return mean, np.sqrt(np.maximum(variance, 0.0))


def all_pairs(layers: Sequence[Prepared]) -> HsicStatistics:
    """The sums for all pairs of prepared layers, by whichever route needs fewer products."""
    n, widths = layers[0].n, [layer.d for layer in layers]
    norms = np.stack([layer.row_norms for layer in layers])
    data = [layer.data for layer in layers]
    w = norms @ norms.T
    if gram_is_cheaper(n, widths):
        off = _off_diagonal_by_gram(data)
    else:
        off = _squares_by_covariance(data) - w
    traces = np.array([0.0 if layer.constant else 1.0 for layer in layers])
    return HsicStatistics(n, traces, w, off, float(np.finfo(data[0].dtype).eps))


def multiply_adds(n: int, widths: Sequence[int]) -> float:
    """Multiply-adds that :func:`all_pairs` needs."""
    return min(_gram_work(n, widths), _covariance_work(n, widths))


def gram_statistics(emptied: Float64, diagonals: Float64) -> HsicStatistics:
    """The sums of explicit centred float64 Grams (L, n, n) with emptied diagonals, kept (L, n)."""
    size, n = diagonals.shape
    flat = emptied.reshape(size, n * n)
    return HsicStatistics(
        n=n,
        traces=diagonals.sum(axis=1),
        w=diagonals @ diagonals.T,
        off=flat @ flat.T,
        eps=float(np.finfo(np.float64).eps),
    )


def gram_is_cheaper(n: int, widths: Sequence[int]) -> bool:
    """Whether sample-by-sample Grams beat coordinate-by-coordinate covariances (n < about L·d)."""
    return _gram_work(n, widths) <= _covariance_work(n, widths)


def largest_for_grams(widths: Sequence[int], work: float) -> int:
    """Samples up to which Grams take ``work`` multiply-adds at most, or less than covariances."""
    within = (work / _gram_work(1, widths)) ** 0.5
    cheaper = _covariance_work(1, widths) / _gram_work(1, widths)
    return int(max(within, cheaper))


def _gram_work(n: int, widths: Sequence[int]) -> float:
    return 0.5 * n**2 * (sum(widths) + len(widths) ** 2)


def _covariance_work(n: int, widths: Sequence[int]) -> float:
    return 0.5 * n * (sum(widths) ** 2 + sum(d**2 for d in widths))


def _off_diagonal_by_gram(data: Sequence[FloatArray]) -> Float64:
    """Σ_{a≠b} W_i[a,b] W_j[a,b]: blocks of rows of the upper triangle, all layers side by side.

    ½ n² Σd + ½ L² n² multiply-adds; memory L · b · n numbers for blocks of b rows, a core.
    """
    size, n, itemsize = len(data), data[0].shape[0], data[0].dtype.itemsize
    work = _gram_work(n, [x.shape[1] for x in data])
    b = min(n, int(np.clip(_BLOCK_BYTES // (size * n * itemsize * worker_count()), 32, 512)))
    return sum_of(map_pieces(lambda start: _block_products(data, start, b), range(0, n, b), work))


def _block_products(data: Sequence[FloatArray], start: int, b: int) -> Float64:
    """The part of the sum with a in start..start+b: its square block once, what follows twice."""
    size, n = len(data), data[0].shape[0]
    stop = min(start + b, n)
    rows, rest = stop - start, n - stop
    buffer = np.empty((size, rows * max(rows, rest)), dtype=data[0].dtype)
    square = buffer[:, : rows * rows]
    for layer, x in enumerate(data):
        view = square[layer].reshape(rows, rows)
        np.matmul(x[start:stop], x[start:stop].T, out=view)
        np.fill_diagonal(view, 0)
    total = _inner_products(square)
    if rest:
        flat = buffer[:, : rows * rest]
        for layer, x in enumerate(data):
            np.matmul(x[start:stop], x[stop:].T, out=flat[layer].reshape(rows, rest))
        total += 2 * _inner_products(flat)
    return total


def _inner_products(flat: FloatArray) -> Float64:
    """``flat @ flat.T`` (L, L), summed in float64 over pieces of a few thousand products."""
    size, length = flat.shape
    total = np.zeros((size, size))
    for start in range(0, length, _ACCUMULATE):
        piece = flat[:, start : start + _ACCUMULATE]
        total += piece @ piece.T
    return total


def sum_of(parts: Sequence[Float64]) -> Float64:
    """Sum in the order of the pieces, so that the result does not depend on who finished first."""
    total = np.zeros_like(parts[0])
    for part in parts:
        total += part
    return total


def _squares_by_covariance(data: Sequence[FloatArray]) -> Float64:
    """‖X_iᵀ X_j‖² for all pairs; memory one d_i x d_j matrix a core."""
    size = len(data)
    pairs = [(i, j) for i in range(size) for j in range(i, size)]

    def squares(pair: tuple[int, int]) -> float:
        cross = cross_product(data[pair[0]], data[pair[1]]).ravel()
        return float(cross @ cross)

    work = _covariance_work(data[0].shape[0], [x.shape[1] for x in data])
    total = np.zeros((size, size))
    for (i, j), value in zip(pairs, map_pieces(squares, pairs, work), strict=True):
        total[i, j] = total[j, i] = value
    return total


def cross_product(x: FloatArray, y: FloatArray) -> Float64:
    """Xᵀ Y (d_x, d_y) in float64; products of float32 input are float32, summed in pieces."""
    total = np.zeros((x.shape[1], y.shape[1]))
    for start in range(0, x.shape[0], _ROWS):
        total += x[start : start + _ROWS].T @ y[start : start + _ROWS]
    return total


def _normalised(products: Float64, floor: Float64) -> Float64:
    """products_ij / √(products_ii products_jj); NaN where a diagonal is not above its floor."""
    diagonal = np.diag(products).copy()
    diagonal[~(diagonal > floor)] = np.nan
    scale = 1.0 / np.sqrt(diagonal)
    values: Float64 = products * np.outer(scale, scale)
    values[np.diag_indices_from(values)] = np.where(np.isnan(diagonal), np.nan, 1.0)
    return values
