"""Arrays of activations, wherever they lie, read some rows at a time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.disk import reserve, writing
from backend.errors import InputError

ID_NAMES = ("ids", "id", "sample_ids", "sample_id")
"""What an array or a column of sample ids is called."""


class Array(ABC):
    """One array of a file or of a notebook: (n, d), or (n, L, d) or (L, n, d) of L layers.

    ``name`` is what a pattern matches, its parts divided by ``/``; ``where`` is what an error
    calls it. ``labels`` says the stream, layer and pooling of an array that needs no pattern.
    """

    seekable = True
    """Whether any rows can be read in any order; others are read once, from the first row on."""

    def __init__(
        self,
        name: str,
        where: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.where = name, where
        self.shape, self.dtype = shape, dtype
        self.labels = dict(labels or {})

    @abstractmethod
    def read(self, start: int, stop: int, plane: int | None = None) -> np.ndarray:
        """Rows ``start`` to ``stop`` along the first axis; of one ``plane``, along the second.

        Floats as they are stored. InputError for a file that is damaged.
        """

    def read_into(self, out: np.ndarray, start: int, plane: int | None = None) -> None:
        """Fill ``out`` with the rows from ``start`` on, as the type that ``out`` has."""
        # A value beyond a shorter type becomes infinite, which who reads must look for.
        with np.errstate(over="ignore"):
            out[...] = self.read(start, start + len(out), plane)

    def take(self, rows: np.ndarray, plane: int | None = None) -> np.ndarray:
        """Some rows in the order of ``rows``; what lies side by side is read at once."""
        order = np.argsort(rows, kind="stable")
        wanted = rows[order]
        breaks = np.flatnonzero(np.diff(wanted) != 1) + 1
        runs = [(int(run[0]), int(run[-1]) + 1) for run in np.split(wanted, breaks)]
        pieces = [self.read(start, stop, plane) for start, stop in runs]
        gathered = np.concatenate(pieces)
        out = np.empty_like(gathered)
        out[order] = gathered
        return out


class Held(Array):
    """An array of a notebook: in memory, or a memory map."""

    def __init__(self, name: str, values: np.ndarray) -> None:
        super().__init__(name, f"array {name!r}", values.shape, values.dtype)
        self._values = values

    def read(self, start: int, stop: int, plane: int | None = None) -> np.ndarray:
        """Rows of the array itself."""
        values = self._values if plane is None else self._values[plane]
        return np.asarray(values[start:stop])

    def ends(self, max_bytes: int) -> bytes:
        """Bytes of the first and of the last rows."""
        rows = max(1, max_bytes // max(1, self._values[:1].nbytes))
        return self._values[:rows].tobytes() + self._values[-rows:].tobytes()


class Streamed(Array):
    """An array that can only be read from its first row on (compressed, or a column of a table)."""

    seekable = False

    def __init__(
        self,
        name: str,
        where: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, where, shape, dtype, labels)
        self._readers: dict[int | None, _Reader] = {}

    @abstractmethod
    def pieces(self, plane: int | None) -> Iterator[np.ndarray]:
        """All rows in order, some at a time."""

    def read(self, start: int, stop: int, plane: int | None = None) -> np.ndarray:
        """Rows that follow those of the read before; what lies between is read and dropped."""
        reader = self._readers.get(plane)
        if reader is None or reader.row > start:
            reader = self._readers[plane] = _Reader(self.pieces(plane))
        return reader.rows(start, stop, self.where)


@dataclass
class _Reader:
    """Pieces of any size as ranges of rows."""

    pieces: Iterator[np.ndarray]
    row: int = 0
    rest: np.ndarray | None = None

    def rows(self, start: int, stop: int, where: str) -> np.ndarray:
        parts: list[np.ndarray] = []
        while self.row < stop:
            piece = self.rest if self.rest is not None else next(self.pieces, None)
            if piece is None:
                raise InputError(f"ends after row {self.row}, expected more", where=where)
            used = min(len(piece), stop - self.row)
            self.rest = piece[used:] if used < len(piece) else None
            if self.row + used > start:
                parts.append(piece[max(0, start - self.row) : used])
            self.row += used
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Rows(Array):
    """(n, d) values that were gathered in a file of their own, from which any rows can be read."""

    def __init__(
        self,
        name: str,
        where: str,
        shape: tuple[int, int],
        dtype: np.dtype,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, where, shape, dtype, labels)
        self.path = Path()

    def read(self, start: int, stop: int, plane: int | None = None) -> np.ndarray:
        """Rows of the file."""
        n, width = self.shape
        count = (min(stop, n) - start) * width
        offset = start * width * self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, count, offset=offset).reshape(-1, width)

    def write(self, path: Path) -> np.ndarray:
        """The file, new, as (n, d) values to be filled; InputError where the disk is full."""
        self.path = path
        with writing(path.parent, "Make room, or set TMPDIR to a folder on another disk."):
            reserve(path, math.prod(self.shape) * self.dtype.itemsize)
        return np.memmap(path, self.dtype, "r+", shape=self.shape)


@dataclass(frozen=True)
class Contents:
    """What one file or table (or all npy files together, or a notebook's arrays) offers.

    ``path`` stands before its arrays' names: folders, file and table. ``ids`` are its rows' sample
    ids, where it has any. ``prepare`` must be called with a directory before anything is read.
    """

    where: str
    path: tuple[str, ...]
    arrays: tuple[Array, ...]
    ids: tuple[str, ...] | None = None
    prepare: Callable[[Path], None] | None = None

    def full_name(self, array: Array) -> str:
        """What a pattern is matched with: the parts are divided by ``/``."""
        return "/".join((*self.path, array.name))
