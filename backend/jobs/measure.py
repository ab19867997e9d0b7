"""``fusionscope measure``: compute the measures that a run lacks and add them to the store.

The work is cut into tasks: one part of a preset for one pooling of one run. Each task writes its
file when it is done, so an interrupted command goes on where it stopped, and a new measure costs
its own part only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context

import numpy as np
import pandas as pd

from backend.errors import InputError
from backend.jobs.sources import (
    Sink,
    VectorSource,
    in_run,
    missing_poolings,
    read_poolings,
    source_poolings,
    stream_vectors,
)
from backend.measures.core.parallel import worker_count
from backend.measures.registry import PRESETS
from backend.measures.suite.compute import compute
from backend.measures.suite.layers import Layers
from backend.measures.suite.pairs import shared_spaces
from backend.measures.suite.parts import Part, measure_key, part_of, parts_of
from backend.measures.suite.rows import Row, tidy_frame
from backend.pooling import by_stream, of_stream
from backend.progress import SILENT, Progress
from backend.store import Run, Store, kinds
from backend.store.kinds import Kind
from backend.types import POOLINGS, Pooling


@dataclass(frozen=True)
class Task:
    """One file of measures that a run lacks."""

    run_id: str
    preset: str
    part: str
    pooling: str
    weight: int

    @property
    def key(self) -> str:
        """The key of the file."""
        return measure_key(self.preset, self.part, self.pooling)

    def __str__(self) -> str:
        return f"{self.run_id}: {self.part} of {self.pooling}"


def measure_store(
    store: Store,
    run_ids: Sequence[str] | None = None,
    *,
    preset: str = "default",
    poolings: Sequence[str] | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> list[Task]:
    """Add what the runs (default: all) lack of a preset; the tasks that were done.

    InputError for an unknown run, preset or pooling, for vectors that cannot be measured (naming
    run, stream and layer), once everything else is done, and for a process that was killed.
    """
    tasks = missing_in_store(store, run_ids, preset=preset, poolings=poolings)
    for error in perform_all(store, tasks, workers=workers, progress=progress).values():
        raise error
    return tasks


def missing_in_store(
    store: Store,
    run_ids: Sequence[str] | None = None,
    *,
    preset: str = "default",
    poolings: Sequence[str] | None = None,
) -> list[Task]:
    """What the runs (default: all) lack of a preset, run by run."""
    checked_poolings(preset, poolings)
    runs = [store.run(run_id) for run_id in run_ids or store.run_ids()]
    return [task for run in runs for task in missing_tasks(run, preset=preset, poolings=poolings)]


def perform_all(
    store: Store,
    tasks: Sequence[Task],
    *,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> dict[str, InputError]:
    """Do the tasks; ``progress`` is told their weights. {run: why one of its tasks failed first}.

    A task that cannot be done stops no other one. ``workers`` processes of one thread each share
    the tasks of several runs (default: one a core); a single run is measured in this process on all
    cores.
    """
    total = sum(task.weight for task in tasks)
    done = 0
    failed: dict[str, InputError] = {}

    def end(task: Task, work: Callable[[], None]) -> None:
        nonlocal done
        try:
            work()
        except InputError as error:
            failed.setdefault(task.run_id, error)
        done += task.weight
        progress.advance(done, total, str(task))

    runs = {task.run_id for task in tasks}
    count = min(workers or worker_count(), len(runs))
    if count < 2:
        for task in tasks:
            end(task, partial(perform, str(store.path), task))
        return failed
    with (
        one_thread_each(),
        # Ctrl-C reaches this process, which ends the others.
        ProcessPoolExecutor(
            count,
            get_context("spawn"),
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_IGN),
        ) as pool,
    ):
        futures = {pool.submit(perform, str(store.path), task): task for task in tasks}
        try:
            with unless_killed("measure", str(store.path)):
                for future in as_completed(futures):
                    end(futures[future], future.result)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def missing_tasks(
    run: Run, *, preset: str = "default", poolings: Sequence[str] | None = None
) -> list[Task]:
    """What a run lacks of a preset.

    Poolings of two streams (:mod:`backend.pooling`) are measured where they are asked for. A
    pooling without vectors is skipped with a warning that names the capture command. Where nothing
    but fitted probes is missing it lacks nothing: a run of an older version that keeps no vectors
    is whole without them.
    """
    wanted = checked_poolings(preset, poolings)
    lacking = lacking_parts(run, preset, wanted or ())
    measured = missing_poolings(
        run,
        wanted,
        lambda pooling: any(pooling == wanting for _, wanting in lacking),
    )
    return [
        Task(run.run_id, preset, name, pooling, part.weight)
        for (name, pooling), part in lacking.items()
        if pooling in measured
    ]


def lacking_parts(
    run: Run, preset: str, poolings: Sequence[str] = ()
) -> dict[tuple[str, str], Part]:
    """{(name, pooling): part} of a preset whose tables a run has not, with vectors or without.

    Of its own poolings, and of two streams those of ``poolings``.
    """
    present = {kind: run.keys(kind) for kind in (kinds.MEASURES, kinds.DRIVERS, kinds.PROBES)}
    captured = {pooling for _, pooling in run.captured()}
    possible = {pooling for _, pooling in run.manifest.captures}
    own = (pooling for pooling in POOLINGS if pooling in possible)
    lacking = {}
    every = dict.fromkeys((*own, *poolings))
    for part, pooling in [(p, of) for of in every for p in parts_of(preset) if p.measures_of(of)]:
        key = measure_key(preset, part.name, pooling)
        absent = [kind for kind in _kinds_of(part) if key not in present[kind]]
        if absent and (absent != [kinds.PROBES] or pooling in captured):
            lacking[part.name, pooling] = part
    if any(part.labelled for part in lacking.values()) and not run.labels():
        lacking = {at: part for at, part in lacking.items() if not part.labelled}
    return lacking


def perform(store: str, task: Task) -> None:
    """Compute one task and add its file to the store; nothing to do where the file is there."""
    run = Store(store).run(task.run_id)
    if not _is_missing(run, task):
        return  # another process was faster
    with in_run(run.run_id):
        layers = _cached_layers(store, run.run_id, run.manifest.to_json(), task.pooling)
        try:
            _add(run, part_of(task.preset, task.part), layers)
        except InputError:
            # The same key is the same content, whoever wrote it first.
            if _is_missing(run, task):
                raise


def _is_missing(run: Run, task: Task) -> bool:
    part = part_of(task.preset, task.part)
    return any(task.key not in run.keys(kind) for kind in _kinds_of(part))


def _kinds_of(part: Part) -> tuple[Kind, ...]:
    """The kinds of tables that a part has under its key."""
    optional = ((kinds.DRIVERS, part.drivers), (kinds.PROBES, part.probes))
    return (kinds.MEASURES, *(kind for kind, has in optional if has))


@lru_cache(maxsize=1)
def _cached_layers(store: str, run_id: str, manifest: str, pooling: str) -> Layers:
    """The vectors of the run that was measured last: tasks come run by run, pooling by pooling.

    ``manifest`` tells a run from another one that replaced it.
    """
    return layers_of(Store(store).run(run_id), pooling)


def measure_source(
    source: Sink,
    *,
    preset: str = "default",
    poolings: Sequence[Pooling] | None = None,
    keep_probes: bool = True,
) -> list[str]:
    """Measure a run that is still being written; the keys of what it lacked.

    Fitted probes are large beside measures: without ``keep_probes`` there are none.
    """
    check_preset(preset)
    keys = []
    for pooling in source_poolings(source, poolings):
        layers = layers_of(source, pooling)
        for part in _parts_for(preset, layers):
            key = measure_key(preset, part.name, pooling)
            wanted = [one for one in _kinds_of(part) if keep_probes or one is not kinds.PROBES]
            if part.measures_of(pooling) and any(key not in source.keys(one) for one in wanted):
                _add(source, part, layers, keep_probes=keep_probes)
                keys.append(key)
    return keys


def measure_frames(
    source: VectorSource, *, preset: str = "default", poolings: Sequence[Pooling] | None = None
) -> Iterator[tuple[str, pd.DataFrame]]:
    """(key, tidy rows) of each part and pooling, for whoever keeps them elsewhere."""
    check_preset(preset)
    for pooling in source_poolings(source, poolings):
        layers = layers_of(source, pooling)
        for part in _parts_for(preset, layers):
            if part.measures_of(pooling):
                rows = tidy_frame(compute(part, layers).rows)
                yield measure_key(preset, part.name, pooling), rows


def check_preset(preset: str) -> None:
    """InputError listing the presets there are, for a name that is none of them."""
    if preset not in PRESETS:
        raise InputError(
            f"unknown preset {preset!r}",
            field="preset",
            hint=f"Presets of this version: {', '.join(sorted(PRESETS))}.",
        )


def checked_poolings(preset: str, wanted: Sequence[str] | None) -> tuple[str, ...] | None:
    """The poolings as the store writes them, None for all; InputError for any that is not in a
    preset that there is.
    """
    check_preset(preset)
    read = read_poolings(wanted)
    for pooling in read or ():
        if by_stream(pooling) and not any(part.measures_of(pooling) for part in parts_of(preset)):
            raise InputError(
                f"the preset {preset} has no pooling of two streams",
                field="pooling",
                hint="The preset default has.",
            )
    return read


def layers_of(source: VectorSource, pooling: str) -> Layers:
    """Everything captured under one pooling, or one of two streams, read once for all parts."""
    return Layers(
        {
            ref: vectors
            for spec in source.streams
            if (own := of_stream(pooling, spec.name))
            for ref, vectors in stream_vectors(source, spec.name, own).items()
        },
        pooling,
        {spec.name: spec.modality for spec in source.streams},
        labels=source.labels(),
        groups=source.groups(),
        spaces=shared_spaces(source.streams),
    )


def _parts_for(preset: str, layers: Layers) -> tuple[Part, ...]:
    """The parts of a preset that these layers can have."""
    return tuple(part for part in parts_of(preset) if layers.labels or not part.labelled)


def _add(sink: Sink, part: Part, layers: Layers, *, keep_probes: bool = True) -> None:
    key = measure_key(part.preset, part.name, layers.pooling)
    absent = [kind for kind in _kinds_of(part) if key not in sink.keys(kind)]
    table = compute(part, layers)
    made: dict[Kind, pd.DataFrame] = {}
    if kinds.DRIVERS in absent and table.drivers is not None:
        made[kinds.DRIVERS] = _named(table.drivers, sink, layers.pooling)
    if kinds.PROBES in absent and keep_probes:
        made[kinds.PROBES] = _stored_probes(table.probes)
    if kinds.MEASURES in absent:
        made[kinds.MEASURES] = tidy_frame(table.rows)
    for kind, frame in made.items():
        if key not in sink.keys(kind):  # another process may have been faster
            sink.add(kind, frame, key)


def _stored_probes(rows: Iterable[Row]) -> pd.DataFrame:
    """Fitted probes with their arrays as bytes, as the store keeps them."""
    frame = pd.DataFrame([*rows], columns=kinds.PROBES.schema.names)
    for name, dtype in kinds.PROBE_NUMBERS.items():
        frame[name] = [np.asarray(values, dtype).tobytes() for values in frame[name]]
    return frame


def _named(driving: pd.DataFrame, source: VectorSource, pooling: str) -> pd.DataFrame:
    """Driving samples by id, as the store keeps them."""
    ids = source.sample_ids()
    return driving.assign(
        pooling=pooling,
        sample_id=ids[driving["sample"].to_numpy()],
    ).drop(columns="sample")


@contextmanager
def unless_killed(what: str, where: str) -> Iterator[None]:
    """A process of a pool that ended without a word as an InputError: what it made before stays."""
    try:
        yield
    except BrokenProcessPool as error:
        raise InputError(
            f"a process of `{what}` was killed, most likely for want of memory",
            where=where,
            hint="What was made is kept: give the command again, with fewer `workers`.",
        ) from error


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes started inside compute on one thread.

    By environment, before numpy or torch is loaded: a later setting does not reach every pool of
    threads (torch's backward pass has its own), and processes with more threads than cores spin
    against each other.
    """
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


__all__ = [
    "Task",
    "measure_frames",
    "measure_source",
    "measure_store",
    "missing_tasks",
    "one_thread_each",
]
