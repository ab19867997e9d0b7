"""Reading everything in a store and saying what is wrong with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.errors import InputError
from backend.store import tables
from backend.store.pair import RunPair, stored_pairs
from backend.store.paths import (
    DELETED_PREFIX,
    PARTIAL_PREFIX,
    activation_name,
    parse_activation_name,
)
from backend.store.reader import Store
from backend.store.run import Run
from backend.types import BLOCK


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


def verify(store: Store, progress: Callable[[str], None] | None = None) -> list[Finding]:
    """Read every byte of every run (page checksums included) and report what does not hold.

    ``progress`` is called with each run id before it is read. Memory is bounded by the largest
    row group and one run's sample ids. An empty list means that all is well.
    """
    findings = list(_leftovers(store))
    for run_id in store.run_ids():
        if progress is not None:
            progress(run_id)
        try:
            run = store.run(run_id)
        except InputError as error:
            findings.append(Finding(run_id, "run.json", str(error)))
            continue
        findings += [Finding(run_id, file, problem) for file, problem in _check_run(run)]
    return [*findings, *_check_pairs(store)]


Problems = Iterator[tuple[str, str]]


def _check_run(run: Run) -> Problems:
    try:
        samples = _whole(run.paths.samples, tables.samples_schema(run.manifest))
    except InputError as error:
        yield "samples.parquet", str(error)
        return
    ids = samples["sample_id"].combine_chunks()
    if len(ids) != run.n:
        yield "samples.parquet", f"{len(ids)} rows, run.json says {run.n}"
    if len(pc.unique(ids)) != len(ids):
        yield "samples.parquet", "a sample id occurs twice"
    yield from _check_activations(run, ids)
    yield from _check_measures(run)
    yield from _check_drivers(run, ids)
    yield from _check_projections(run, ids)
    if run.paths.scores.exists():
        try:
            tables.read_checked(run.paths.scores, tables.SCORES)
        except InputError as error:
            yield "scores.parquet", str(error)
    if run.paths.training_measures.exists():
        try:
            tables.training_table(tables.read_checked(run.paths.training_measures, tables.TRAINING))
        except (InputError, ValueError) as error:
            yield run.paths.training_measures.name, str(error)
    if run.checkpoint is not None:
        yield from _check_checkpoint(run.checkpoint)


def _check_activations(run: Run, ids: pa.Array) -> Problems:
    if not run.paths.activations.is_dir():
        return
    present = set()
    for path in sorted(run.paths.activations.iterdir()):
        name = f"activations/{path.name}"
        parsed = parse_activation_name(path.stem) if path.suffix == ".parquet" else None
        specs = [] if parsed is None else [s for s in run.streams if s.name == parsed[0].stream]
        if parsed is None or not specs or parsed[0] not in specs[0].refs:
            yield name, "not a layer of this run's streams"
            continue
        ref, pooling = parsed
        present.add(parsed)
        if pooling not in run.manifest.poolings:
            yield name, f"pooling {pooling} is not in run.json"
        elif pooling not in specs[0].poolings_of(ref):
            yield name, f"run.json says that this layer has no {pooling}"
        try:
            problem = _check_vectors(path, ids, specs[0].width_of(ref), run.manifest.dtype)
        except InputError as error:
            problem = str(error)
        if problem:
            yield name, problem
    for ref, pooling in run.manifest.captures:
        if (ref, pooling) not in present:
            yield f"activations/{activation_name(ref, pooling)}.parquet", "file is missing"


def _check_vectors(path: Path, ids: pa.Array, width: int, dtype: str) -> str:
    """What is wrong with one layer's file; empty if nothing."""
    kind = tables.vector_type(width, dtype)
    with tables.open_parquet(path) as file:
        names, types = file.schema_arrow.names, file.schema_arrow.types
        rows = file.metadata.num_rows
    if names != ["sample_id", "vector"]:
        return f"columns are {names}"
    if types[1] != kind:
        return f"vectors are {types[1]}, run.json says {kind}"
    if rows != len(ids):
        return f"{rows} rows, samples.parquet has {len(ids)}"
    at = 0
    for column in tables.iter_row_groups(path, "sample_id"):
        expected = ids.slice(at, len(column))
        if not pa.chunked_array([expected]).equals(column):
            found, wanted = column.to_pylist(), expected.to_pylist()
            row = next(i for i, (a, b) in enumerate(zip(found, wanted, strict=True)) if a != b)
            return f"row {at + row} is sample {found[row]!r}, samples.parquet has {wanted[row]!r}"
        at += len(column)
    for _ in tables.iter_row_groups(path, "vector"):
        pass  # reading verifies the checksums
    return ""


def _check_measures(run: Run) -> Problems:
    places = _places(run)
    for key in run.measure_keys():
        problems = _check_table(run.paths.measure(key), (places, places | {_NOWHERE}), run.n)
        yield from ((f"measures/{key}.parquet", problem) for problem in problems)


Place = tuple[str, int, str]
"""Stream, layer and site as the keyed tables write them."""

Sides = tuple[frozenset[Place], frozenset[Place]]

_NOWHERE: Place = ("", -1, "")  # the second place of a measure of one layer


def _places(run: Run) -> frozenset[Place]:
    return frozenset((ref.stream, ref.layer, ref.site) for s in run.streams for ref in s.refs)


def _check_table(path: Path, places: Sides, n: int) -> Iterator[str]:
    """What is wrong with measures between those places, of either side, of n samples."""
    try:
        table = tables.read_checked(path, tables.MEASURES)
        tables.measures_table(table)
    except (InputError, ValueError) as error:
        yield str(error)
        return
    yield from _unknown_layers(table, places)
    if len(table) and pc.max(table["n"]).as_py() > n:
        yield f"n = {pc.max(table['n'])}, but the run has {n} samples"


def _check_pairs(store: Store) -> Iterator[Finding]:
    """Comparisons that cannot be read, and those of runs that are gone or were replaced."""
    present = store.run_ids()
    for ids in stored_pairs(store.paths):
        folder = f"comparisons/{'~'.join(ids)}"
        gone = [run_id for run_id in ids if run_id not in present]
        if gone:
            problem = f"compares run {gone[0]}, which is gone; it can be removed"
            yield Finding("", folder, problem, "information")
            continue
        try:
            pair = store.pair(*ids)
        except InputError as error:
            if all(_readable(store, run_id) for run_id in ids):
                yield Finding("", folder, str(error))
            continue
        yield from _check_pair(pair, folder)


def _check_pair(pair: RunPair, folder: str) -> Iterator[Finding]:
    for stale in pair.stale():
        problem = f"made from {' and '.join(stale.replaced)} before it was replaced; can be removed"
        yield Finding("", f"{folder}/{stale.path.name}", problem, "information")
    places = _places(pair.a), _places(pair.b)
    for key in pair.measure_keys():
        path = pair.path(key)
        for problem in _check_table(path, places, min(pair.a.n, pair.b.n)):
            yield Finding("", f"{folder}/{path.name}", problem)


def _readable(store: Store, run_id: str) -> bool:
    try:
        store.run(run_id)
    except InputError:
        return False  # reported where the run itself is checked
    return True


def _unknown_layers(table: pa.Table, places: Sides) -> Iterator[str]:
    for side, declared in zip(("a", "b"), places, strict=True):
        columns = [f"stream_{side}", f"layer_{side}", f"site_{side}"]
        named = table.group_by(columns).aggregate([]).select(columns)
        for stream, layer, site in zip(*(column.to_pylist() for column in named), strict=True):
            if (stream, layer, site) not in declared:
                label = layer if site in (BLOCK, "") else f"{layer}.{site}"
                yield f"{stream} layer {label} is not a layer of this run"


def _check_drivers(run: Run, ids: pa.Array) -> Problems:
    for key in run.driver_keys():
        name = f"drivers/{key}.parquet"
        try:
            table = tables.read_checked(run.paths.driver(key), tables.DRIVERS)
            tables.drivers_table(table)
        except (InputError, ValueError) as error:
            yield name, str(error)
            continue
        places = _places(run)
        yield from ((name, problem) for problem in _unknown_layers(table, (places, places)))
        yield from _unknown_samples(name, table, ids)


def _unknown_samples(name: str, table: pa.Table, ids: pa.Array) -> Problems:
    unknown = table.filter(pc.invert(pc.is_in(table["sample_id"], value_set=ids)))
    if len(unknown):
        yield name, f"{len(unknown)} rows of samples that the run does not have"


def _check_projections(run: Run, ids: pa.Array) -> Problems:
    for key in run.projection_keys():
        name = f"projections/{key}.parquet"
        try:
            table = tables.read_checked(run.paths.projection(key), tables.PROJECTIONS)
        except InputError as error:
            yield name, str(error)
            continue
        yield from _unknown_samples(name, table, ids)
        for axis in ("x", "y"):
            if not np.isfinite(table[axis].to_numpy()).all():
                yield name, f"column {axis} holds NaN or infinite values"


def _check_checkpoint(directory: Path) -> Problems:
    weights = sorted(directory.glob("*.safetensors"))
    if not (directory / "config.json").is_file():
        yield "checkpoint/config.json", "file is missing"
    if not weights:
        yield "checkpoint", "no safetensors file"
    for path in weights:
        if problem := _check_safetensors(path):
            yield f"checkpoint/{path.name}", problem


def _check_safetensors(path: Path) -> str:
    """What is wrong with the file's layout: 8 bytes of header length, JSON header, then data."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if size < 8 or length > size - 8:
            return "truncated safetensors header"
        try:
            header = json.loads(handle.read(length))
        except ValueError:
            return "unreadable safetensors header"
    tensors = [value for key, value in header.items() if key != "__metadata__"]
    end = max((value["data_offsets"][1] for value in tensors), default=0)
    return "" if size == 8 + length + end else f"{size} bytes, expected {8 + length + end}"


def _whole(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a file a row group at a time, thumbnails only checked; the rest is returned."""
    with tables.open_parquet(path) as file:
        names, types = file.schema_arrow.names, file.schema_arrow.types
    if names != schema.names or types != schema.types:
        raise InputError(f"columns are {names}, run.json implies {schema.names}", where=str(path))
    for _ in tables.iter_row_groups(path, "thumbnail"):
        pass
    return tables.read_parquet(path, [name for name in names if name != "thumbnail"])


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
