"""DuckDB files: opened read-only, and able to read nothing but themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from backend.errors import InputError
from backend.store.imports.arrays import Contents
from backend.store.imports.formats.columns import VectorTable

_MEMORY_MB = 512  # a column of 768 floats takes 6 MB a step, and all columns are read abreast
_LOCKED = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": f"{_MEMORY_MB}MB",
    "threads": "1",
    "lock_configuration": "true",
}


def open_duckdb(
    path: Path, prefix: tuple[str, ...], binary: np.dtype, table: str | None
) -> list[Contents]:
    """The columns of vectors of every table, or of the one called ``table``."""
    with _connected(path) as connection:
        names = [
            (str(schema), str(name))
            for schema, name in connection.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal "
                "ORDER BY ALL"
            ).fetchall()
        ]
    chosen = [(schema, name) for schema, name in names if table in (None, name)]
    if not chosen:
        raise InputError(
            f"has no table {table!r}" if table else "has no table",
            where=path.name,
            hint=f"It has {', '.join(name for _, name in names) or 'none'}",
        )
    return [_table(path, prefix, schema, name, binary).contents() for schema, name in chosen]


def _table(
    path: Path, prefix: tuple[str, ...], schema: str, name: str, binary: np.dtype
) -> VectorTable:
    source = f"{_quoted(schema)}.{_quoted(name)}"

    def batches(columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        with _connected(path) as connection:
            wanted = ", ".join(map(_quoted, columns))
            yield from connection.sql(f"SELECT {wanted} FROM {source}").to_arrow_reader(rows)  # noqa: S608

    with _connected(path) as connection:
        names = [str(row[0]) for row in connection.execute(f"DESCRIBE {source}").fetchall()]
        # One at a time: even no rows of many wide columns take memory.
        fields = [
            connection.sql(f"SELECT {_quoted(column)} FROM {source} LIMIT 0")  # noqa: S608
            .to_arrow_reader(1)
            .schema.field(0)
            for column in names
        ]
        counted = connection.execute(f"SELECT count(*) FROM {source}").fetchone()  # noqa: S608
    n = int(counted[0]) if counted else 0
    where = f"{path.name}: table {name}"
    return VectorTable(where, (*prefix, name), pa.schema(fields), n, batches, binary)


@contextmanager
def _connected(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection; what DuckDB says of the file is an InputError."""
    try:
        with duckdb.connect(str(path), read_only=True, config=dict(_LOCKED)) as connection:
            yield connection
    except duckdb.OutOfMemoryException as error:
        raise InputError(
            f"has more or wider columns than can be read abreast in {_MEMORY_MB} MB",
            where=path.name,
            hint="Import some of them at a time, or write the table as Parquet",
        ) from error
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"cannot be read as a DuckDB file ({first[:200]})",
            where=path.name,
            hint=f"This is DuckDB {duckdb.__version__}: a file of a newer one must be written with "
            "an older STORAGE_VERSION",
        ) from error


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
