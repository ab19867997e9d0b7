"""A store that is a directory: runs and pairs of runs as Parquet files, asked for by DuckDB."""

# ruff: noqa: S608 - statements are made of our own names; every value is bound

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from backend.errors import InputError, printable
from backend.store import tables
from backend.store.checks import Scope, row_faults, sample_faults
from backend.store.compare import nearest
from backend.store.connection import Connection, identifier, sql_type
from backend.store.index import WORTH_WRITING, Entry, Identity, entry_of, read_index, write_index
from backend.store.kinds import SCORES, Kind, kinds_of
from backend.store.looked_through import File, LookedThrough, changed_ns, state_of
from backend.store.manifest import Manifest
from backend.store.pair import RunPair, stored_pairs
from backend.store.paths import StorePaths, check_id, inside, is_id, names_in, parquet_keys
from backend.store.run import Run
from backend.store.run_files import RunFiles
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
from backend.store.table_files import PairTables
from backend.store.wall import FAULTS

_SETTLED_NS = 1_000_000_000
"""How long after its last change a folder's time says that nothing has changed since."""


class DirectorySource:
    """See :class:`backend.store.source.Source`. Reading takes no lock of the store."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.paths = StorePaths(path)
        self.connection = Connection(path)
        self._resolved = StorePaths(self.connection.store)
        self._runs = self._resolved.root / "runs"
        self._lock = threading.Lock()
        self._listing: Listing | None = None
        self._looked_through = LookedThrough()
        self._whole: set[str] = set()
        self._scopes: dict[str, tuple[str, Scope]] = {}
        self._keys: dict[str, tuple[str, tuple[str, ...]]] = {}

    # Runs

    def run_ids(self) -> tuple[str, ...]:
        """Sorted ids of all finished runs, the broken ones too."""
        return tuple(sorted(filter(is_id, self._identities())))

    def run(self, run_id: str) -> Run:
        """Open one run; InputError names the near ids for one that does not exist."""
        paths = self.paths.run(run_id)
        if not self.version(run_id):
            raise InputError(
                f"no run {run_id!r}", where=str(self.path), hint=nearest(run_id, self.run_ids())
            )
        manifest = Manifest.read(paths.manifest)
        run = Run(RunFiles(paths, manifest), manifest)
        if run.run_id != run_id:
            raise InputError(
                f"directory is named {run_id} but its run.json says {run.run_id}",
                where=str(paths.dir),
                hint="Rename the directory back",
            )
        return run

    def pair(self, a: Run, b: Run) -> RunPair:
        """What is stored about two runs."""
        first, second = sorted((a.run_id, b.run_id))
        return RunPair(PairTables(self.paths, first, second), a, b)

    def version(self, run_id: str) -> str:
        """Identity of the run's run.json; empty where there is none."""
        return state_of(f"{self._runs}/{check_id(run_id)}/run.json")

    def listing(self) -> Listing:
        """Every run as it is now; the same object for as long as nothing changed."""
        with self._lock:
            identities = self._identities()
            before = self._listing
            if before is None:
                large = len(identities) >= WORTH_WRITING
                entries = read_index(self.path) if large else {}
            else:
                entries = {entry.run_id: entry for entry in before.entries}
                if not before.broken and _fit(entries, identities):
                    return before
            self._listing = self._listed(identities, entries)
            return self._listing

    def _listed(self, identities: Mapping[str, Identity], entries: Mapping[str, Entry]) -> Listing:
        """The listing of now, reading the runs that no entry fits."""
        listed, broken, fresh = [], [], 0
        for run_id in sorted(identities):
            entry = entries.get(run_id)
            try:
                if entry is None or (entry.state, entry.version) != identities[run_id]:
                    entry = self._entry(run_id, identities[run_id])
                    fresh += 1
                listed.append(entry)
            except FAULTS as error:
                if state_of(f"{self._runs}/{run_id}/run.json"):  # else it was deleted meanwhile
                    closed = isinstance(error.__cause__ or error, PermissionError)
                    broken.append(BrokenRun(printable(run_id), _reason(error), closed))
        if fresh >= WORTH_WRITING:
            write_index(self.path, listed)
        return Listing(tuple(listed), tuple(broken))

    def _identities(self) -> dict[str, Identity]:
        """Every directory that has a run.json: one without is work that is not finished."""
        identities = {}
        folder = str(self.paths.runs)
        for name in names_in(Path(folder)):
            # A link that leads back to itself has a state, and is named where it is read.
            version = "" if name.startswith(".") else state_of(f"{folder}/{name}/run.json")
            state = state_of(f"{folder}/{name}") if version else ""
            if state:  # else it was deleted between two looks
                identities[name] = Identity(state.rpartition("-")[0], version)
        return identities

    def _entry(self, run_id: str, identity: Identity) -> Entry:
        run = self.run(run_id)
        for kind in kinds_of("run"):
            # Raises where a folder is closed, which nobody who asks for its tables is prepared for.
            names_in(Path(f"{self._runs}/{run_id}/{kind.name}"))
        scores = run.table(SCORES)
        return entry_of(
            identity,
            run.contents.manifest(),
            run.manifest,
            zip(*(scores[name].to_pylist() for name in SCORES.schema.names), strict=True),
            has_activations=run.has_activations,
            has_checkpoint=run.checkpoint is not None,
        )

    # Tables

    def owners(self, kind: Kind) -> tuple[str, ...]:
        """Whoever may have tables of a kind: runs, or pairs of runs."""
        if kind.owner == "pair":
            return tuple("~".join(pair) for pair in stored_pairs(self.paths))
        return self.run_ids()

    def keys(self, kind: Kind, owner: str) -> tuple[str, ...]:
        """Sorted keys of the tables that are there; "" for that of a kind with one an owner."""
        # Names only, so that links are not followed up: what is read goes through _directory.
        if kind.owner == "pair":
            return self._keys_in(str(self._directory(kind, owner)))
        folder = f"{self._runs}/{check_id(owner)}/{kind.name}"
        if kind.keyed:
            return self._keys_in(folder)
        return ("",) if os.path.lexists(f"{folder}.parquet") else ()

    def _keys_in(self, folder: str) -> tuple[str, ...]:
        """The keys in a folder, listed again only where it has changed."""
        state = state_of(folder)
        listed = self._keys.get(folder)
        if listed is not None and listed[0] == state:
            return listed[1]
        keys = parquet_keys(Path(folder))
        # Its clock ticks: a folder that changed just now may change again at the same time.
        if state and time.time_ns() - changed_ns(state) > _SETTLED_NS:
            self._keys[folder] = (state, keys)
        return keys

    def rows(self, kind: Kind, parts: Sequence[Part]) -> Rows:
        """The rows of some tables, owner by owner; what cannot be read is left out and named."""
        files: list[File] = []
        lost: list[str] = []
        for part in parts:
            try:
                scope, about = self._scope(part.owner)
                path = self._file(kind, part)
            except InputError as error:
                lost.append(str(error))
                continue
            faults = partial(row_faults, kind, scope=scope)
            names = tuple(kind.schema.names)
            files.append(File(path, kind.schema, names, faults, kind.whole, about))
        usable, problems = self._looked_through.usable(files)
        problems += lost
        if not usable:
            return no_rows(kind_columns(kind), problems)
        # .../<run>/<kind>/<key>.parquet, .../<run>/<kind>.parquet, comparisons/<pair>/<key>.parquet
        up = 3 if kind.keyed and kind.owner == "run" else 2
        key = "parse_filename(filename, true) AS key, " if kind.keyed else ""
        name = f"files_{kind.name}"
        return Rows(
            f"(SELECT parse_path(filename)[-{up}] AS {OWNER[kind.owner]}, {key}"
            f"* EXCLUDE (filename) FROM {_read(name)})",
            {name: [str(file.path) for file in usable]},
            tuple(problems),
        )

    def samples(self, entries: Iterable[Entry]) -> Rows:
        """The samples of runs; runs may have other tasks, and tasks of one name but other kinds."""
        files: dict[tuple[bool, tuple[tuple[str, pa.DataType], ...]], list[File]] = defaultdict(
            list
        )
        types: dict[str, set[pa.DataType]] = defaultdict(set)
        problems: list[str] = []
        for entry in entries:
            schema = tables.stored_schema(entry.manifest)
            columns = tuple(name for name in schema.names if name != "thumbnail")
            labels = tuple((f.name, f.type) for f in schema if f.name.startswith("label_"))
            faults = partial(sample_faults, schema, tasks=entry.manifest.tasks)
            for name, kind in labels:
                types[name].add(kind)
            run = RunFiles(self._resolved.run(entry.run_id), entry.manifest)
            try:
                own = [
                    File(path, schema, columns, faults, about=entry.version)
                    for path in run.sample_files()
                ]
                usable, lost = self._looked_through.usable(own)
                problems += lost
                state = " ".join(file.state for file in own)
                if not lost and state not in self._whole:
                    run.require_ids()
                    self._whole.add(state)
            except InputError as error:  # the run was deleted since it was listed, or is broken
                problems.append(str(error))
                continue
            files[entry.manifest.grouped, labels] += usable
        selects: list[str] = []
        params: dict[str, list[str]] = {}
        for (grouped, labels), readable in files.items():
            if readable:
                name = f"files_samples_{len(params)}"
                params[name] = [str(file.path) for file in readable]
                names = [label for label, _ in labels]
                selects.append(_select_samples(names, types, name, grouped=grouped))
        if not selects:
            columns_of = {name: sql_type(min(kinds, key=str)) for name, kinds in types.items()}
            return no_rows(SAMPLE_COLUMNS | columns_of | {"thumbnail": "BLOB"}, problems)
        return Rows(f"({' UNION ALL BY NAME '.join(selects)})", params, tuple(problems))

    def _scope(self, owner: str) -> tuple[Scope, str]:
        """What the rows of a run, or of a pair, may speak of, and the identity of that."""
        ids = owner.split("~")
        version = " ".join(map(self.version, ids))
        before = self._scopes.get(owner)
        if before is None or before[0] != version:
            runs = [self.run(run_id) for run_id in ids]
            scope = runs[0].scope if len(runs) == 1 else self.pair(*runs).scope
            before = self._scopes[owner] = (version, scope)
        return before[1], version

    def _directory(self, kind: Kind, owner: str) -> Path:
        """The folder of a keyed kind; with ``.parquet`` the file of a single one."""
        if kind.owner == "pair":
            first, _, second = owner.partition("~")
            return self._resolved.pair(kind.name, first, second)
        folder = Path(f"{self._runs}/{check_id(owner)}/{kind.name}")
        # Most are what they are called; whatever is a link on the way must not lead out.
        if os.path.realpath(folder) != str(folder):
            inside(self._resolved.root, folder)
        return folder

    def _file(self, kind: Kind, part: Part) -> Path:
        directory = self._directory(kind, part.owner)
        file = (
            directory / f"{part.key}.parquet" if kind.keyed else directory.with_suffix(".parquet")
        )
        return inside(directory.parent, file) if file.is_symlink() else file


def _reason(error: BaseException) -> str:
    """Why a run cannot be listed, in one line."""
    if isinstance(error, InputError):
        return str(error)
    return str(InputError(f"cannot be read ({type(error).__name__}: {error})"))


def _fit(entries: Mapping[str, Entry], identities: Mapping[str, Identity]) -> bool:
    return entries.keys() == identities.keys() and all(
        (entry.state, entry.version) == identities[run_id] for run_id, entry in entries.items()
    )


def _read(name: str) -> str:
    return f"read_parquet(${name}, filename=true, hive_partitioning=false)"


def _select_samples(
    labels: Sequence[str], types: Mapping[str, set[pa.DataType]], name: str, *, grouped: bool
) -> str:
    """SELECT over the samples of runs with the same labels; text where other runs disagree.

    ``grouped``: whether the files have the columns of groups, which are null where they have not.
    """
    columns = []
    for label in map(identifier, labels):
        agreed = len(types[label[1:-1].replace('""', '"')]) == 1
        columns.append(label if agreed else f"CAST({label} AS VARCHAR) AS {label}")
    # .../<run>/samples/part-<start>.parquet, or .../<run>/samples.parquet of an older run
    owner = "parse_path(filename)"
    run_id = f"CASE WHEN {owner}[-1] = 'samples.parquet' THEN {owner}[-2] ELSE {owner}[-3] END"
    together = [
        column if grouped else f"CAST(NULL AS VARCHAR) AS {column}"
        for column in map(identifier, ("group", "image_digest"))
    ]
    listed = ", ".join(["sample_id", "split", "text", *together, *columns, "thumbnail"])
    return f"SELECT {run_id} AS run_id, {listed} FROM {_read(name)}"
