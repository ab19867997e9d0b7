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

from backend.errors import InputError, printable
from backend.store import tables
from backend.store.checks import id_faults, row_faults, sample_faults
from backend.store.compare import nearest
from backend.store.connection import PACKED, Connection, identifier, literal, sql_type
from backend.store.index import SCHEMA, Entry, Identity, entry_of
from backend.store.kinds import (
    KINDS,
    SAE,
    SAE_FEATURES,
    SAE_MATCHES,
    SHARED_SPACE,
    TOKENS,
    Kind,
)
from backend.store.manifest import Manifest
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


class PackedSource:
    """See :class:`backend.store.source.Source`. The file is looked at once; it does not change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = Connection(path)
        self._check()
        self._checked: dict[tuple[str, int], str] = {}
        self._checked_samples: dict[str, str] = {}
        self._listing = self._listed()
        self._entries = {entry.run_id: entry for entry in self._listing.entries}
        self._of_part: dict[tuple[str, int], tuple[str, str]] = {}
        self._parts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        self._require_size("parts", COLUMNS["parts"])
        for part, kind, owner, key in self._tuples(
            f"SELECT * FROM {PACKED}.parts WHERE part IS NOT NULL ORDER BY part"
        ):
            self._parts[str(kind), str(owner)][str(key)] = int(str(part))
            self._of_part[str(kind), int(str(part))] = (str(owner), str(key))

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
        if present(self.path).st_size < _HEADERS_BYTES + int(str(blocks)) * int(str(size)):
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
            if name in LATER and name not in columns and not self._holds_rows(name):
                continue
            if columns.get(name) != expected:
                raise self._refused(f"its table {name} has not the columns of a packed store", hint)

    def _holds_rows(self, kind: str) -> bool:
        """Whether the file says that it has rows of a kind."""
        return bool(self._tuples(f"SELECT 1 FROM {PACKED}.parts WHERE kind = '{kind}' LIMIT 1"))

    def _refused(self, problem: str, hint: str | None = None) -> InputError:
        self.connection.close()
        return InputError(problem, where=str(self.path), hint=hint)

    def _tuples(self, sql: str) -> list[tuple[object, ...]]:
        rows = self.connection.rows(sql)
        return [tuple(row.values()) for row in rows.to_pylist()]

    # Runs

    def _listed(self) -> Listing:
        info = present(self.path)
        identity = f"{info.st_ino}-{info.st_mtime_ns}-{info.st_size}"
        self._require_size("runs", ENTRY_COLUMNS)
        self._require_size("scores", COLUMNS["scores"])
        scores: dict[str, list[tuple[str, str, str, float]]] = defaultdict(list)
        for run_id, *score in self._tuples(
            f"SELECT run_id, task, metric, split, value FROM {PACKED}.scores ORDER BY part, rowid"
        ):
            scores[str(run_id)].append(tuple(score))  # type: ignore[arg-type]
        entries, broken = [], []
        for run_id, run_json, has_activations in self._tuples(
            f"SELECT run_id, run_json, has_activations FROM {PACKED}.runs ORDER BY run_id"
        ):
            try:
                if not isinstance(run_json, bytes) or not is_id(str(run_id)):
                    raise InputError(f"run id {run_id!r} is not valid")
                manifest = Manifest.from_json(run_json, where=f"run.json of {run_id}")
                if manifest.run_id != run_id:
                    raise InputError(f"its run.json says {manifest.run_id}")
                entries.append(
                    entry_of(
                        Identity(identity, identity),
                        run_json,
                        manifest,
                        scores[manifest.run_id],
                        has_activations=bool(has_activations),
                        has_checkpoint=False,
                    )
                )
            except InputError as error:
                broken.append(BrokenRun(printable(str(run_id)), str(error)))
        return Listing(tuple(entries), tuple(broken))

    def _require_size(self, table: str, columns: Mapping[str, str], where: str = "true") -> int:
        """The bytes of some rows in memory; InputError where they are too many for the file."""
        texts = [name for name, kind in columns.items() if kind in ("VARCHAR", "BLOB")]
        lengths = " + ".join(
            f"coalesce(octet_length(CAST({identifier(name)} AS BLOB)), 0)" for name in texts
        )
        ((rows, nbytes),) = self._tuples(
            f"SELECT count(*), coalesce(sum({lengths or 0}), 0) FROM {PACKED}.{table} WHERE {where}"
        )
        decoded = int(str(nbytes)) + 16 * len(columns) * int(str(rows))
        require_size(decoded, present(self.path).st_size, f"{self.path}: {table}")
        return decoded

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
        problems = list(filter(None, (self._fault(kind, number) for number in numbers)))
        numbers = [number for number in numbers if not self._fault(kind, number)]
        if not numbers:
            return no_rows(kind_columns(kind), problems)
        name = f"parts_{kind.name}"
        # The bounds let DuckDB skip what lies before and behind; rows lie in order of part.
        sql = (
            f"(SELECT * EXCLUDE (part) FROM {PACKED}.{kind.name} "
            f"WHERE part BETWEEN {min(numbers)} AND {max(numbers)} "
            f"AND list_contains(${name}, part))"
        )
        return Rows(sql, {name: numbers}, tuple(problems))

    def _fault(self, kind: Kind, number: int) -> str:
        """Why the rows of a part cannot be used, empty if they can; looked at once."""
        if (kind.name, number) not in self._checked:
            self._checked[kind.name, number] = self._looked_through(kind, number)
        return self._checked[kind.name, number]

    def _looked_through(self, kind: Kind, number: int) -> str:
        owner, key = self._of_part[kind.name, number]
        where = f"{self.path}: {kind.name} {key} of {owner}"
        try:
            self._require_size(kind.name, COLUMNS[kind.name], f"part = {number}")
            names = ", ".join(map(identifier, kind.schema.names))
            table = self.connection.rows(
                f"SELECT {names} FROM {PACKED}.{kind.name} WHERE part = $part", {"part": number}
            )
            runs = [self.run(run_id) for run_id in owner.split("~")]
            scope = runs[0].scope if len(runs) == 1 else self.pair(*runs).scope
            for fault in row_faults(kind, table, scope):
                return f"{where}: {fault}"
        except InputError as error:
            return str(error)
        return ""

    def samples(self, entries: Iterable[Entry]) -> Rows:
        """The samples of runs, their labels with the types of their tasks."""
        runs: dict[tuple[tuple[str, pa.DataType], ...], list[str]] = defaultdict(list)
        types: dict[str, set[pa.DataType]] = defaultdict(set)
        problems = []
        for entry in entries:
            labels = tuple(
                (f"label_{task.name}", tables.label_type(task)) for task in entry.manifest.tasks
            )
            for name, kind in labels:
                types[name].add(kind)
            if entry.run_id not in self._checked_samples:
                self._checked_samples[entry.run_id] = self._sample_fault(entry)
            if self._checked_samples[entry.run_id]:
                problems.append(self._checked_samples[entry.run_id])
            else:
                runs[labels].append(entry.run_id)
        selects = [
            _select_samples(labels, types, f"runs_samples_{at}") for at, labels in enumerate(runs)
        ]
        params = {f"runs_samples_{at}": ids for at, ids in enumerate(runs.values())}
        if not selects:
            columns_of = {name: sql_type(min(kinds, key=str)) for name, kinds in types.items()}
            return no_rows(SAMPLE_COLUMNS | columns_of | {"thumbnail": "BLOB"}, problems)
        return Rows(f"({' UNION ALL BY NAME '.join(selects)})", params, tuple(problems))

    def _sample_fault(self, entry: Entry) -> str:
        """Why the samples of a run cannot be used, empty if they can."""
        where = f"{self.path}: samples of {entry.run_id}"
        columns = {name: kind for name, kind in COLUMNS["samples"].items() if name != "thumbnail"}
        tasks = entry.manifest.tasks
        types = [(f"label_{task.name}", tables.label_type(task)) for task in tasks]
        select = _select_samples(types, {name: {kind} for name, kind in types}, "ids")
        try:
            self._require_size("samples", columns, f"run_id = {literal(entry.run_id)}")
            table = self.connection.rows(
                f"SELECT * EXCLUDE (thumbnail) FROM ({select})", {"ids": [entry.run_id]}
            )
            schema = tables.samples_schema(entry.manifest)
            faults = [*sample_faults(schema, table, tasks), *id_faults(table["sample_id"], entry.n)]
        except InputError as error:
            return str(error)
        return f"{where}: {faults[0]}" if faults else ""


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
