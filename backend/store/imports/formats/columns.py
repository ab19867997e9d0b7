"""Tables of vectors: one row a sample with a column a layer, or long with a row a sample and layer.

What Parquet and DuckDB share. A vector is a list or array of floats, or binary: its values as
little-endian bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.errors import InputError
from backend.store.imports.arrays import ID_NAMES, Contents, Rows, Streamed
from backend.store.imports.ids import as_ids, shown

_BATCH_BYTES = 8 * 2**20
_KEY_BATCH = 65_536
LAYER, VECTOR = "layer", "vector"
KEYS = ("stream", "site", "pooling")
"""Columns of a long table that say more about a row's vector; all may be missing."""

Batches = Callable[[Sequence[str], int], Iterator[pa.RecordBatch]]
"""Some columns in order of the rows, so many rows at a time."""


@dataclass(frozen=True)
class VectorTable:
    """A table of a file: its columns, its number of rows, and how to read some columns of it."""

    where: str
    path: tuple[str, ...]
    schema: pa.Schema
    n: int
    batches: Batches
    binary: np.dtype

    def contents(self) -> Contents:
        """What the table holds."""
        names = self.schema.names
        vectors = [field.name for field in self.schema if _is_vector(field.type)]
        if not vectors:
            return Contents(self.where, self.path, ())
        if not self.n:
            raise InputError("has no rows", where=self.where)
        id_columns = [name for name in names if name in ID_NAMES]
        if len(id_columns) > 1:
            raise InputError(f"ids in {id_columns[0]!r} and in {id_columns[1]!r}", where=self.where)
        if LAYER in names and VECTOR in names:
            return _Long(self, id_columns).contents()
        arrays = tuple(_Column(self, name, self.width(name)) for name in vectors)
        ids = self.ids(id_columns[0]) if id_columns else None
        return Contents(self.where, self.path, arrays, ids)

    def ids(self, column: str) -> tuple[str, ...]:
        """The column of ids."""
        values = (v for batch in self.batches([column], _KEY_BATCH) for v in batch[0].to_pylist())
        return as_ids(values, f"{self.where}: column {column}")

    def dtype(self, column: str) -> np.dtype:
        """Of a vector's values."""
        kind = self.schema.field(column).type
        if _is_binary(kind):
            return self.binary
        dtype: np.dtype = np.dtype(kind.value_type.to_pandas_dtype())
        return dtype

    def width(self, column: str) -> int:
        """Values of the first row's vector, which all rows must have."""
        kind = self.schema.field(column).type
        if pa.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        first = next(self.batches([column], 1))[0]
        if first.null_count:
            raise InputError("row 0 is empty", where=f"{self.where}: column {column}")
        return len(first[0].as_buffer() if _is_binary(kind) else first[0]) // (
            self.binary.itemsize if _is_binary(kind) else 1
        )

    def rows_at_once(self, column: str, width: int) -> int:
        """So many that they are a bounded number of bytes."""
        return max(1, _BATCH_BYTES // max(1, width * self.dtype(column).itemsize))

    def matrix(self, column: pa.Array, width: int, row: int, where: str) -> np.ndarray:
        """(rows, width) of a piece of a column that begins at ``row``."""
        if column.null_count:
            at = row + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise InputError(f"row {at} is empty", where=where)
        if _is_binary(column.type):
            return self._from_bytes(column, width, row, where)
        if not pa.types.is_fixed_size_list(column.type):
            _require_width(pc.list_value_length(column).to_numpy(), width, row, where)
        values = column.flatten()
        if values.null_count:
            raise InputError("a vector holds an empty value", where=where)
        flat: np.ndarray = values.to_numpy(zero_copy_only=False)
        return flat.reshape(-1, width)

    def _from_bytes(self, column: pa.Array, width: int, row: int, where: str) -> np.ndarray:
        size = width * self.binary.itemsize
        _require_width(pc.binary_length(column).to_numpy(), size, row, where, "bytes")
        if pa.types.is_fixed_size_binary(column.type):
            start = column.offset * size
            raw = column.buffers()[1]
        else:
            raw, start = b"".join(value.as_buffer() for value in column), 0
        flat = np.frombuffer(raw, self.binary, len(column) * width, offset=start)
        return flat.reshape(-1, width)


def _require_width(
    lengths: np.ndarray, expected: int, row: int, where: str, unit: str = "values"
) -> None:
    wrong = np.flatnonzero(lengths != expected)
    if len(wrong):
        at = int(wrong[0])
        raise InputError(
            f"row {row + at} has {lengths[at]} {unit}, the rows before it {expected}", where=where
        )


class _Column(Streamed):
    """A column of vectors, one row a sample."""

    def __init__(self, table: VectorTable, name: str, width: int) -> None:
        where = f"{table.where}: column {name}"
        super().__init__(name, where, (table.n, width), table.dtype(name))
        self._table, self._key = table, name

    def pieces(self, plane: int | None) -> Iterator[np.ndarray]:
        """Rows in the table's order."""
        row, width = 0, self.shape[1]
        at_once = self._table.rows_at_once(self._key, width)
        for batch in self._table.batches([self._key], at_once):
            yield self._table.matrix(batch[0], width, row, self.where)
            row += batch.num_rows


class _Long:
    """A table with a row a sample and layer, in any order."""

    def __init__(self, table: VectorTable, id_columns: Sequence[str]) -> None:
        self._table = table
        if not id_columns:
            raise InputError(
                f"has no column of sample ids ({', '.join(ID_NAMES)})",
                where=table.where,
                hint=f"Its columns are {', '.join(table.schema.names)}",
            )
        self._id = id_columns[0]
        self._keys = [name for name in (*KEYS, LAYER) if name in table.schema.names]
        self._rows: dict[str, int] = {}
        self._layers: dict[tuple[str, ...], int] = {}
        self._row_of, self._layer_of = self._places()
        self._require_all_once()

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Of every row of the table: which sample and which layer it is."""
        rows, layers = [], []
        for batch in self._table.batches([self._id, *self._keys], _KEY_BATCH):
            ids, *keys = (column.to_pylist() for column in batch.columns)
            if None in ids or any(None in column for column in keys):
                raise InputError("a row lacks its id or layer", where=self._table.where)
            named = [self._rows.setdefault(str(i), len(self._rows)) for i in ids]
            rows.append(np.array(named, np.int32))
            labels = [tuple(map(str, key)) for key in zip(*keys, strict=True)]
            placed = [self._layers.setdefault(label, len(self._layers)) for label in labels]
            layers.append(np.array(placed, np.int32))
        return np.concatenate(rows), np.concatenate(layers)

    def _require_all_once(self) -> None:
        ids = list(self._rows)
        for label, layer in self._layers.items():
            times = np.bincount(self._row_of[self._layer_of == layer], minlength=len(ids))
            where = f"{self._table.where}: {self._in_words(label)}"
            for wrong, problem in ((times > 1, "more than once"), (times < 1, "nowhere")):
                if wrong.any():
                    named = [ids[i] for i in np.flatnonzero(wrong)]
                    raise InputError(
                        f"{len(named)} samples stand {problem}: {shown(named)}", where=where
                    )

    def _in_words(self, label: tuple[str, ...]) -> str:
        return " ".join(f"{k} {v}" for k, v in zip(self._keys, label, strict=True))

    def contents(self) -> Contents:
        """A layer of the table as an array of its own."""
        shape = (len(self._rows), self._table.width(VECTOR))
        table = self._table
        arrays = [
            Rows(
                self._in_words(label),
                f"{table.where}: {self._in_words(label)}",
                shape,
                table.dtype(VECTOR),
                dict(zip(self._keys, label, strict=True)),
            )
            for label in self._layers
        ]

        def gather(directory: Path) -> None:
            self._gather(directory, arrays)

        ids = as_ids(self._rows, f"{self._table.where}: column {self._id}")
        return Contents(table.where, table.path, tuple(arrays), ids, prepare=gather)

    def _gather(self, directory: Path, arrays: Sequence[Rows]) -> None:
        """One pass over the vectors, each put where its sample and layer belong."""
        width = arrays[0].shape[1]
        maps = [array.write(directory / f"{at}.rows") for at, array in enumerate(arrays)]
        row, where = 0, f"{self._table.where}: column {VECTOR}"
        at_once = self._table.rows_at_once(VECTOR, width)
        for batch in self._table.batches([VECTOR], at_once):
            rows = self._table.matrix(batch[0], width, row, where)
            samples = self._row_of[row : row + len(rows)]
            layers = self._layer_of[row : row + len(rows)]
            for layer in np.unique(layers):
                mine = layers == layer
                maps[layer][samples[mine]] = rows[mine]
            row += len(rows)


def _is_binary(kind: pa.DataType) -> bool:
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(test(kind) for test in tests)


def _is_vector(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    numbers = (pa.types.is_floating, pa.types.is_integer)
    return _is_binary(kind) or (
        any(test(kind) for test in lists) and any(test(kind.value_type) for test in numbers)
    )
