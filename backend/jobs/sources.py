"""What measuring and projecting need of a run: its vectors, and a place for the rows.

A finished :class:`backend.store.Run` is one; so is a :class:`backend.store.RunWriter` before its
commit, which is how runs that keep no activations are measured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from backend.errors import InputError
from backend.pooling import by_stream, read_pooling
from backend.store import Run
from backend.store.kinds import Kind
from backend.types import POOLINGS, LayerRef, Pooling, StreamSpec, TaskSpec

log = logging.getLogger(__name__)


class VectorSource(Protocol):
    """Captured vectors by stream, layer and pooling, rows in the order of ``sample_ids``."""

    @property
    def streams(self) -> tuple[StreamSpec, ...]:
        """The model's streams in order."""
        ...

    def captured(self) -> tuple[tuple[LayerRef, Pooling], ...]:
        """Every layer and pooling that has vectors."""
        ...

    def layers(self, stream: str, pooling: Pooling = ...) -> tuple[LayerRef, ...]:
        """The captured layers of a stream, in order of position."""
        ...

    def vectors(
        self, stream: str, layer: int | str | LayerRef, pooling: Pooling = ...
    ) -> np.ndarray:
        """(n, d) float32."""
        ...

    def sample_ids(self) -> np.ndarray:
        """(n,) strings."""
        ...

    def labels(self) -> dict[TaskSpec, np.ndarray]:
        """Labels by task, those without any left out: (n,) class indices, or (n, classes) of 0
        and 1 if the task is multilabel; -1 where a sample has none.
        """
        ...

    def groups(self) -> np.ndarray | None:
        """(n,) strings, the same for samples that belong together; None where all stand alone."""
        ...


class Sink(VectorSource, Protocol):
    """A source that takes the results, too."""

    def keys(self, kind: Kind) -> tuple[str, ...]:
        """Keys of the tables of a kind that are there."""
        ...

    def table(self, kind: Kind, keys: Sequence[str] | None = ...) -> pa.Table:
        """Rows of the tables of a kind: of all, or under some keys."""
        ...

    def add(self, kind: Kind, rows: pd.DataFrame, key: str = "") -> None:
        """Add rows of a kind under a new key."""
        ...


def source_poolings(
    source: VectorSource, wanted: Sequence[Pooling] | None = None
) -> tuple[Pooling, ...]:
    """The poolings to work on: those wanted, else those captured."""
    check_poolings(wanted)
    if wanted is not None:
        return tuple(wanted)
    captured = {pooling for _, pooling in source.captured()}
    return tuple(pooling for pooling in POOLINGS if pooling in captured)


def check_poolings(wanted: Sequence[str] | None) -> None:
    """InputError for a pooling that does not exist."""
    unknown = [name for name in wanted or () if name not in POOLINGS]
    if unknown:
        raise InputError(
            f"unknown pooling {unknown[0]!r}",
            field="pooling",
            hint=f"Use one or more of {', '.join(POOLINGS)}.",
        )


def read_poolings(wanted: Sequence[str] | None) -> tuple[str, ...] | None:
    """Poolings of measures, also of two streams, each once and as the store writes it.

    None for None. InputError for one that does not exist.
    """
    if wanted is None:
        return None
    read: dict[str, None] = {}
    for text in wanted:
        try:
            read[read_pooling(text)] = None
        except ValueError as error:
            problem = str(error) if "=" in text else f"unknown pooling {text!r}"
            hint = f"Use one or more of {', '.join(POOLINGS)}, or of two 'vision=cls;text=mean'."
            raise InputError(problem, field="pooling", hint=hint) from error
    return tuple(read)


def stream_vectors(
    source: VectorSource, stream: str, pooling: Pooling
) -> dict[LayerRef, np.ndarray]:
    """{site: (n, d)} of everything captured of one stream, in order of position."""
    return {ref: source.vectors(stream, ref, pooling) for ref in source.layers(stream, pooling)}


def missing_poolings(
    run: Run, wanted: Sequence[str] | None, lacks: Callable[[str], bool]
) -> list[str]:
    """The poolings, of those wanted or all, whose results the run lacks and whose vectors it has.

    Where the vectors are missing a warning says so and names the command that would make them.
    InputError for a pooling of two streams that the run does not have.
    """
    possible = dict.fromkeys(pooling for _, pooling in run.manifest.captures)
    asked = wanted or [pooling for pooling in run.manifest.poolings if pooling in possible]
    held = []
    for pooling in filter(lacks, asked):
        _require_streams(run, pooling)
        try:
            require_vectors(run, pooling)
            held.append(pooling)
        except InputError as error:
            log.warning("skipped %s vectors of run %s: %s", pooling, run.run_id, error)
    return held


def require_vectors(run: Run, pooling: str) -> None:
    """InputError, with what to do about it, where a run has no vectors of a pooling at all."""
    captured = {(ref.stream, own) for ref, own in run.captured()}
    for stream, own in by_stream(pooling).items():
        if (stream, own) not in captured:
            run.vectors(stream, 0, own)  # raises: the run knows the command best
    if by_stream(pooling) or pooling in {own for _, own in captured}:
        return
    first = LayerRef(run.streams[0].name, 0)
    ref = next((ref for ref, own in run.manifest.captures if own == pooling), first)
    run.vectors(ref.stream, ref, cast("Pooling", pooling))  # raises, likewise


def _require_streams(run: Run, pooling: str) -> None:
    there = [spec.name for spec in run.streams]
    absent = [stream for stream in by_stream(pooling) if stream not in there]
    if absent:
        raise InputError(
            f"run {run.run_id} has no stream {absent[0]!r}",
            field="pooling",
            hint=f"It has {', '.join(there)}.",
        )


@contextmanager
def in_run(run_id: str) -> Iterator[None]:
    """Name the run in whatever input error is raised inside."""
    try:
        yield
    except InputError as error:
        raise error.within(f"run {run_id}") from error
