"""Rows of a Parquet table, with bounds that are checked before anything is decoded.

A picture inside the table, as the Hugging Face hub keeps it (a binary column, or a struct of
``bytes`` and ``path``), can be an :class:`InParquet` value: where it lies, not the bytes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from backend.data.arrowtypes import holds_pictures, names_pictures
from backend.data.class_names import ClassNames, class_names_in, with_names
from backend.data.embedded import InTable
from backend.data.images import DecodeError
from backend.data.rows import Bad
from backend.errors import InputError

MAX_GROUP_BYTES = 2**30
"""Of the columns that are read of one row group, decoded: the writer says it in the footer."""

MAX_ROWS_A_BYTE, MAX_VALUES_A_BYTE = 4, 64
"""Of the file. Samples have ids of their own, so a table of them cannot be packed more tightly."""

MAX_EXPANSION = 1_000
"""Of the file, decoded, from 256 MiB on. A text that every row has takes bytes for its ids."""

MAX_KEPT_BYTES = 2**28
"""Of row groups of pictures that are kept, together; one of more is kept alone."""

_KEPT: OrderedDict[tuple[Path, str, int], pa.ChunkedArray] = OrderedDict()
_LOCK = Lock()
_BATCH = 256
_MAX_BATCH_BYTES = 2**28


@dataclass(frozen=True)
class InParquet(InTable):
    """A picture inside a Parquet table."""

    def read(self) -> bytes:
        """The picture's bytes."""
        ends = _group_ends(self.file)
        group = next((at for at, end in enumerate(ends) if self.row < end), None)
        if group is None:
            raise InputError(f"has no row {self.row + 1} any more", where=self.file.name)
        start = ends[group - 1] if group else 0
        value = _column(self.file, self.column, group)[self.row - start].as_py()
        if not isinstance(value, bytes):
            raise DecodeError("no picture in the row")
        return value


def parquet_columns(path: Path) -> tuple[str, ...]:
    """The table's columns. Raises InputError for what is no Parquet file."""
    return tuple(_open(path).schema_arrow.names)


def parquet_schema(path: Path) -> pa.Schema:
    """The table's columns and their types. Raises InputError for what is no Parquet file."""
    return _open(path).schema_arrow


def parquet_rows(
    path: Path, columns: Set[str] | None, pictures: Set[str] = frozenset()
) -> Iterator[tuple[int, dict[str, Any]] | Bad]:
    """(row from 1, values by column); ``columns`` spares the others.

    A column of ``pictures`` that holds them gives :class:`InParquet` values, one of class numbers
    whose names the file says (:mod:`backend.data.class_names`) the names.
    """
    file = _open(path)
    schema = file.schema_arrow
    names = [name for name in schema.names if columns is None or name in columns]
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise InputError(f"the column {twice[0][:60]!r} is there twice", where=path.name)
    inside = {
        name for name in names if name in pictures and holds_pictures(schema.field(name).type)
    }
    labels = {c: own for c, own in class_names_in(schema).items() if c in names}
    plain = [name for name in names if name not in inside]
    _check_sizes(file, path, plain)
    decoded = plain + [f"{name}.path" for name in inside if names_pictures(schema.field(name).type)]
    texts = [
        chunk.path_in_schema for chunk in _chunks(file, 0) if chunk.physical_type == "BYTE_ARRAY"
    ]
    packed = [path for path in texts if _is_of(path, plain)]
    number = total = 0
    try:
        for batch in _open(path, packed).iter_batches(batch_size=_BATCH, columns=decoded):
            taken = _decoded_bytes(batch)
            if taken > _MAX_BATCH_BYTES:
                problem = f"{_BATCH} rows from row {number + 1} on take over 256 MiB"
                raise InputError(problem, where=path.name, hint="It is no table of samples.")
            total += taken
            expected = total * file.metadata.num_rows / (number + max(batch.num_rows, 1))
            if expected > max(_MAX_BATCH_BYTES, MAX_EXPANSION * path.stat().st_size):
                problem = f"{path.stat().st_size:,} bytes hold {expected / 2**30:,.1f} GiB of text"
                raise InputError(problem, where=path.name, hint="It is no table of samples.")
            for row in batch.to_pylist() or [{} for _ in range(batch.num_rows)]:
                for name in inside:
                    said = (row.pop(name, None) or {}).get("path")
                    row[name] = InParquet(path, name, number, said if isinstance(said, str) else "")
                number += 1
                yield with_names(number, row, labels)
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        if isinstance(error, InputError):
            raise
        problem = f"broken Parquet after row {number}: {str(error)[:120]}"
        raise InputError(problem, where=path.name) from error
    if not number:
        yield Bad(0, "empty file")


def parquet_class_names(path: Path) -> dict[str, ClassNames]:
    """The names of classes by column, where the file says them. Raises InputError."""
    return class_names_in(_open(path).schema_arrow)


def _open(path: Path, packed: list[str] | None = None) -> parquet.ParquetFile:
    """The file; columns of texts in ``packed`` stay dictionaries, however often a text comes."""
    try:
        return parquet.ParquetFile(path, read_dictionary=packed)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"not a Parquet file: {str(error)[:120]}", where=path.name) from error


def _is_of(path: str, columns: Collection[str]) -> bool:
    """Whether a path in the schema lies in one of the columns, whose names may have dots."""
    return any(path == name or path.startswith(f"{name}.") for name in columns)


def _chunks(file: parquet.ParquetFile, group: int) -> list[Any]:
    """What the footer says of each column of a row group; nothing where there is none."""
    if group >= file.metadata.num_row_groups:
        return []
    about = file.metadata.row_group(group)
    return [about.column(at) for at in range(about.num_columns)]


def _decoded_bytes(batch: pa.RecordBatch) -> int:
    """How many bytes the values of a batch take as Python texts, without unpacking them."""
    total = 0
    for column in batch.columns:
        while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            total += 8 * len(column)
            column = column.flatten()
        if not pa.types.is_dictionary(column.type):
            total += column.nbytes
            continue
        total += column.indices.nbytes  # the dictionary is that of all rows: only what comes counts
        if len(column.dictionary):
            lengths = pc.binary_length(column.dictionary)
            total += pc.sum(pc.take(lengths, column.indices)).as_py() or 0
    return total


def _check_sizes(file: parquet.ParquetFile, path: Path, columns: list[str]) -> None:
    """InputError for a footer that says more rows or bytes than a table of samples has."""
    meta, size = file.metadata, path.stat().st_size
    values = max(
        (c.num_values for g in range(meta.num_row_groups) for c in _chunks(file, g)),
        default=0,
    )
    rows_fit = meta.num_rows <= max(20_000, MAX_ROWS_A_BYTE * size)
    if not rows_fit or values > max(1_000_000, MAX_VALUES_A_BYTE * size):
        raise InputError(
            f"says that {size:,} bytes hold {meta.num_rows:,} rows and {values:,} values a column",
            where=path.name,
            hint="Rows of samples are not all alike: it is no table of them.",
        )
    for group in range(meta.num_row_groups):
        unpacked = sum(
            chunk.total_uncompressed_size
            for chunk in _chunks(file, group)
            if _is_of(chunk.path_in_schema, columns)
        )
        if unpacked > MAX_GROUP_BYTES:
            raise InputError(
                f"row group {group + 1} takes {unpacked / 2**30:,.1f} GiB when it is unpacked",
                where=path.name,
                hint="Write it in row groups of at most 1 GiB.",
            )


@lru_cache(maxsize=8)
def _group_ends(path: Path) -> tuple[int, ...]:
    """The first row behind each row group."""
    meta = _open(path).metadata
    ends, total = [], 0
    for group in range(meta.num_row_groups):
        total += meta.row_group(group).num_rows
        ends.append(total)
    return tuple(ends)


def _column(path: Path, column: str, group: int) -> pa.ChunkedArray:
    """One row group of a column of pictures; the last ones are kept.

    Rows are read in turn, or in that of their classes, which lie in as many places of a file.
    """
    key = (path, column, group)
    with _LOCK:
        if key not in _KEPT:
            _KEPT[key] = _decoded_column(path, column, group)
            while len(_KEPT) > 1 and sum(c.nbytes for c in _KEPT.values()) > MAX_KEPT_BYTES:
                _KEPT.popitem(last=False)
        _KEPT.move_to_end(key)
        return _KEPT[key]


def _decoded_column(path: Path, column: str, group: int) -> pa.ChunkedArray:
    # Pictures that come again stay in their dictionary: 5 kB could be 200 MB of copies.
    paths = [chunk.path_in_schema for chunk in _chunks(_open(path), group)]
    file = _open(path, [one for one in paths if one in (column, f"{column}.bytes")])
    _check_sizes(file, path, [column])
    try:
        values = file.read_row_group(group, columns=[column]).column(column)
        return pc.struct_field(values, "bytes") if pa.types.is_struct(values.type) else values
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"broken Parquet: {str(error)[:120]}", where=path.name) from error
