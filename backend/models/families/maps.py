"""Maps that shrink on their way through a tower, read as one and the same grid of cells."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor

from backend.models.adapter import Inputs
from backend.models.points import Select

ON_LAST_GRID = "Every map is read as the grid of the last one, each cell as its mean."
"""The note of a stream whose maps are read as :class:`Cells`."""


@dataclass(frozen=True)
class Cells:
    """A map (B, d, rows, columns) as (B, T, d): means of a square grid of T cells, row by row.

    What is written into a cell moves all that lies in it alike.
    """

    inner: Select
    stream: str = "vision"

    def read(self, value: Any, inputs: Inputs) -> Tensor:
        """The cells' means."""
        return self._means(self.inner.read(value, inputs), inputs)

    def write(self, value: Any, tokens: Tensor, inputs: Inputs) -> Any:
        """The map with the difference added to every cell."""
        maps = self.inner.read(value, inputs)
        moved = (tokens - self._means(maps, inputs)).transpose(1, 2)
        side = isqrt(tokens.shape[1])
        rows, columns = (_cell_of(length, side, maps) for length in maps.shape[2:])
        grid = moved.unflatten(2, (side, side))[:, :, rows][:, :, :, columns]
        return self.inner.write(value, maps + grid, inputs)

    def _means(self, maps: Tensor, inputs: Inputs) -> Tensor:
        side = isqrt(inputs.roles[self.stream].shape[1])
        down, across = (_averaging(length, side, maps) for length in maps.shape[2:])
        return torch.einsum("gh,bchw,kw->bgkc", down, maps, across).flatten(1, 2)


def _cell_of(length: int, side: int, like: Tensor) -> Tensor:
    """(length,) in which of ``side`` cells each place along one side of a map lies."""
    return torch.arange(length, device=like.device) * side // length


def _averaging(length: int, side: int, like: Tensor) -> Tensor:
    """(side, length): rows that sum to 1, each over the places of one cell."""
    cells = _cell_of(length, side, like)
    inside = (cells == torch.arange(side, device=like.device)[:, None]).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def cell_means(places: int, cells: int, like: Tensor) -> Tensor:
    """(cells, places): rows that sum to 1, of a square map as a square of ``cells``."""
    across = _averaging(isqrt(places), isqrt(cells), like)
    return torch.einsum("ac,bd->abcd", across, across).reshape(cells, places)
