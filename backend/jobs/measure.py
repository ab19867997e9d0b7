"""``fusionscope measure``: compute the measures that a run lacks and add them to the store.

The work is cut into tasks: one part of a preset for one pooling of one run. Each task writes its
file when it is done, so an interrupted command goes on where it stopped, and a new measure costs
its own part only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context

import pandas as pd

from backend.errors import InputError
from backend.jobs.sources import (
    Sink,
    VectorSource,
    content_key,
    in_run,
    missing_poolings,
    source_poolings,
    stream_vectors,
)
from backend.measures.core.parallel import worker_count
from backend.measures.suite.parts import PRESETS
from backend.measures.suite.presets import Layers, Part, parts_of
from backend.store import Run, Store
from backend.types import POOLINGS, Pooling

VERSION = 3
"""Raised whenever the same vectors would give other rows; part of every key."""


@dataclass(frozen=True)
class Task:
    """One file of measures that a run lacks."""

    run_id: str
    preset: str
    part: str
    pooling: Pooling
    weight: int

    @property
    def key(self) -> str:
        """The key of the file."""
        return measure_key(self.preset, self.part, self.pooling)


Report = Callable[[Task], None]
"""Called after every finished task."""


def measure_store(
    store: Store,
    run_ids: Sequence[str] | None = None,
    *,
    preset: str = "default",
    poolings: Sequence[Pooling] | None = None,
    workers: int | None = None,
    report: Report | None = None,
) -> list[Task]:
    """Add what the runs (default: all) lack of a preset; the tasks that were done.

    InputError for an unknown run, preset or pooling, and for vectors that cannot be measured
    (naming run, stream and layer): what other tasks have finished is kept.
    """
    tasks = missing_in_store(store, run_ids, preset=preset, poolings=poolings)
    perform_all(store, tasks, workers=workers, report=report)
    return tasks


def missing_in_store(
    store: Store,
    run_ids: Sequence[str] | None = None,
    *,
    preset: str = "default",
    poolings: Sequence[Pooling] | None = None,
) -> list[Task]:
    """What the runs (default: all) lack of a preset, run by run."""
    check_preset(preset)
    runs = [store.run(run_id) for run_id in run_ids or store.run_ids()]
    return [task for run in runs for task in missing_tasks(run, preset=preset, poolings=poolings)]


def perform_all(
    store: Store,
    tasks: Sequence[Task],
    *,
    workers: int | None = None,
    report: Report | None = None,
) -> None:
    """Do the tasks.

    ``workers`` processes of one thread each share the tasks of several runs (default: one a core);
    a single run is measured in this process on all cores.
    """
    runs = {task.run_id for task in tasks}
    count = min(workers or worker_count(), len(runs))
    if count < 2:
        for task in tasks:
            perform(str(store.path), task)
            if report:
                report(task)
        return
    with (
        one_thread_each(),
        ProcessPoolExecutor(count, get_context("spawn")) as pool,
    ):
        futures = {pool.submit(perform, str(store.path), task): task for task in tasks}
        try:
            for future in as_completed(futures):
                future.result()
                if report:
                    report(futures[future])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def missing_tasks(
    run: Run, *, preset: str = "default", poolings: Sequence[Pooling] | None = None
) -> list[Task]:
    """What a run lacks of a preset.

    A pooling without vectors is skipped with a warning that names the capture command.
    """
    check_preset(preset)
    present, driving = run.measure_keys(), run.driver_keys()
    parts = [(part, p) for p in POOLINGS for part in parts_of(preset) if p in part.poolings]
    lacking = {
        (part.name, pooling): part
        for part, pooling in parts
        if (key := measure_key(preset, part.name, pooling)) not in present
        or (part.drivers and key not in driving)
    }
    if any(part.labelled for part in lacking.values()) and not run.labels():
        lacking = {at: part for at, part in lacking.items() if not part.labelled}
    wanted = missing_poolings(
        run,
        poolings,
        lambda pooling: any(pooling == one for _, one in lacking),
    )
    return [
        Task(run.run_id, preset, name, pooling, part.weight)
        for (name, pooling), part in lacking.items()
        if pooling in wanted
    ]


def perform(store: str, task: Task) -> None:
    """Compute one task and add its file to the store; nothing to do where the file is there."""
    run = Store(store).run(task.run_id)
    if not _is_missing(run, task):
        return  # another process was faster
    with in_run(run.run_id):
        layers = _cached_layers(store, run.run_id, run.manifest.to_json(), task.pooling)
        try:
            _add(run, task.preset, _part(task.preset, task.part), layers)
        except InputError:
            # The same key is the same content, whoever wrote it first.
            if _is_missing(run, task):
                raise


def _is_missing(run: Run, task: Task) -> bool:
    drivers = _part(task.preset, task.part).drivers
    return task.key not in run.measure_keys() or (drivers and task.key not in run.driver_keys())


@lru_cache(maxsize=1)
def _cached_layers(store: str, run_id: str, manifest: str, pooling: Pooling) -> Layers:
    """The vectors of the run that was measured last: tasks come run by run, pooling by pooling.

    ``manifest`` tells a run from another one that replaced it.
    """
    return layers_of(Store(store).run(run_id), pooling)


def measure_source(
    source: Sink,
    *,
    preset: str = "default",
    poolings: Sequence[Pooling] | None = None,
) -> list[str]:
    """Measure a run that is still being written and holds no measures yet; the keys written."""
    check_preset(preset)
    keys = []
    for pooling in source_poolings(source, poolings):
        layers = layers_of(source, pooling)
        for part in _parts_for(preset, layers):
            if pooling in part.poolings:
                keys.append(_add(source, preset, part, layers))
    return keys


def measure_frames(
    source: VectorSource, *, preset: str = "default", poolings: Sequence[Pooling] | None = None
) -> Iterator[tuple[str, pd.DataFrame]]:
    """(key, tidy rows) of each part and pooling, for whoever keeps them elsewhere."""
    check_preset(preset)
    for pooling in source_poolings(source, poolings):
        layers = layers_of(source, pooling)
        for part in _parts_for(preset, layers):
            if pooling in part.poolings:
                yield measure_key(preset, part.name, pooling), part.compute(layers)[0]


def measure_key(preset: str, part: str, pooling: Pooling) -> str:
    """The key under which a store keeps a part of a preset for a pooling."""
    parameters = dict(_part(preset, part).parameters)
    return content_key(f"{preset}-{part}", pooling, {"version": VERSION, **parameters})


def check_preset(preset: str) -> None:
    """InputError listing the presets there are, for a name that is none of them."""
    if preset not in PRESETS:
        raise InputError(
            f"unknown preset {preset!r}",
            where="preset",
            hint=f"Presets of this version: {', '.join(sorted(PRESETS))}.",
        )


def layers_of(source: VectorSource, pooling: Pooling) -> Layers:
    """Everything captured under one pooling, read once for all parts."""
    return Layers(
        {
            ref: vectors
            for spec in source.streams
            for ref, vectors in stream_vectors(source, spec.name, pooling).items()
        },
        pooling,
        {spec.name: spec.modality for spec in source.streams},
        labels=source.labels(),
    )


def _parts_for(preset: str, layers: Layers) -> tuple[Part, ...]:
    """The parts of a preset that these layers can have."""
    return tuple(part for part in parts_of(preset) if layers.labels or not part.labelled)


def _part(preset: str, name: str) -> Part:
    return next(part for part in parts_of(preset) if part.name == name)


def _add(sink: Sink, preset: str, part: Part, layers: Layers) -> str:
    key = measure_key(preset, part.name, layers.pooling)
    frame, driving = part.compute(layers)
    if driving is not None and key not in sink.driver_keys():
        sink.add_drivers(key, _named(driving, sink, layers.pooling))
    if key not in sink.measure_keys():
        sink.add_measures(key, frame)
    return key


def _named(driving: pd.DataFrame, source: VectorSource, pooling: Pooling) -> pd.DataFrame:
    """Driving samples by id, as the store keeps them."""
    ids = source.sample_ids()
    return driving.assign(
        pooling=pooling,
        sample_id=ids[driving["sample"].to_numpy()],
    ).drop(columns="sample")


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
    "measure_key",
    "measure_source",
    "measure_store",
    "missing_tasks",
    "one_thread_each",
]
