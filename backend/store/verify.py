"""Reading everything in a store and saying what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from backend.errors import InputError
from backend.progress import SILENT, Progress
from backend.store import tables, vectors
from backend.store.checkpoints import checkpoint_problems
from backend.store.kinds import NOWHERE, PLACE_COLUMNS, Kind, Place, kinds_of
from backend.store.pair import RunPair, stored_pairs
from backend.store.paths import DELETED_PREFIX, PARTIAL_PREFIX, is_id
from backend.store.reader import Store
from backend.store.run import Run
from backend.store.run_files import RunFiles
from backend.store.table_files import PairTables, TableFiles
from backend.types import BLOCK, LayerRef

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
        try:
            run = store.run(run_id)
        except InputError as error:
            findings.append(Finding(run_id, "run.json", str(error)))
            continue
        files = RunFiles(store.paths.run(run_id))
        for path, problem in _check_run(run, files):
            name = path.relative_to(files.paths.dir).as_posix()
            findings.append(Finding(run_id, name, problem))
    return [*findings, *_check_pairs(store)]


Problems = Iterator[tuple[Path, str]]


def _check_run(run: Run, files: RunFiles) -> Problems:
    ids = pa.array([], pa.string())
    try:
        paths = files.sample_files()
        for path in paths:
            tables.verify_pages(path, ["thumbnail"])
        ids = run.ids
    except InputError as error:
        # Without the samples nothing else can be judged.
        yield _blamed(error, files), str(error)
        return
    yield from _check_samples(run, files, ids)
    yield from _check_activations(run, files, ids)
    for kind in kinds_of("run"):
        places = _places(run)
        yield from _check_kind(kind, files, dict.fromkeys(kind.sides, places), run.n, ids)
        yield from _check_widths(kind, files, run)
    if run.checkpoint is not None:
        yield from checkpoint_problems(run.checkpoint)


def _blamed(error: InputError, files: RunFiles) -> Path:
    """The file that an error of reading names, or the samples as a whole."""
    path = Path(error.where or "")
    inside = path.is_relative_to(files.paths.dir) and path != files.paths.dir
    return path if inside else files.paths.samples


def _check_samples(run: Run, files: RunFiles, ids: pa.Array) -> Problems:
    schema = tables.stored_schema(run.manifest)
    for path, part in zip(files.sample_files(), files.ranges, strict=True):
        try:
            tables.verify_pages(path, [n for n in schema.names if n not in ("thumbnail",)])
            with tables.open_parquet(path) as file:
                names, types = file.schema_arrow.names, file.schema_arrow.types
                rows = file.metadata.num_rows
        except (InputError, ValueError) as error:
            yield path, str(error)
            continue
        if names != schema.names or types != schema.types:
            yield path, f"columns are {names}, run.json implies {schema.names}"
        elif rows != len(part):
            yield path, f"{rows} rows, run.json and the names of the parts imply {len(part)}"
    if len(pc.unique(ids)) != len(ids):
        yield files.sample_files()[0].parent, "a sample id occurs twice"


def _check_activations(run: Run, files: RunFiles, ids: pa.Array) -> Problems:
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


def _check_vectors(run: Run, path: Path, ref: LayerRef, ids: pa.Array) -> str:
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
        column, wanted = batch.column("sample_id"), ids.slice(at, len(batch))
        if not column.equals(wanted):
            row = next(i for i, (a, b) in enumerate(zip(column, wanted, strict=True)) if a != b)
            return f"row {at + row} is sample {column[row]}, the samples have {wanted[row]} there"
        at += len(batch)
    return ""


Places = dict[str, frozenset[Place]]
"""{side: the places that a run declares}."""


def _places(run: Run) -> frozenset[Place]:
    return frozenset((ref.stream, ref.layer, ref.site) for s in run.streams for ref in s.refs)


def _check_kind(
    kind: Kind, files: TableFiles, places: Places, n: int, ids: pa.Array | None
) -> Problems:
    """What is wrong with the tables of a kind: all that its entry among the kinds promises."""
    for key, path in files.files(kind).items():
        try:
            table = tables.checked(kind, files.table(kind, key))
        except (InputError, ValueError) as error:
            yield path, str(error)
            continue
        for side in kind.sides:
            declared = places[side] | ({NOWHERE} if side in kind.optional else set())
            columns = list(kind.place_columns(side))
            for row in table.group_by(columns).aggregate([]).select(columns).to_pylist():
                if tuple(row.values()) not in declared:
                    yield path, f"{_words(*row.values())} is not a layer of this run"
        for column in kind.samples if ids is not None else ():
            unknown = pc.sum(pc.invert(pc.is_in(table[column], value_set=ids))).as_py()
            if unknown:
                yield path, f"{unknown} rows of samples that the run does not have"
        for column in kind.counts:
            if len(table) and (most := pc.max(table[column]).as_py()) > n:
                yield path, f"{column} = {most}, but the run has {n} samples"


def _check_widths(kind: Kind, files: TableFiles, run: Run) -> Problems:
    """Rows whose numbers are not as many as their place is wide, in tables that are whole."""
    widths = {
        (ref.stream, ref.layer, ref.site): spec.width_of(ref)
        for spec in run.streams
        for ref in spec.refs
    }
    for key, path in files.files(kind).items() if kind.wide else ():
        try:
            rows = tables.checked(kind, files.table(kind, key)).to_pylist()
        except (InputError, ValueError):
            continue
        for row in rows:
            place = tuple(row[name] for name in PLACE_COLUMNS)
            wrong = [n for n, size in kind.wide if len(row[n]) != size * widths.get(place, -1)]
            if wrong and place in widths:
                yield path, f"{wrong[0]} of {_words(*place)} is not {widths[place]} numbers"
                break


def _words(stream: str, layer: int, site: str) -> str:
    return f"{stream} layer {layer if site in (BLOCK, '') else f'{layer}.{site}'}"


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
    first, second = sorted((pair.a, pair.b), key=lambda run: run.run_id)
    places = {"_a": _places(first), "_b": _places(second)}
    for kind in kinds_of("pair"):
        current = {files.file(kind, pair.stored_key(key)) for key in pair.keys(kind)}
        for path, problem in _check_kind(kind, files, places, min(first.n, second.n), None):
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
    for entry in sorted(os.scandir(store.paths.runs), key=lambda e: e.name):
        name = entry.name
        if name.startswith(DELETED_PREFIX):
            yield Finding("", name, "rest of a deleted run; it can be removed", "information")
        elif name.startswith(PARTIAL_PREFIX) and entry.is_dir():
            run_id = name.removeprefix(PARTIAL_PREFIX)
            if Path(entry.path, "replaced").is_dir() and run_id not in store.run_ids():
                problem = "a replacement was interrupted: the old run is in here, under replaced/"
                yield Finding(run_id, name, problem)
                continue
            problem = "unfinished work: being written, or interrupted; capture it again to go on"
            yield Finding(run_id, name, problem, "information")
        elif is_id(name) and entry.is_dir() and not Path(entry.path, "run.json").exists():
            problem = "run.json is missing: unfinished work, or a copy that was cut short"
            yield Finding(name, "", problem)
