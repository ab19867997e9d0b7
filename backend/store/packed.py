"""A store that is one DuckDB file: read-only, and not trusted.

``fusionscope``: one row that says what the file is. ``runs``: what listings show, with run.json.
``parts``: every table of a kind. A table a kind, ``samples``, ``captures``, ``activations`` with a
row a sample. Every row is looked through before anything is made of it.
"""

# ruff: noqa: S608 - statements are made of our own names; every value is bound

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from backend.errors import InputError, printable
from backend.store import tables
from backend.store.checks import id_faults, row_faults, run_scope, sample_faults
from backend.store.compare import nearest
from backend.store.connection import PACKED, identifier, literal, sql_type
from backend.store.index import Entry, Identity, entry_of
from backend.store.kinds import KINDS, SCORES, Kind
from backend.store.manifest import Manifest
from backend.store.packed_file import COLUMNS, ENTRY_COLUMNS, PackedFile
from backend.store.packed_run import PackedRun, PackedTables
from backend.store.pair import RunPair
from backend.store.paths import is_id
from backend.store.run import Run
from backend.store.source import (
    OWNER,
    SAMPLE_COLUMNS,
    BrokenRun,
    Listing,
    Part,
    Rows,
    kind_columns,
    no_rows,
)
from backend.store.wall import present


class PackedSource:
    """See :class:`backend.store.source.Source`. The file is looked at once; it does not change."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = PackedFile(path)
        self.connection = self.file.connection
        self._checked: dict[tuple[str, int], tuple[str, int]] = {}
        self._checked_samples: dict[str, tuple[str, int]] = {}
        self._checked_vectors: dict[int, bool] = {}
        self._listing = self._listed()
        self._entries = {entry.run_id: entry for entry in self._listing.entries}
        self._of_part: dict[tuple[str, int], Part] = {}
        self._parts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        self.file.decoded("parts", COLUMNS["parts"])
        for row in self.file.tuples(
            f"SELECT * FROM {PACKED}.parts WHERE part IS NOT NULL ORDER BY part"
        ):
            number, kind, owner, key = int(str(row[0])), *map(str, row[1:])
            if _is_named(kind, owner, key):
                self._parts[kind, owner][key] = number
                self._of_part[kind, number] = Part(owner, key)

    # Runs

    def _listed(self) -> Listing:
        info = present(self.path)
        identity = f"{info.st_ino}-{info.st_mtime_ns}-{info.st_size}"
        self.file.decoded("runs", ENTRY_COLUMNS)
        self.file.decoded("scores", COLUMNS["scores"])
        scores: dict[str, list[tuple[object, ...]]] = defaultdict(list)
        for run_id, *score in self.file.tuples(
            f"SELECT run_id, task, metric, split, value FROM {PACKED}.scores ORDER BY part, rowid"
        ):
            scores[str(run_id)].append(tuple(score))
        rows = self.file.tuples(
            f"SELECT run_id, run_json, has_activations FROM {PACKED}.runs ORDER BY run_id"
        )
        times = Counter(run_id for run_id, *_ in rows)
        entries, broken = [], []
        for run_id, run_json, has_activations in rows:
            try:
                has = bool(has_activations)
                entry = _entry(run_id, run_json, has, identity, scores[str(run_id)])
                if times[run_id] > 1:
                    raise InputError(f"is there {times[run_id]} times")
                entries.append(entry)
            except InputError as error:
                broken.append(BrokenRun(printable(str(run_id)), str(error)))
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
        numbers: list[int] = []
        problems: list[str] = []
        decoded = 0
        for part in parts:
            number = self._parts.get((kind.name, part.owner), {}).get(part.key)
            if number is None:
                continue
            fault, more = self._looked_at(kind, part, number)
            fault = fault or self._too_much(decoded + more, f"{kind.name} of several runs")
            if fault:
                problems.append(fault)
            else:
                decoded += more
                numbers.append(number)
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

    def _looked_at(self, kind: Kind, part: Part, number: int) -> tuple[str, int]:
        """Why the rows of a part cannot be used, empty if they can, and their bytes in memory."""
        where = f"{self.path}: {kind.name} {part.key} of {part.owner}"
        if self._of_part[kind.name, number] != part:
            return f"{where}: its rows are those of another table, too", 0
        if (kind.name, number) not in self._checked:
            try:
                fault, decoded = self._looked_through(kind, part, number)
                self._checked[kind.name, number] = f"{where}: {fault}" if fault else "", decoded
            except InputError as error:
                self._checked[kind.name, number] = str(error), 0
        return self._checked[kind.name, number]

    def _looked_through(self, kind: Kind, part: Part, number: int) -> tuple[str, int]:
        """The first fault of a table's rows, and their bytes in memory."""
        which = {"part": number}
        decoded = self.file.decoded(kind.name, COLUMNS[kind.name], "part = $part", which)
        table = self.file.rows(
            f"SELECT * EXCLUDE (part) FROM {PACKED}.{kind.name} WHERE part = $part", which
        )
        names = {OWNER[kind.owner]: part.owner} | ({"key": part.key} if kind.keyed else {})
        for name, value in names.items():
            if any(own != value for own in table[name].unique().to_pylist()):
                return f"column {name} is not {value!r} in every row", 0
        runs = [self.run(run_id) for run_id in part.owner.split("~")]
        scope = runs[0].scope if len(runs) == 1 else self.pair(*runs).scope
        rows = table.select(kind.schema.names)
        return next(iter(row_faults(kind, rows, scope)), ""), decoded

    def holds_vectors(self, capture: int, n: int, size: int) -> bool:
        """Whether a capture has a vector of so many bytes for each of ``n`` samples."""
        if capture not in self._checked_vectors:
            ((rows, least, most),) = self.file.tuples(
                "SELECT count(vector), min(octet_length(vector)), max(octet_length(vector)) "
                f"FROM {PACKED}.activations WHERE capture = $capture",
                {"capture": capture},
            )
            self._checked_vectors[capture] = (rows, least, most) == (n, size, size)
        return self._checked_vectors[capture]

    def samples(self, entries: Iterable[Entry]) -> Rows:
        """The samples of runs, their labels with the types of their tasks."""
        runs: dict[tuple[tuple[str, pa.DataType], ...], list[str]] = defaultdict(list)
        types: dict[str, set[pa.DataType]] = defaultdict(set)
        problems = []
        decoded = 0
        for entry in entries:
            labels = tuple(
                (f"label_{task.name}", tables.label_type(task)) for task in entry.manifest.tasks
            )
            for name, kind in labels:
                types[name].add(kind)
            if entry.run_id not in self._checked_samples:
                self._checked_samples[entry.run_id] = self._sample_fault(entry)
            fault, more = self._checked_samples[entry.run_id]
            fault = fault or self._too_much(decoded + more, "samples of several runs")
            if fault:
                problems.append(fault)
            else:
                decoded += more
                runs[labels].append(entry.run_id)
        selects = [
            _select_samples(labels, types, f"runs_samples_{at}") for at, labels in enumerate(runs)
        ]
        params = {f"runs_samples_{at}": ids for at, ids in enumerate(runs.values())}
        if not selects:
            columns_of = {name: sql_type(min(kinds, key=str)) for name, kinds in types.items()}
            return no_rows(SAMPLE_COLUMNS | columns_of | {"thumbnail": "BLOB"}, problems)
        return Rows(f"({' UNION ALL BY NAME '.join(selects)})", params, tuple(problems))

    def _too_much(self, nbytes: int, what: str) -> str:
        """Why several tables together are not fetched; "" where they are."""
        try:
            self.file.require_size(nbytes, what)
        except InputError as error:
            return str(error)
        return ""

    def _sample_fault(self, entry: Entry) -> tuple[str, int]:
        """Why the samples of a run cannot be used, empty if they can; their bytes in memory."""
        where = f"{self.path}: samples of {entry.run_id}"
        tasks = entry.manifest.tasks
        types = [(f"label_{task.name}", tables.label_type(task)) for task in tasks]
        select = _select_samples(types, {name: {kind} for name, kind in types}, "ids")
        try:
            decoded = self.file.decoded(
                "samples", COLUMNS["samples"], "run_id = $run_id", {"run_id": entry.run_id}
            )
            table = self.file.rows(
                f"SELECT * EXCLUDE (thumbnail) FROM ({select})", {"ids": [entry.run_id]}
            )
            schema = tables.samples_schema(entry.manifest)
            faults = [*sample_faults(schema, table, tasks), *id_faults(table["sample_id"], entry.n)]
        except InputError as error:
            return str(error.within(f"samples of {entry.run_id}")), 0
        return (f"{where}: {faults[0]}" if faults else ""), decoded


def _is_named(kind: str, owner: str, key: str) -> bool:
    """Whether a table of a kind may be called so: elsewhere these are names of files."""
    known = next((one for one in KINDS if one.name == kind), None)
    if known is None or (not is_id(key) if known.keyed else key):
        return False
    ids = owner.split("~")
    return all(map(is_id, ids)) and len(ids) == (2 if known.owner == "pair" else 1)


def _entry(
    run_id: object,
    run_json: object,
    has_activations: bool,
    identity: str,
    scores: Sequence[tuple[object, ...]],
) -> Entry:
    """What listings show of a run; InputError for one that is none."""
    if not isinstance(run_json, bytes) or not is_id(str(run_id)):
        raise InputError(f"run id {run_id!r} is not valid")
    manifest = Manifest.from_json(run_json, where=f"run.json of {run_id}")
    if manifest.run_id != run_id:
        raise InputError(f"its run.json says {manifest.run_id}")
    rows = [dict(zip(SCORES.schema.names, score, strict=True)) for score in scores]
    table = pa.Table.from_pylist(rows, pa.schema([(f.name, f.type) for f in SCORES.schema]))
    for fault in row_faults(SCORES, table, run_scope(manifest, lambda: None)):
        raise InputError(fault, where="scores")
    return entry_of(
        Identity(identity, identity),
        run_json,
        manifest,
        scores,  # type: ignore[arg-type]
        has_activations=has_activations,
        has_checkpoint=False,
    )


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
    read = f", from_json_strict(labels, {literal(structure)}) AS l" if labels else ""
    listed = ", ".join([*map(identifier, SAMPLE_COLUMNS), *columns, "thumbnail"])
    return (
        f"SELECT {listed} FROM (SELECT *{read} FROM {PACKED}.samples "
        f"WHERE list_contains(${name}, run_id))"
    )
