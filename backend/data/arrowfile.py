"""Rows of an Arrow stream, as ``save_to_disk`` of Hugging Face datasets writes it.

Files are mapped into memory and read batch by batch. What others made is not trusted: only record
batches are read, none that is compressed, and the values of the columns that are read are validated
before they are used.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backend.data.arrowtypes import holds_pictures, is_text, names_pictures
from backend.data.class_names import class_names_in, with_names
from backend.data.embedded import InTable
from backend.data.images import DecodeError
from backend.data.rows import Bad
from backend.errors import InputError

MAX_ROWS_A_BYTE = 4
"""Of the file: rows of samples are not all alike."""

_FILE = b"ARROW1"
_ROWS = 256
_MAX_BYTES = 2**28  # of the values of so many rows


@dataclass(frozen=True)
class InArrow(InTable):
    """A picture inside an Arrow stream."""

    def read(self) -> bytes:
        """The picture's bytes."""
        places = _places(self.file)
        at = bisect_right(places.firsts, self.row) - 1
        if self.row >= places.rows:
            raise InputError(f"has no row {self.row + 1} any more", where=self.file.name)
        column = _batch(self.file, at).column(self.column)
        one = column.slice(self.row - places.firsts[at], 1)
        picture = (pc.struct_field(one, "bytes") if pa.types.is_struct(one.type) else one)[
            0
        ].as_py()
        if not isinstance(picture, bytes):
            raise DecodeError("no picture in the row")
        return picture


def arrow_schema(path: Path) -> pa.Schema:
    """The table's columns and their types, of which values can be read without being multiplied.

    Raises InputError for what is no Arrow stream.
    """
    schema = _places(path).schema
    return pa.schema([f for f in schema if _is_plain(f.type)], metadata=schema.metadata)


def arrow_rows(
    path: Path, columns: Set[str] | None = None, pictures: Set[str] = frozenset()
) -> Iterator[tuple[int, dict[str, Any]] | Bad]:
    """(row from 1, values by column); ``columns`` spares the others.

    A column of ``pictures`` that holds them gives :class:`InArrow` values, one of class numbers
    their names (:mod:`backend.data.class_names`).
    """
    places = _places(path)
    names = [n for n in arrow_schema(path).names if columns is None or n in columns]
    inside = [n for n in names if n in pictures and holds_pictures(places.schema.field(n).type)]
    plain = [name for name in names if name not in inside]
    labels = {c: own for c, own in class_names_in(places.schema).items() if c in plain}
    for at in range(len(places.firsts)):
        batch = _batch(path, at)
        for start in range(0, batch.num_rows, _ROWS):
            part = _part(batch, plain, inside).slice(start, _ROWS)
            first = places.firsts[at] + start
            if part.nbytes > _MAX_BYTES:
                problem = f"{_ROWS} rows from row {first + 1} on take over 256 MiB"
                raise InputError(problem, where=path.name, hint="It is no table of samples.")
            for number, row in enumerate(_values(part, path, first), first):
                for name in inside:
                    said = row[name]
                    row[name] = InArrow(path, name, number, said if isinstance(said, str) else "")
                yield with_names(number + 1, row, labels)
    if not places.rows:
        yield Bad(0, "empty file")


def _is_plain(kind: pa.DataType, within: bool = False) -> bool:
    """Whether every value of a column takes bytes of its own in the file."""
    if isinstance(kind, pa.BaseExtensionType):
        return _is_plain(kind.storage_type, within)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_plain(kind.value_type, within=True)
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size > 0 and _is_plain(kind.value_type, within=True)
    if pa.types.is_struct(kind):
        fields = [kind.field(at).type for at in range(kind.num_fields)]
        return bool(fields) and all(_is_plain(field, within) for field in fields)
    own = (
        pa.types.is_primitive(kind)
        or is_text(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_decimal(kind)
    )
    return bool(own or (pa.types.is_null(kind) and not within))


def _part(batch: pa.RecordBatch, plain: list[str], inside: list[str]) -> pa.RecordBatch:
    """The plain columns, and the names of the pictures instead of these."""
    arrays = {name: batch.column(name) for name in plain}
    for name in inside:
        column = batch.column(name)
        named = names_pictures(column.type)
        arrays[name] = pc.struct_field(column, "path") if named else pa.nulls(len(column))
    return pa.RecordBatch.from_pydict(arrays)


def _values(part: pa.RecordBatch, path: Path, first: int) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = part.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException) as error:
        raise _broken(path, first, error) from error
    return rows


@dataclass(frozen=True)
class _Places:
    """Where the record batches of a file begin, in bytes and in rows."""

    schema: pa.Schema
    starts: tuple[int, ...]
    firsts: tuple[int, ...]
    rows: int


@lru_cache(maxsize=64)
def _places(path: Path) -> _Places:
    starts: list[int] = []
    firsts: list[int] = []
    rows = 0
    try:
        with pa.memory_map(str(path)) as file:
            if file.read_at(len(_FILE), 0) == _FILE:
                problem = "is an Arrow file (Feather), and only Arrow streams are read"
                raise InputError(problem, where=path.name, hint="Save it as Parquet.")
            schema = pa.ipc.read_schema(pa.ipc.read_message(file))
            _ = schema.names  # which may be no text
            while file.tell() < file.size():
                start = file.tell()
                try:
                    message = pa.ipc.read_message(file)
                except EOFError:
                    break
                batch = _read(message, schema, path)
                starts.append(start)
                firsts.append(rows)
                rows += batch.num_rows
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        if isinstance(error, InputError):
            raise
        raise _broken(path, rows, error) from error
    size = path.stat().st_size
    if rows > max(20_000, MAX_ROWS_A_BYTE * size):
        raise InputError(f"says that {size:,} bytes hold {rows:,} rows", where=path.name)
    return _Places(schema, tuple(starts), tuple(firsts), rows)


@lru_cache(maxsize=64)
def _batch(path: Path, at: int) -> pa.RecordBatch:
    """One batch, valid; the last ones, which lie in the file, are kept."""
    places = _places(path)
    try:
        file = pa.memory_map(str(path))
        file.seek(places.starts[at])
        batch = _read(pa.ipc.read_message(file), places.schema, path)
        batch.validate(full=True)
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        if isinstance(error, InputError):
            raise
        raise _broken(path, places.firsts[at], error) from error
    return batch


def _broken(path: Path, rows: int, error: Exception) -> InputError:
    """What is no Arrow stream, or one no longer."""
    if not rows:
        return InputError(f"not an Arrow stream: {str(error)[:120]}", where=path.name)
    problem = f"cut short or broken after row {rows:,}: {str(error)[:120]}"
    return InputError(problem, where=path.name, hint="Save or download it again.")


def _read(message: pa.ipc.Message, schema: pa.Schema, path: Path) -> pa.RecordBatch:
    if message.type != "record batch" or _is_compressed(message.metadata):
        what = message.type if message.type != "record batch" else "compressed record batch"
        raise InputError(
            f"holds a {what}, which datasets are not saved as",
            where=path.name,
            hint="Save it as Parquet.",
        )
    return pa.ipc.read_record_batch(message, schema)


def _is_compressed(metadata: pa.Buffer) -> bool:
    """Whether a record batch names a compression.

    That is the fourth field of the table RecordBatch, which is the third of the table Message.
    Source: the FlatBuffers binary format, and Message.fbs of Apache Arrow 1.0. pyarrow has verified
    the buffer.
    """
    raw = memoryview(metadata)

    def field(table: int, number: int) -> int | None:
        """Where a field of a table is written; None where it is not."""
        vtable = table - struct.unpack_from("<i", raw, table)[0]
        size = struct.unpack_from("<H", raw, vtable)[0]
        at = 4 + 2 * number
        offset = struct.unpack_from("<H", raw, vtable + at)[0] if at < size else 0
        return table + offset if offset else None

    root = struct.unpack_from("<I", raw, 0)[0]
    header = field(root, 2)
    if header is None:
        return True
    return field(header + struct.unpack_from("<I", raw, header)[0], 3) is not None
