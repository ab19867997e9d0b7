"""One stream of rows from a CSV, JSON lines or Parquet table with named columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.data.rows import Bad, csv_rows, json_rows
from backend.errors import InputError

TableRow = tuple[int, dict[str, Any]]


def table_rows(path: Path, columns: set[str] | None = None) -> Iterator[TableRow | Bad]:
    """(row number, values by column) of a table; the ending of the file's name says its format.

    Row numbers are lines from 1 in text files (a CSV's header is line 1) and rows from 1 in
    Parquet. ``columns`` spares Parquet the others. Raises InputError for a file that cannot
    be read at all.
    """
    if path.suffix == ".parquet":
        return _parquet(path, columns)
    return _csv(path) if path.suffix == ".csv" else json_rows(path)


def columns_of(path: Path) -> tuple[str, ...] | None:
    """The table's columns, or None for JSON lines, where each row has its own."""
    if path.suffix == ".parquet":
        return tuple(_open_parquet(path).schema_arrow.names)
    return tuple(_header(csv_rows(path), path)) if path.suffix == ".csv" else None


def _csv(path: Path) -> Iterator[TableRow | Bad]:
    rows = csv_rows(path)
    header = _header(rows, path)
    empty = True
    for item in rows:
        empty = False
        if isinstance(item, Bad):
            yield item
        else:
            number, fields = item
            yield number, dict(zip(header, fields, strict=True))
    if empty:
        yield Bad(0, "empty file")


def _header(rows: Iterator[tuple[int, list[str]] | Bad], path: Path) -> list[str]:
    first = next(rows)
    if isinstance(first, Bad):
        raise InputError(first.reason, where=path.name, hint="Its first line must name columns.")
    header = [name.strip() for name in first[1]]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InputError(f"the column {twice[0]!r} is there twice", where=path.name)
    return header


def _parquet(path: Path, columns: set[str] | None) -> Iterator[TableRow | Bad]:
    import pyarrow as pa

    file = _open_parquet(path)
    names = [name for name in file.schema_arrow.names if columns is None or name in columns]
    number = 0
    try:
        for batch in file.iter_batches(batch_size=256, columns=names):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        problem = f"broken Parquet after row {number}: {str(error)[:120]}"
        raise InputError(problem, where=path.name) from error
    if not number:
        yield Bad(0, "empty file")


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"not a Parquet file: {str(error)[:120]}", where=path.name) from error
