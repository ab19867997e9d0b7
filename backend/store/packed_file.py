"""The one DuckDB file of a packed store: whether it is one of ours, and what it may become.

Nothing but rows is taken from a file: one that holds views, macros, types or computed columns is
refused, so that no SQL of a stranger is ever run, and so is one whose tables have other columns
than ours. Rows are bounded before they are held in memory, as those of a directory are.
"""

# ruff: noqa: S608 - statements are made of our own names; every value is bound

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa

from backend.errors import InputError, printable
from backend.store.connection import PACKED, Connection, identifier, sql_type
from backend.store.index import SCHEMA
from backend.store.kinds import (
    KINDS,
    SAE,
    SAE_FEATURES,
    SAE_MATCHES,
    SHARED_SPACE,
    TOKENS,
)
from backend.store.source import kind_columns
from backend.store.wall import present, require_size

PACK_VERSION = 2

ENTRY_COLUMNS = {
    field.name: sql_type(field.type)
    for field in SCHEMA
    if field.name not in ("state", "version", "scores")
}
COLUMNS: dict[str, dict[str, str]] = {
    "fusionscope": {"pack_version": "INTEGER", "made_by": "VARCHAR"},
    "runs": ENTRY_COLUMNS,
    "parts": {"part": "INTEGER", "kind": "VARCHAR", "owner": "VARCHAR", "key": "VARCHAR"},
    "samples": {
        "run_id": "VARCHAR",
        "row": "BIGINT",
        **dict.fromkeys(
            ("sample_id", "split", "text", "group", "image_digest", "labels"), "VARCHAR"
        ),
        "thumbnail": "BLOB",
    },
    "captures": {
        "capture": "INTEGER",
        **dict.fromkeys(("run_id", "stream", "site", "pooling", "dtype"), "VARCHAR"),
        "width": "INTEGER",
    },
    "activations": {"capture": "INTEGER", "row": "BIGINT", "vector": "BLOB"},
    **{kind.name: {"part": "INTEGER", **kind_columns(kind)} for kind in KINDS},
}
"""{table: {column: SQL type}} of a packed file."""

LATER = frozenset(kind.name for kind in (TOKENS, SAE, SAE_FEATURES, SAE_MATCHES, SHARED_SPACE))
"""Kinds that a file may lack: it was packed before there were such tables, and has no rows."""

_MAGIC = b"DUCK"
_MAGIC_AT = 8
_HEADERS_BYTES = 3 * 4096
_VERSION_LENGTH = 40
_LENGTHS = {"VARCHAR": "strlen", "BLOB": "octet_length"}
"""{SQL type: the function that gives its bytes}."""


class PackedFile:
    """A packed file that is open; InputError for one that is not ours. It does not change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # As it was opened: a file that takes its name later is another one.
        self.bytes = present(path).st_size
        self.connection = Connection(path)
        self._check()

    def rows(self, sql: str, params: Mapping[str, object] | None = None) -> pa.Table:
        """The rows of one of our own statements; InputError for whatever is wrong with them."""
        try:
            return self.connection.rows(sql, params)
        except duckdb.Error as error:
            first = printable(str(error).partition("\n")[0])
            raise InputError(f"cannot be read ({first})", where=str(self.path)) from error

    def tuples(
        self, sql: str, params: Mapping[str, object] | None = None
    ) -> list[tuple[object, ...]]:
        """The same as Python values."""
        return [tuple(row.values()) for row in self.rows(sql, params).to_pylist()]

    def decoded(
        self,
        table: str,
        columns: Mapping[str, str],
        where: str = "true",
        params: Mapping[str, object] | None = None,
    ) -> int:
        """The bytes of some rows in memory; InputError where they are too many for the file."""
        lengths = ["0"]
        for name, kind in columns.items():
            if kind in _LENGTHS:
                lengths.append(f"coalesce({_LENGTHS[kind]}({identifier(name)}), 0)")
        ((rows, nbytes),) = self.tuples(
            f"SELECT count(*), coalesce(sum({' + '.join(lengths)}), 0) "
            f"FROM {PACKED}.{table} WHERE {where}",
            params,
        )
        decoded = int(str(nbytes)) + 16 * len(columns) * int(str(rows))
        self.require_size(decoded, table)
        return decoded

    def require_size(self, decoded: int, what: str) -> None:
        """InputError where the file would become so many bytes in memory, and they are too many."""
        require_size(decoded, self.bytes, f"{self.path}: {what}")

    def _check(self) -> None:
        try:
            with self.path.open("rb") as file:
                head = file.read(_MAGIC_AT + len(_MAGIC))
        except OSError as error:
            raise InputError(
                f"cannot be read ({error.strerror or error})", where=str(self.path)
            ) from error
        if head[_MAGIC_AT:] != _MAGIC:
            raise self._refused("is neither the directory of a store nor a DuckDB file")
        try:
            self.connection.cursor().close()
        except duckdb.Error as error:
            first = str(error).splitlines()[0]
            raise self._refused(
                f"cannot be opened ({first})",
                f"It is cut short or damaged, or was written by a newer DuckDB than this one "
                f"({duckdb.__version__})",
            ) from error
        ((blocks, size),) = self.tuples(
            "SELECT total_blocks, block_size FROM pragma_database_size() "
            f"WHERE database_name = '{PACKED}'"
        )
        if self.bytes < _HEADERS_BYTES + int(str(blocks)) * int(str(size)):
            raise self._refused("is cut short", "Get the file once more")
        self._check_tables()

    def _check_tables(self) -> None:
        here = f"database_name = '{PACKED}' AND NOT internal"
        foreign = self.tuples(
            f"SELECT 'view ' || view_name FROM duckdb_views() WHERE {here} UNION ALL "
            f"SELECT 'macro ' || function_name FROM duckdb_functions() WHERE {here} UNION ALL "
            f"SELECT 'type ' || type_name FROM duckdb_types() WHERE {here} UNION ALL "
            f"SELECT 'computed column ' || column_name FROM duckdb_columns() WHERE {here} "
            "AND column_default IS NOT NULL"
        )
        columns: dict[str, dict[str, str]] = defaultdict(dict)
        for table, column, kind in self.tuples(
            f"SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE {here} "
            "AND schema_name = 'main' ORDER BY column_index"
        ):
            columns[str(table)][str(column)] = str(kind)
        hint = "Pack the store again with: fusionscope pack"
        if columns.get("fusionscope") != COLUMNS["fusionscope"]:
            raise self._refused("is a DuckDB file, but not a packed store", hint)
        (version, made_by), *_ = [
            *self.tuples(
                f"SELECT pack_version, left(made_by, {_VERSION_LENGTH}) "
                f"FROM {PACKED}.fusionscope LIMIT 1"
            ),
            (0, "nobody"),
        ]
        if version != PACK_VERSION:
            raise self._refused(
                f"was packed by Fusionscope {printable(str(made_by))} in a form (version "
                f"{version}) that this one does not read (version {PACK_VERSION})",
                hint,
            )
        if foreign:
            raise self._refused(
                f"holds the {printable(str(foreign[0][0]))}, which no packed store has", hint
            )
        for name, expected in COLUMNS.items():
            if name in LATER and name not in columns and not self._holds_rows(name):
                continue
            if columns.get(name) != expected:
                raise self._refused(f"its table {name} has not the columns of a packed store", hint)

    def _holds_rows(self, kind: str) -> bool:
        """Whether the file says that it has rows of a kind."""
        return bool(self.tuples(f"SELECT 1 FROM {PACKED}.parts WHERE kind = '{kind}' LIMIT 1"))

    def _refused(self, problem: str, hint: str | None = None) -> InputError:
        self.connection.close()
        return InputError(problem, where=str(self.path), hint=hint)
