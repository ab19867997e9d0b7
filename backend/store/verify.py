"""Reading everything in a store and saying what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from backend.errors import InputError, printable
from backend.progress import SILENT, Progress
from backend.store import tables, vectors
from backend.store.checkpoints import checkpoint_problems
from backend.store.checks import Scope, row_faults, run_scope, sample_faults
from backend.store.kinds import Kind, kinds_of
from backend.store.pair import RunPair, stored_pairs
from backend.store.paths import DELETED_PREFIX, PARTIAL_PREFIX, is_id, names_in
from backend.store.reader import Store
from backend.store.run import Run
from backend.store.run_files import RunFiles
from backend.store.table_files import PairTables, TableFiles
from backend.store.wall import FAULTS
from backend.types import LayerRef

_ROWS = 1024


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (or, as ``information``, worth knowing) about a store.

    ``file`` is relative to the run's directory (of a comparison, whose ``run_id`` is empty, to the
    store's), empty where the whole run is meant.
    """

    run_id: str
    file: str
    problem: str
    kind: Literal["problem", "information"] = "problem"

    def __str__(self) -> str:
        return ": ".join(part for part in (self.run_id, self.file, self.problem) if part)


def verify(store: Store, progress: Progress = SILENT) -> list[Finding]:
    """Read every byte of every run (page checksums included) and report what does not hold.

    ``progress`` is told the runs done, and of which run comes next. Memory is bounded by a few
    hundred rows and one run's sample ids. An empty list means that all is well.
    """
    findings = list(_leftovers(store))
    run_ids = store.run_ids()
    for done, run_id in enumerate(run_ids):
        progress.advance(done, len(run_ids), run_id)
        own = list(_of_run(store, run_id))
        if store.source.version(run_id):  # else it was deleted meanwhile
            findings += own
    return [*findings, *_check_pairs(store)]


def _of_run(store: Store, run_id: str) -> Iterator[Finding]:
    """What is wrong with one run."""
    try:
        run = store.run(run_id)
        files = RunFiles(store.paths.run(run_id), run.manifest)
    except FAULTS as error:
        yield Finding(run_id, "run.json", str(error))
        return
    try:
        for path, problem in _check_run(run, files):
            name = os.path.relpath(path, files.paths.dir)
            yield Finding(run_id, printable(name), problem)
    except OSError as error:
        yield Finding(run_id, "", f"cannot be read ({error.strerror or error})")


Problems = Iterator[tuple[Path, str]]


def _check_run(run: Run, files: RunFiles) -> Problems:
    try:
        parts = list(_ids(files, tables.stored_schema(run.manifest)))
    except InputError as error:
        # Without the samples nothing else can be judged.
        yield _blamed(error, files), str(error)
        return
    ids = pa.chunked_array([chunk for part in parts for chunk in part.chunks], pa.string())
    if pc.count_distinct(ids).as_py() != len(ids):
        yield files.sample_files()[0].parent, "a sample id occurs twice"
    yield from _check_samples(run, files)
    yield from _check_activations(run, files, ids)
    scope = run_scope(run.manifest, lambda: ids)
    for kind in kinds_of("run"):
        yield from _check_kind(kind, files, scope)
    if run.checkpoint is not None:
        yield from checkpoint_problems(run.checkpoint)


def _blamed(error: InputError, files: RunFiles) -> Path:
    """The file that an error of reading names, or the samples as a whole."""
    path = Path(error.where or "")
    inside = path.is_relative_to(files.paths.dir) and path != files.paths.dir
    return path if inside else files.paths.samples


def _ids(files: RunFiles, schema: pa.Schema) -> Iterator[pa.ChunkedArray]:
    """The sample ids of each part, all of whose pictures were read."""
    for path in files.sample_files():
        tables.verify_pages(path, ["thumbnail"])
        yield tables.read_parquet(path, ["sample_id"], expected=schema).column(0)


def _check_samples(run: Run, files: RunFiles) -> Problems:
    schema = tables.stored_schema(run.manifest)
    columns = [name for name in schema.names if name != "thumbnail"]
    for path, part in zip(files.sample_files(), files.ranges, strict=True):
        try:
            rows = 0
            with tables.open_parquet(path) as file:
                tables.check_columns(tables.schema_of(file, path), schema, path)
            for batch in tables.iter_batches(path, columns, _ROWS):
                rows += len(batch)
                table = pa.Table.from_batches([batch])
                for fault in sample_faults(schema, table, run.manifest.tasks):
                    raise InputError(fault)
        except InputError as error:
            yield path, str(error)
            continue
        if rows != len(part):
            yield path, f"{rows} rows, run.json and the names of the parts imply {len(part)}"


def _check_activations(run: Run, files: RunFiles, ids: pa.ChunkedArray) -> Problems:
    folder = files.paths.activations
    if not folder.is_dir():
        return
    captured = files.captured()
    expected: set[Path] = set()
    for ref, pooling in run.manifest.captures:
        paths = files.vector_files(ref, pooling)
        expected.update(paths)
        if (ref, pooling) not in captured:
            yield (paths[0].parent if run.manifest.parts else paths[0]), "layer is missing"
            continue
        for path, part in zip(paths, files.ranges, strict=True):
            try:
                problem = _check_vectors(run, path, ref, ids.slice(part.start, len(part)))
            except InputError as error:
                problem = str(error) if path.exists() else "file is missing"
            if problem:
                yield path, problem
    for directory, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if (path := Path(directory, name)) not in expected:
                yield path, "no part of a layer that run.json names"


def _check_vectors(run: Run, path: Path, ref: LayerRef, ids: pa.ChunkedArray) -> str:
    """What is wrong with the vectors of these samples; empty if nothing."""
    with tables.open_parquet(path) as file:
        names, types = file.schema_arrow.names, file.schema_arrow.types
        rows = file.metadata.num_rows
    if names != ["sample_id", "vector"]:
        return f"columns are {names}"
    try:
        width = run.manifest.stream(ref.stream).width_of(ref)
        vectors.check_type(types[1], width, run.manifest.dtype)
    except ValueError as error:
        return str(error)
    if rows != len(ids):
        return f"{rows} rows, its samples are {len(ids)}"
    at = 0
    for batch in tables.iter_batches(path, ["sample_id", "vector"], _ROWS):
        column = batch.column("sample_id")
        wanted = ids.slice(at, len(batch)).combine_chunks()
        if not column.equals(wanted):
            row = next(i for i, (a, b) in enumerate(zip(column, wanted, strict=True)) if a != b)
            return f"row {at + row} is sample {column[row]}, the samples have {wanted[row]} there"
        at += len(batch)
    return ""


def _check_kind(kind: Kind, files: TableFiles, scope: Scope) -> Problems:
    """What is wrong with the tables of a kind: all that its entry among the kinds promises."""
    try:
        present = files.files(kind)
    except InputError as error:
        yield files.directory(kind), str(error)
        return
    for key, path in present.items():
        try:
            for fault in row_faults(kind, files.table(kind, key), scope):
                yield path, fault
        except InputError as error:
            yield path, str(error)


def _check_pairs(store: Store) -> Iterator[Finding]:
    """Tables of pairs that cannot be read, and those of runs that are gone or were replaced."""
    present = store.run_ids()
    pairs = {ids for kind in kinds_of("pair") for ids in stored_pairs(store.paths, kind)}
    for ids in sorted(pairs):
        gone = [run_id for run_id in ids if run_id not in present]
        folder = "~".join(ids)
        if gone:
            problem = f"compares run {gone[0]}, which is gone; it can be removed"
            for kind in kinds_of("pair"):
                if ids in stored_pairs(store.paths, kind):
                    yield Finding("", f"{kind.name}/{folder}", problem, "information")
            continue
        try:
            pair = store.pair(*ids)
        except InputError as error:
            if all(_readable(store, run_id) for run_id in ids):
                yield Finding("", folder, str(error))
            continue
        yield from _check_pair(pair, PairTables(store.paths, *ids), store.path)


def _check_pair(pair: RunPair, files: PairTables, root: Path) -> Iterator[Finding]:
    stale = {(item.kind.name, item.stored_key): item for item in pair.stale()}
    for item in stale.values():
        path = files.file(item.kind, item.stored_key)
        problem = f"made from {' and '.join(item.replaced)} before it was replaced; can be removed"
        yield Finding("", path.relative_to(root).as_posix(), problem, "information")
    for kind in kinds_of("pair"):
        current = {files.file(kind, pair.stored_key(key)) for key in pair.keys(kind)}
        for path, problem in _check_kind(kind, files, pair.scope):
            if path in current:
                yield Finding("", path.relative_to(root).as_posix(), problem)


def _readable(store: Store, run_id: str) -> bool:
    try:
        store.run(run_id)
    except InputError:
        return False  # reported where the run itself is checked
    return True


def _leftovers(store: Store) -> Iterator[Finding]:
    if not store.paths.runs.is_dir():
        return
    for name in sorted(names_in(store.paths.runs)):
        entry = store.paths.runs / name
        if name.startswith(DELETED_PREFIX):
            yield Finding("", name, "rest of a deleted run; it can be removed", "information")
        elif name.startswith(PARTIAL_PREFIX) and entry.is_dir():
            run_id = name.removeprefix(PARTIAL_PREFIX)
            if (entry / "replaced").is_dir() and run_id not in store.run_ids():
                problem = "a replacement was interrupted: the old run is in here, under replaced/"
                yield Finding(run_id, name, problem)
                continue
            problem = "unfinished work: being written, or interrupted; capture it again to go on"
            yield Finding(run_id, name, problem, "information")
        elif name.startswith("."):
            continue
        elif not is_id(name):
            yield Finding(printable(name), "", "its name is not valid as a run id")
        elif entry.is_dir() and not os.path.lexists(entry / "run.json"):
            problem = "run.json is missing: unfinished work, or a copy that was cut short"
            yield Finding(name, "", problem)
