"""One stream of rows from a CSV, JSON or Parquet table with named columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from backend.data.csvfile import csv_rows
from backend.data.jsonfile import json_rows
from backend.data.rows import Bad
from backend.data.textfile import Note, quiet
from backend.errors import InputError

TableRow = tuple[int, dict[str, Any]]
Kind = Literal["csv", "json", "parquet"]

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
"""How a table's name may end; each but the last also with ``.gz`` behind it."""


class Table(Protocol):
    """Rows of named columns, whatever holds them; ``name`` is what problems call it."""

    @property
    def name(self) -> str:
        """The file, relative to its data set's folder."""

    def columns(self) -> tuple[str, ...] | None:
        """As :func:`columns_of`."""

    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """As :func:`class_names`."""

    def rows(
        self, columns: Set[str] | None = None, note: Note = quiet, pictures: Set[str] = frozenset()
    ) -> Iterator[TableRow | Bad]:
        """As :func:`table_rows`."""


@dataclass(frozen=True)
class TableFile:
    """A table that is a file."""

    path: Path
    name: str

    def columns(self) -> tuple[str, ...] | None:
        """The columns; None where each row has its own."""
        return columns_of(self.path)

    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """The names of classes by column, where it says them."""
        return class_names(self.path)

    def rows(
        self, columns: Set[str] | None = None, note: Note = quiet, pictures: Set[str] = frozenset()
    ) -> Iterator[TableRow | Bad]:
        """The rows."""
        return table_rows(self.path, columns, note, pictures)


def is_table(name: str) -> bool:
    """Whether a file of this name is read as a table."""
    return name.lower().removesuffix(".gz").endswith(SUFFIXES)


def table_rows(
    path: Path,
    columns: Set[str] | None = None,
    note: Note = quiet,
    pictures: Set[str] = frozenset(),
) -> Iterator[TableRow | Bad]:
    """(row number, values by column) of a table; the ending of the file's name says its format.

    Row numbers are lines from 1 in text files (a CSV's header is line 1) and rows from 1 in
    Parquet and JSON arrays. ``columns`` spares Parquet the others. ``note`` is told how the file is
    read where that is not plain. Columns of ``pictures`` that hold them in Parquet give
    :class:`backend.data.embedded.InTable` values. Raises InputError for a file that cannot be
    read at all.
    """
    kind = _kind(path)
    if kind == "parquet":
        from backend.data.parquetfile import parquet_rows

        return parquet_rows(path, columns, pictures)
    return _csv(path, note) if kind == "csv" else json_rows(path, note)


def columns_of(path: Path) -> tuple[str, ...] | None:
    """The table's columns, or None for JSON lines, where each row has its own."""
    kind = _kind(path)
    if kind == "parquet":
        from backend.data.parquetfile import parquet_columns

        return parquet_columns(path)
    return tuple(name for name in _header(csv_rows(path), path) if name) if kind == "csv" else None


def class_names(path: Path) -> dict[str, tuple[str, ...]]:
    """The names of classes by column, in their order, where a Parquet file says them."""
    if _kind(path) != "parquet":
        return {}
    from backend.data.parquetfile import parquet_class_names

    return parquet_class_names(path)


def _kind(path: Path) -> Kind:
    """The kind of a table, by its name's ending; one that is Parquet in truth is that."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet") or _begins(path, b"PAR1"):
        return "parquet"
    if not name.endswith((".csv", ".tsv")):
        return "json"
    return "json" if re.match(rb'(?:\xef\xbb\xbf)?\s*\[?\s*\{\s*"', _start(path)) else "csv"


def _start(path: Path) -> bytes:
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as stream:
            return stream.read(64)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path.name) from error


def _begins(path: Path, magic: bytes) -> bool:
    return _start(path).startswith(magic)


def _csv(path: Path, note: Note) -> Iterator[TableRow | Bad]:
    rows = csv_rows(path, note=note)
    header = _header(rows, path)
    empty = True
    for item in rows:
        empty = False
        if isinstance(item, Bad):
            yield item
        else:
            number, fields = item
            yield number, {n: v for n, v in zip(header, fields, strict=True) if n}
    if empty:
        yield Bad(0, "no rows below the names of the columns")


def _header(rows: Iterator[tuple[int, list[str]] | Bad], path: Path) -> list[str]:
    """The names in a CSV's first line; a column without a name has none here either."""
    first = next(rows)
    if isinstance(first, Bad):
        raise InputError(first.reason, where=path.name, hint="Its first line must name columns.")
    header = [name.strip() for name in first[1]]
    twice = sorted(name for name, times in Counter(header).items() if name and times > 1)
    if twice:
        raise InputError(f"the column {twice[0][:60]!r} is there twice", where=path.name)
    return header
