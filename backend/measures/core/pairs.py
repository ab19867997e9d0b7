"""The cells of a matrix of layers: labels, which pairs are computed, and where their values go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backend.errors import InputError
from backend.measures.core.base import Float64
from backend.measures.core.parallel import map_pieces
from backend.remarks import Remarks


@dataclass(frozen=True)
class Grid:
    """Every row layer against every column layer; ``square`` when they are the same layers.

    Layers are counted in one list: the rows, followed by the columns unless these are the rows.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    square: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The labels of all layers, in that order."""
        return self.rows if self.square else (*self.rows, *self.columns)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The layers of each cell to compute: of a square grid the upper triangle."""
        size, count = len(self.rows), len(self.names)
        return [(i, j) for i in range(size) for j in range(i if self.square else size, count)]

    def fill(self, compare: Callable[[int, int], tuple[float, float]], work: float) -> Float64:
        """The (L, M) matrix of ``compare(i, j)``, which gives the value of (i, j) and of (j, i).

        ``work`` are the multiply-adds of all pairs together; they are computed in parallel.
        """
        pairs = self.pairs
        values = np.full((len(self.rows), len(self.columns)), np.nan)
        for (i, j), (there, back) in zip(
            pairs, map_pieces(lambda pair: compare(*pair), pairs, work), strict=True
        ):
            if self.square:
                values[j, i] = back
                values[i, j] = there
            else:
                values[i, j - len(self.rows)] = there
        return values

    def reasons(
        self, values: Float64, explain: Callable[[int, int], Remarks]
    ) -> dict[tuple[int, int], Remarks]:
        """``explain(i, j)`` of the layers of every NaN cell."""
        shift = 0 if self.square else len(self.rows)
        missing = np.argwhere(np.isnan(values))
        return {(int(i), int(j)): explain(int(i), int(j) + shift) for i, j in missing}


def grid(
    layers: Sequence[object],
    others: Sequence[object] | None,
    labels: Sequence[str] | None,
    other_labels: Sequence[str] | None,
) -> Grid:
    """The grid of a matrix function's arguments; InputError where labels do not fit layers."""
    rows = layer_labels(layers, labels, "layers", "labels")
    if others is None:
        return Grid(rows, rows, True)
    return Grid(rows, layer_labels(others, other_labels, "others", "other_labels"), False)


def layer_labels(
    layers: Sequence[object], labels: Sequence[str] | None, name: str, argument: str
) -> tuple[str, ...]:
    """The labels as strings, or ``layers[3]`` without them; InputError unless one a layer."""
    if labels is None:
        return tuple(f"{name}[{i}]" for i in range(len(layers)))
    if len(labels) != len(layers):
        raise InputError(f"{len(labels)} labels for {len(layers)} layers", where=argument)
    return tuple(str(label) for label in labels)
