"""Exact CKA of data that never fits in memory: batches in, full-data values out.

Averaging minibatch HSIC, as is common, depends on the batch size (0.445 at batches of 32 against
0.459 on all data, in one example). Here every quantity is a sum over samples. With x, y shifted by
fixed vectors, a pair of layers needs

    C = Σ x yᵀ, u = Σ ‖x‖² y, v = Σ ‖y‖² x, w = Σ ‖x‖² ‖y‖², and of each side s = Σ x, A = Σ ‖x‖².

These are closed under a change of shift, so at the end they are moved to the exact mean, where
HSIC_0 ∝ ‖C‖², and streams that started from different shifts merge exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from backend.errors import InputError
from backend.measures.base import (
    Float64,
    FloatArray,
    as_representation,
    column_mean,
    is_constant,
    refuse_non_finite,
    same_samples,
)
from backend.measures.bootstrap import Estimator
from backend.measures.hsic import HsicStatistics
from backend.measures.kernel import check_choice, matrix_result
from backend.measures.parallel import map_pieces
from backend.measures.result import MatrixResult

Pairs = Literal["all", "consecutive"] | Sequence[tuple[int, int]]

FLOAT64_WIDTH = 256
"""Products of layers up to this wide are float64; wider float32 or float16 layers use float32."""


@dataclass(eq=False)
class _Side:
    """One layer: the shift that is subtracted from its rows, and its sums."""

    shift: Float64
    s: Float64
    squares: float = 0.0
    eps: float = 0.0

    def moved(self, delta: Float64, n: int) -> _Side:
        squares = self.squares - 2 * float(delta @ self.s) + n * float(delta @ delta)
        return _Side(self.shift + delta, self.s - n * delta, squares, self.eps)


@dataclass(eq=False)
class _Pair:
    """The sums of two layers (x, y)."""

    c: Float64
    u: Float64
    v: Float64
    w: float = 0.0

    @classmethod
    def empty(cls, dx: int, dy: int) -> _Pair:
        return cls(np.zeros((dx, dy)), np.zeros(dy), np.zeros(dx))

    def add(self, other: _Pair) -> None:
        self.c += other.c
        self.u += other.u
        self.v += other.v
        self.w += other.w

    def moved(self, x: _Side, y: _Side, p: Float64, q: Float64, n: int) -> _Pair:
        """The same sums of x - p and y - q; ``x`` and ``y`` are the sides before the move."""
        pp, qq = float(p @ p), float(q @ q)
        cq, pc = self.c @ q, p @ self.c
        w = (
            self.w
            - 2 * float(q @ self.u)
            - 2 * float(p @ self.v)
            + qq * x.squares
            + pp * y.squares
            + 4 * float(p @ cq)
            - 2 * qq * float(p @ x.s)
            - 2 * pp * float(q @ y.s)
            + n * pp * qq
        )
        x_squares, y_squares = x.moved(p, n).squares, y.moved(q, n).squares
        return _Pair(
            c=self.c - np.outer(p, y.s) - np.outer(x.s, q) + n * np.outer(p, q),
            u=self.u - 2 * pc + pp * y.s - x_squares * q,
            v=self.v - 2 * cq + qq * x.s - y_squares * p,
            w=w,
        )


@dataclass(eq=False)
class _Batch:
    """One layer's rows of a batch, shifted, with their squared norms."""

    rows: FloatArray
    squares: Float64
    exact: FloatArray = field(repr=False)


class CKAStream:
    """Linear CKA from batches, equal to the full-data value whatever the batch size.

    ``update([x_1, ..., x_L])`` takes one batch of every layer, (b, d_l) each; ``merge`` adds
    another stream over other samples; ``matrix`` reads the result at any time. ``pairs`` is
    ``"all"``, ``"consecutive"`` (each layer with the next) or a list of index pairs; every layer is
    always tracked with itself. Memory: 8 Σ d_i d_j bytes over the tracked pairs (``nbytes``),
    independent of the number of samples. A stream holds numpy arrays only and can be pickled.
    """

    def __init__(self, *, pairs: Pairs = "all") -> None:
        self._wanted = pairs
        self._sides: list[_Side] = []
        self._pairs: dict[tuple[int, int], _Pair] = {}
        self._products_eps = float(np.finfo(np.float64).eps)
        self.n = 0

    @property
    def widths(self) -> tuple[int, ...]:
        """Width of each layer; empty before the first batch."""
        return tuple(len(side.s) for side in self._sides)

    @property
    def nbytes(self) -> int:
        """Bytes of the statistics kept."""
        held = sum(p.c.nbytes + p.u.nbytes + p.v.nbytes for p in self._pairs.values())
        return held + sum(side.s.nbytes + side.shift.nbytes for side in self._sides)

    def update(self, layers: Sequence[object]) -> None:
        """Add a batch: one (b, d_l) array a layer, rows the same samples. Nothing of a bad batch
        is kept: InputError names the layer.
        """
        names = [f"layers[{i}]" for i in range(len(layers))]
        if not layers:
            raise InputError("no layers were given", where="layers")
        arrays = [
            as_representation(x, name, min_samples=1) for x, name in zip(layers, names, strict=True)
        ]
        rows = same_samples(arrays, names)
        widths = tuple(int(a.shape[1]) for a in arrays)
        if self._sides and widths != self.widths:
            raise InputError(
                f"a batch of layers with widths {widths}, but the stream has {self.widths}",
                where="layers",
            )
        means = [column_mean(array) for array in arrays]
        for array, mean, name in zip(arrays, means, names, strict=True):
            if not np.isfinite(mean).all():
                refuse_non_finite(array, name)
        if not self._sides:
            tracked = _tracked(self._wanted, len(arrays))
            self._sides = [_Side(mean, np.zeros_like(mean)) for mean in means]
            self._pairs = {(i, j): _Pair.empty(widths[i], widths[j]) for i, j in tracked}
        batches = [self._take(side, a) for side, a in zip(self._sides, arrays, strict=True)]

        def add(key: tuple[int, int]) -> None:
            x, y = batches[key[0]], batches[key[1]]
            pair = self._pairs[key]
            small = max(x.exact.shape[1], y.exact.shape[1]) <= FLOAT64_WIDTH
            pair.c += x.exact.T @ y.exact if small else x.rows.T @ y.rows
            pair.u += x.squares @ y.exact
            pair.v += y.squares @ x.exact
            pair.w += float(x.squares @ y.squares)

        work = rows * sum(p.c.size for p in self._pairs.values())
        map_pieces(add, self._pairs, work)
        self.n += rows

    def merge(self, other: CKAStream) -> CKAStream:
        """Add the samples of ``other`` (same layers and pairs, other samples); returns self."""
        if not other._sides:
            return self
        if not self._sides:
            self._sides = [_Side(t.shift, np.zeros_like(t.s)) for t in other._sides]
            self._pairs = {k: _Pair.empty(*p.c.shape) for k, p in other._pairs.items()}
        if self.widths != other.widths or self._pairs.keys() != other._pairs.keys():
            raise InputError(
                "streams over different layers or pairs cannot be merged", where="other"
            )
        deltas = [a.shift - b.shift for a, b in zip(self._sides, other._sides, strict=True)]
        for (i, j), pair in self._pairs.items():
            x, y = other._sides[i], other._sides[j]
            pair.add(other._pairs[i, j].moved(x, y, deltas[i], deltas[j], other.n))
        for side, theirs, delta in zip(self._sides, other._sides, deltas, strict=True):
            moved = theirs.moved(delta, other.n)
            side.s = side.s + moved.s
            side.squares += moved.squares
            side.eps = max(side.eps, theirs.eps)
        self._products_eps = max(self._products_eps, other._products_eps)
        self.n += other.n
        return self

    def statistics(self) -> HsicStatistics:
        """The HSIC sums about the exact mean; NaN for pairs that are not tracked."""
        if self.n < 2:
            raise InputError(f"needs at least 2 samples, got {self.n}", where="CKAStream")
        size = len(self._sides)
        centres = [side.s / self.n for side in self._sides]
        traces = np.array(
            [s.moved(c, self.n).squares for s, c in zip(self._sides, centres, strict=True)]
        )
        w, off = np.full((size, size), np.nan), np.full((size, size), np.nan)
        for (i, j), pair in self._pairs.items():
            x, y = self._sides[i], self._sides[j]
            centred = pair.moved(x, y, centres[i], centres[j], self.n)
            squares = float(np.einsum("ij,ij->", centred.c, centred.c))
            w[i, j] = w[j, i] = centred.w
            off[i, j] = off[j, i] = squares - centred.w
            if i == j:
                spread = np.sqrt(np.maximum(np.diag(centred.c), 0) / self.n)
                if is_constant(spread, x.shift + centres[i], x.eps):
                    traces[i] = 0.0
        constant = traces == 0
        w[constant] = w[:, constant] = off[constant] = off[:, constant] = 0.0
        return HsicStatistics(self.n, traces, w, off, self._products_eps)

    def matrix(
        self, *, estimator: Estimator = "debiased", labels: Sequence[str] | None = None
    ) -> MatrixResult:
        """The (L, L) CKA matrix of everything seen so far, with its null; NaN where not tracked."""
        check_choice(estimator, Estimator, "estimator")
        least = 4 if estimator == "debiased" else 2
        if self.n < least:
            raise InputError(f"needs at least {least} samples, got {self.n}", where="CKAStream")
        return matrix_result(self.statistics(), self.widths, estimator, labels)

    def _take(self, side: _Side, array: FloatArray) -> _Batch:
        exact = array.astype(np.float64) - side.shift
        squares: Float64 = np.einsum("ij,ij->i", exact, exact)
        side.s = side.s + exact.sum(axis=0)
        side.squares += float(squares.sum())
        side.eps = max(side.eps, float(np.finfo(array.dtype).eps))
        wide = exact.shape[1] > FLOAT64_WIDTH and array.dtype != np.float64
        if wide:
            self._products_eps = max(self._products_eps, float(np.finfo(np.float32).eps))
        return _Batch(exact.astype(np.float32) if wide else exact, squares, exact)


def _tracked(pairs: Pairs, size: int) -> list[tuple[int, int]]:
    every = [(i, j) for i in range(size) for j in range(i, size)]
    if isinstance(pairs, str):
        furthest = {"all": size, "consecutive": 1}.get(pairs)
        if furthest is None:
            raise InputError(
                f"unknown pairs {pairs!r}", where="pairs", hint="Choose all or consecutive."
            )
        return [(i, j) for i, j in every if j - i <= furthest]
    chosen = {(min(pair), max(pair)) for pair in pairs}
    outside = sorted(chosen - set(every))
    if outside:
        raise InputError(f"pair {outside[0]} lies outside 0..{size - 1}", where="pairs")
    return [(i, j) for i, j in every if i == j or (i, j) in chosen]
