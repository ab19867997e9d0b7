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

    InputError, before anything is computed, for fewer than two runs, for runs whose samples differ
    (naming ids), and for vectors that are missing (naming the command that makes them); later for
    vectors that cannot be compared: what other tasks have finished is kept.
    """
    tasks = missing_comparisons(store, run_ids, poolings=poolings)
    for done, task in enumerate(tasks, 1):
        _perform(store, task)
        progress.advance(done, len(tasks), str(task))
    return tasks


def missing_comparisons(
    store: Store, run_ids: Sequence[str], *, poolings: Sequence[Pooling] | None = None
) -> list[Task]:
    """What the pairs among ``run_ids`` lack; errors as in :func:`compare_runs`."""
    check_poolings(poolings)
    runs = [store.run(run_id) for run_id in dict.fromkeys(run_ids)]
    if len(runs) < 2:
        raise InputError(
            "a comparison takes two or more different runs",
            hint="List them with: fusionscope runs --store DIR",
        )
    assert_comparable(runs)
    tasks = [
        Task(a.run_id, b.run_id, pooling)
        for a, b in combinations(runs, 2)
        for pooling in poolings or _shared_poolings(a, b)
        if comparison_key(pooling) not in store.pair(a.run_id, b.run_id).keys(kinds.COMPARISONS)
    ]
    for run in runs:
        for task in tasks:
            if run.run_id in (task.run_a, task.run_b):
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
