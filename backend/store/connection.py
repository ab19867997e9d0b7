"""DuckDB, in memory and locked down: it reads one store and nothing else.

No other file, no network, no extension, no change of settings, no Python variable. Values are
bound; what a statement is put together from are names that this program chose and file names that
are quoted here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from backend.errors import InputError

PACKED = "packed"
"""What a packed store is called inside the connection."""

_MEMORY = "512MB"
_MOST_THREADS = 4


class Connection:
    """One locked connection, made at its first statement; safe to share between threads."""

    def __init__(self, store: Path) -> None:
        # Resolved, because the locked connection compares paths as text.
        self.store = store.resolve()
        self._lock = threading.Lock()
        self._opened: duckdb.DuckDBPyConnection | None = None

    def rows(self, sql: str, params: Mapping[str, object] | None = None) -> pa.Table:
        """The rows of one of our own statements; values in ``params`` are bound as ``$name``.

        InputError where a file of the store cannot be read.
        """
        try:
            with self.cursor() as cursor:
                return cursor.sql(sql, params=dict(params or {})).to_arrow_table()
        except duckdb.Error as error:
            if self.is_about_a_file(error):
                raise unreadable(self.store, error) from error
            raise

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """For statements that belong together; errors are DuckDB's own. Close it after use."""
        with self._lock:
            if self._opened is None:
                self._opened = _locked(self.store)
            return self._opened.cursor()

    def is_about_a_file(self, error: duckdb.Error) -> bool:
        """Whether DuckDB failed on a file's content rather than on the statement."""
        # Its readers raise bare errors ("TProtocolException: Invalid data", "Corrupt database
        # file") for most faults, and for some the error of a wrong parameter with the file's name.
        return (
            type(error) is duckdb.Error
            or isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException)
            or (isinstance(error, duckdb.InvalidInputException) and str(self.store) in str(error))
        )

    def close(self) -> None:
        """Close it; the next statement opens another one."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None


def _locked(store: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    packed = not store.is_dir()
    if packed:
        connection.execute(f"ATTACH {literal(str(store))} AS {PACKED} (READ_ONLY)")
    for setting in (
        "autoinstall_known_extensions=false",
        "autoload_known_extensions=false",
        "python_enable_replacements=false",
        "temp_directory=''",
        f"memory_limit='{_MEMORY}'",
        f"threads={min(_MOST_THREADS, os.cpu_count() or 1)}",
        f"allowed_directories=[{'' if packed else literal(str(store))}]",
        "enable_external_access=false",
        "lock_configuration=true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def unreadable(store: Path, error: duckdb.Error) -> InputError:
    """DuckDB's error about a file as one line."""
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    hint = "Find it with: fusionscope verify" if store.is_dir() else "Get the file once more"
    return InputError(f"a file of the store cannot be read ({first})", where=str(store), hint=hint)


def literal(text: str) -> str:
    """``text`` as a quoted SQL string."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """``name`` as a quoted SQL name."""
    return '"' + name.replace('"', '""') + '"'


_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.list_(pa.string()): "VARCHAR[]",
}


def sql_type(kind: pa.DataType) -> str:
    """What SQL calls an Arrow type of the store's tables."""
    return _SQL_TYPES[kind]
