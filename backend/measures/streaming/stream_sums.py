"""The sums that a stream of batches keeps: of each layer, and of each pair of layers.

All of them are about a fixed shift and can be moved to another one, which is how streams that began
with different batches add up, and how the result is read about the exact mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backend.errors import InputError
from backend.measures.core.base import Float64

Pairs = Literal["all", "consecutive"] | Sequence[tuple[int, int]]


@dataclass(eq=False)
class Side:
    """One layer: the shift that is subtracted from its rows, and its sums.

    ``eps`` is the rounding unit of the finest batch (:func:`.base.stored_eps`), 0 before the first:
    values are float16 numbers in float32 only if those of all batches are.
    """

    shift: Float64
    s: Float64
    squares: float = 0.0
    eps: float = 0.0

    def moved(self, delta: Float64, n: int) -> Side:
        """The same sums of x - delta."""
        squares = self.squares - 2 * float(delta @ self.s) + n * float(delta @ delta)
        return Side(self.shift + delta, self.s - n * delta, squares, self.eps)


@dataclass(eq=False)
class Pair:
    """The sums of two layers (x, y)."""

    c: Float64
    u: Float64
    v: Float64
    w: float = 0.0

    @classmethod
    def empty(cls, dx: int, dy: int) -> Pair:
        """No samples yet."""
        return cls(np.zeros((dx, dy)), np.zeros(dy), np.zeros(dx))

    def add(self, other: Pair) -> None:
        """Add the sums of other samples about the same shift."""
        self.c += other.c
        self.u += other.u
        self.v += other.v
        self.w += other.w

    def moved(self, x: Side, y: Side, p: Float64, q: Float64, n: int) -> Pair:
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
        return Pair(
            c=self.c - np.outer(p, y.s) - np.outer(x.s, q) + n * np.outer(p, q),
            u=self.u - 2 * pc + pp * y.s - x_squares * q,
            v=self.v - 2 * cq + qq * x.s - y_squares * p,
            w=w,
        )


@dataclass(eq=False)
class Sums:
    """Everything that a stream has summed over ``n`` samples.

    ``eps`` is the rounding unit of the products. Before the first batch there are no sides.
    """

    n: int
    sides: list[Side]
    pairs: dict[tuple[int, int], Pair]
    eps: float = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class StreamedLayer:
    """What is known of a layer whose vectors are gone; copies among them were not counted."""

    n: int
    d: int
    constant: bool
    duplicates: int = 0


def tracked_pairs(pairs: Pairs, size: int) -> list[tuple[int, int]]:
    """The pairs (i, j), i <= j, that ``pairs`` means for ``size`` layers; every (i, i) is one."""
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


def stream_nbytes(widths: Sequence[int], pairs: Pairs = "all") -> int:
    """Bytes that a stream over layers of these widths keeps, however many samples it sees."""
    tracked = tracked_pairs(pairs, len(widths))
    numbers = sum(widths[i] * widths[j] + widths[i] + widths[j] for i, j in tracked)
    return 8 * (numbers + 2 * sum(widths))
