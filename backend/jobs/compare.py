"""``fusionscope compare``: CKA between the layers of different runs, for every pair that lacks it.

The work is cut into tasks, one pooling of one pair of runs; each writes its file when it is done,
so an interrupted command goes on where it stopped. A run that was replaced makes its comparisons
stale, which is the same as missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from backend.errors import InputError
from backend.jobs.measure import layers_of
from backend.jobs.sources import check_poolings, in_run
from backend.measures.suite.cross import PARAMETERS, cross_cka
from backend.measures.suite.parts import content_key
from backend.progress import SILENT, Progress
from backend.store import Run, RunPair, Store, assert_comparable, kinds
from backend.types import BLOCK, POOLINGS, LayerRef, Pooling

VERSION = 1
"""Raised whenever the same vectors would give other rows; part of every key."""


@dataclass(frozen=True)
class Task:
    """One file that a pair of runs lacks."""

    run_a: str
    run_b: str
    pooling: Pooling

    @property
    def key(self) -> str:
        """The key of the file."""
        return comparison_key(self.pooling)

    def __str__(self) -> str:
        return f"{self.run_a} ~ {self.run_b}: {self.pooling}"


def compare_runs(
    store: Store,
    run_ids: Sequence[str],
    *,
    poolings: Sequence[Pooling] | None = None,
    progress: Progress = SILENT,
) -> list[Task]:
    """Add what the pairs among ``run_ids`` lack; the tasks that were done.

    InputError for the first pair of :func:`compare_all` that failed, once everything else is done.
    """
    done, failed = compare_all(store, run_ids, poolings=poolings, progress=progress)
    for error in failed.values():
        raise error
    return done


def compare_all(
    store: Store,
    run_ids: Sequence[str],
    *,
    poolings: Sequence[Pooling] | None = None,
    progress: Progress = SILENT,
) -> tuple[list[Task], dict[str, InputError]]:
    """Add what the pairs among ``run_ids`` lack: the tasks that were done, {pair: why it was not}.

    A pair cannot be compared where one of its runs cannot be read, its samples differ (naming ids),
    or its vectors are missing (naming the command that makes them) or cannot be used; the others
    are. InputError for fewer than two runs and for an unknown pooling.
    """
    check_poolings(poolings)
    ids = tuple(dict.fromkeys(run_ids))
    if len(ids) < 2:
        raise InputError(
            "a comparison takes two or more different runs",
            hint="List them with: fusionscope runs --store DIR",
        )
    tasks: list[Task] = []
    done: list[Task] = []
    failed: dict[str, InputError] = {}
    for a, b in combinations(ids, 2):
        try:
            tasks += _missing(store, a, b, poolings)
        except InputError as error:
            failed[f"{a} ~ {b}"] = error
    for at, task in enumerate(tasks, 1):
        try:
            _perform(store, task)
            done.append(task)
        except InputError as error:
            failed.setdefault(f"{task.run_a} ~ {task.run_b}", error)
        progress.advance(at, len(tasks), str(task))
    return done, failed


def _missing(store: Store, a: str, b: str, poolings: Sequence[Pooling] | None) -> list[Task]:
    """What a pair lacks; InputError where it cannot be compared."""
    pair = store.pair(a, b)
    assert_comparable([pair.a, pair.b])
    present = pair.keys(kinds.COMPARISONS)
    tasks = [
        Task(a, b, pooling)
        for pooling in poolings or _shared_poolings(pair.a, pair.b)
        if comparison_key(pooling) not in present
    ]
    for task in tasks:
        for run in (pair.a, pair.b):
            _require_layers(run, task.pooling)
    return tasks


def comparison_key(pooling: Pooling) -> str:
    """The key under which a pair of runs keeps the CKA of one pooling."""
    return content_key("cka", pooling, {"version": VERSION, **PARAMETERS})


def _shared_poolings(a: Run, b: Run) -> list[Pooling]:
    shared = [p for p in POOLINGS if p in _layer_poolings(a) and p in _layer_poolings(b)]
    if not shared:
        raise InputError(
            f"runs {a.run_id} and {b.run_id} have no pooling in common",
            hint="Capture both with the same `pooling`.",
        )
    return shared


def _require_layers(run: Run, pooling: Pooling) -> None:
    """InputError, with what to do about it, where a run has no plain layer to compare."""
    layers = [ref for ref, own in run.manifest.captures if own == pooling and ref.site == BLOCK]
    captured = {ref for ref, own in run.captured() if own == pooling}
    if captured.isdisjoint(layers):
        ref = layers[0] if layers else LayerRef(run.streams[0].name, 0)
        run.vectors(ref.stream, ref, pooling)  # raises: the run knows the command best


def _layer_poolings(run: Run) -> set[Pooling]:
    """The poolings that any plain layer of a run has: only these are compared across runs."""
    return {pooling for ref, pooling in run.manifest.captures if ref.site == BLOCK}


def _perform(store: Store, task: Task) -> None:
    pair = store.pair(task.run_a, task.run_b)
    if task.key in pair.keys(kinds.COMPARISONS):
        return  # another process was faster
    with in_run(task.run_a):
        left = layers_of(pair.a, task.pooling)
    with in_run(task.run_b):
        right = layers_of(pair.b, task.pooling)
    _add(pair, task.key, cross_cka(left, right, (task.run_a, task.run_b)))


def _add(pair: RunPair, key: str, rows: pd.DataFrame) -> None:
    try:
        pair.add(kinds.COMPARISONS, rows, key)
    except InputError:
        if key not in pair.keys(kinds.COMPARISONS):
            raise
        # Another process has made the same file from the same vectors meanwhile.
