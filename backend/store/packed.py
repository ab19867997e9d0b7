"""A store that is one DuckDB file: read-only, and not trusted.

``fusionscope``: one row that says what the file is. ``runs``: what listings show, with run.json.
``parts``: every table of a kind. A table a kind, ``samples``, ``captures``, ``activations`` with a
row a sample. Nothing but rows is taken from a file: one that holds views, macros, types or
computed columns is refused, so that no SQL of a stranger is ever run, and so is one whose tables
have other columns than ours.
"""

# ruff: noqa: S608 - statements are made of our own names; every value is bound

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from backend.errors import InputError
from backend.store import tables
from backend.store.compare import nearest
from backend.store.connection import PACKED, Connection, identifier, literal, sql_type
from backend.store.index import SCHEMA, Entry, entries_in
from backend.store.kinds import KINDS, Kind
from backend.store.packed_run import PackedRun, PackedTables
from backend.store.pair import RunPair
from backend.store.paths import is_id
from backend.store.run import Run
from backend.store.source import (
    SAMPLE_COLUMNS,
    BrokenRun,
    Listing,
    Part,
    Rows,
    kind_columns,
    no_rows,
)

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

_MAGIC = b"DUCK"
_MAGIC_AT = 8
_HEADERS_BYTES = 3 * 4096


class PackedSource:
    """See :class:`backend.store.source.Source`. The file is looked at once; it does not change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = Connection(path)
        self._check()
        self._listing = self._listed()
        self._entries = {entry.run_id: entry for entry in self._listing.entries}
        self._parts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for part, kind, owner, key in self._tuples(f"SELECT * FROM {PACKED}.parts ORDER BY part"):
            self._parts[str(kind), str(owner)][str(key)] = int(str(part))

    # Whether it is one of ours

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
        ((blocks, size),) = self._tuples(
            "SELECT total_blocks, block_size FROM pragma_database_size() "
            f"WHERE database_name = '{PACKED}'"
        )
        if self.path.stat().st_size < _HEADERS_BYTES + int(str(blocks)) * int(str(size)):
            raise self._refused("is cut short", "Get the file once more")
        self._check_tables()

    def _check_tables(self) -> None:
        here = f"database_name = '{PACKED}' AND NOT internal"
        foreign = self._tuples(
            f"SELECT 'view ' || view_name FROM duckdb_views() WHERE {here} UNION ALL "
            f"SELECT 'macro ' || function_name FROM duckdb_functions() WHERE {here} UNION ALL "
            f"SELECT 'type ' || type_name FROM duckdb_types() WHERE {here} UNION ALL "
            f"SELECT 'computed column ' || column_name FROM duckdb_columns() WHERE {here} "
            "AND column_default IS NOT NULL"
        )
        columns: dict[str, dict[str, str]] = defaultdict(dict)
        for table, column, kind in self._tuples(
            f"SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE {here} "
            "AND schema_name = 'main' ORDER BY column_index"
        ):
            columns[str(table)][str(column)] = str(kind)
        hint = "Pack the store again with: fusionscope pack"
        if columns.get("fusionscope") != COLUMNS["fusionscope"]:
            raise self._refused("is a DuckDB file, but not a packed store", hint)
        (version, made_by), *_ = [
            *self._tuples(f"SELECT pack_version, made_by FROM {PACKED}.fusionscope"),
            (0, "nobody"),
        ]
        if version != PACK_VERSION:
            raise self._refused(
                f"was packed by Fusionscope {made_by} in a form (version {version}) that this one "
                f"does not read (version {PACK_VERSION})",
                hint,
            )
        if foreign:
            raise self._refused(f"holds the {foreign[0][0]}, which no packed store has", hint)
        for name, expected in COLUMNS.items():
            if columns.get(name) != expected:
                raise self._refused(f"its table {name} has not the columns of a packed store", hint)

    def _refused(self, problem: str, hint: str | None = None) -> InputError:
        self.connection.close()
        return InputError(problem, where=str(self.path), hint=hint)

    def _tuples(self, sql: str) -> list[tuple[object, ...]]:
        rows = self.connection.rows(sql)
        return [tuple(row.values()) for row in rows.to_pylist()]

    # Runs

    def _listed(self) -> Listing:
        info = self.path.stat()
        identity = f"{info.st_ino}-{info.st_mtime_ns}-{info.st_size}"
        scores = (
            "SELECT run_id, list({task: task, metric: metric, split: split, value: value}) AS rows "
            f"FROM (SELECT * FROM {PACKED}.scores ORDER BY part, rowid) GROUP BY run_id"
        )
        columns = ", ".join(
            {
                "state": "$identity AS state",
                "version": "$identity AS version",
                "scores": "coalesce(s.rows, []) AS scores",
            }.get(name, f"r.{name}")
            for name in Entry._fields
        )
        joined = f"{PACKED}.runs r LEFT JOIN ({scores}) s USING (run_id)"
        sql = f"SELECT {columns} FROM {joined} ORDER BY run_id"
        entries, broken = [], []
        for entry in entries_in(self.connection.rows(sql, {"identity": identity}).cast(SCHEMA)):
            if is_id(entry.run_id):
                entries.append(entry)
            else:
                broken.append(BrokenRun(entry.run_id, f"run id {entry.run_id!r} is not valid"))
        return Listing(tuple(entries), tuple(broken))

    def listing(self) -> Listing:
        """Every run; always the same."""
        return self._listing

    def run_ids(self) -> tuple[str, ...]:
        """Sorted ids of all runs."""
        return tuple(self._entries)

    def run(self, run_id: str) -> Run:
        """One run; InputError names the near ids for one that does not exist."""
        entry = self._entries.get(run_id)
        if entry is None:
            raise InputError(
                f"no run {run_id!r}", where=str(self.path), hint=nearest(run_id, self.run_ids())
            )
        return Run(PackedRun(self, entry), entry.manifest)

    def pair(self, a: Run, b: Run) -> RunPair:
        """What is stored about two runs."""
        first, second = sorted((a.run_id, b.run_id))
        return RunPair(PackedTables(self, f"{first}~{second}"), a, b)

    def version(self, run_id: str) -> str:
        """The file's identity; empty where there is no such run."""
        entry = self._entries.get(run_id)
        return "" if entry is None else entry.version

    # Tables

    def owners(self, kind: Kind) -> tuple[str, ...]:
        """Whoever has tables of a kind: runs, or pairs of runs."""
        return tuple(owner for name, owner in self._parts if name == kind.name)

    def keys(self, kind: Kind, owner: str) -> tuple[str, ...]:
        """Sorted keys of the tables that are there; "" for that of a kind with one an owner."""
        return tuple(sorted(self._parts.get((kind.name, owner), ())))

    def rows(self, kind: Kind, parts: Sequence[Part]) -> Rows:
        """The rows of some tables, in the order in which they were packed."""
        numbers = [
            number
            for part in parts
            if (number := self._parts.get((kind.name, part.owner), {}).get(part.key)) is not None
        ]
        if not numbers:
            return no_rows(kind_columns(kind))
        name = f"parts_{kind.name}"
        # The bounds let DuckDB skip what lies before and behind; rows lie in order of part.
        sql = (
            f"(SELECT * EXCLUDE (part) FROM {PACKED}.{kind.name} "
            f"WHERE part BETWEEN {min(numbers)} AND {max(numbers)} "
            f"AND list_contains(${name}, part))"
        )
        return Rows(sql, {name: numbers})

    def samples(self, entries: Iterable[Entry]) -> Rows:
        """The samples of runs, their labels with the types of their tasks."""
        runs: dict[tuple[tuple[str, pa.DataType], ...], list[str]] = defaultdict(list)
        types: dict[str, set[pa.DataType]] = defaultdict(set)
        for entry in entries:
            labels = tuple(
                (f"label_{task.name}", tables.label_type(task)) for task in entry.manifest.tasks
            )
            runs[labels].append(entry.run_id)
            for name, kind in labels:
                types[name].add(kind)
        selects = [
            _select_samples(labels, types, f"runs_samples_{at}") for at, labels in enumerate(runs)
        ]
        params = {f"runs_samples_{at}": ids for at, ids in enumerate(runs.values())}
        if not selects:
            return no_rows(SAMPLE_COLUMNS | {"thumbnail": "BLOB"})
        return Rows(f"({' UNION ALL BY NAME '.join(selects)})", params)


def _select_samples(
    labels: Sequence[tuple[str, pa.DataType]], types: Mapping[str, set[pa.DataType]], name: str
) -> str:
    """SELECT over the samples of runs with the same labels; text where other runs disagree."""
    columns = []
    for label, _ in labels:
        column = f"l.{identifier(label)}"
        agreed = len(types[label]) == 1
        typed = column if agreed else f"CAST({column} AS VARCHAR)"
        columns.append(f"{typed} AS {identifier(label)}")
    structure = json.dumps(
        {label: ["VARCHAR"] if pa.types.is_list(kind) else sql_type(kind) for label, kind in labels}
    )
    read = f", from_json(labels, {literal(structure)}) AS l" if labels else ""
    listed = ", ".join([*map(identifier, SAMPLE_COLUMNS), *columns, "thumbnail"])
    return (
        f"SELECT {listed} FROM (SELECT *{read} FROM {PACKED}.samples "
        f"WHERE list_contains(${name}, run_id))"
    )
