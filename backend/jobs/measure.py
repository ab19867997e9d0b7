"""``fusionscope measure``: compute the measures that a run lacks and add them to the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from backend.errors import InputError
from backend.jobs.sources import (
    Progress,
    Sink,
    VectorSource,
    content_key,
    in_run,
    missing_poolings,
    source_poolings,
    stream_vectors,
)
from backend.measures.suite import suite
from backend.store import Run
from backend.types import Pooling

VERSION = 2
"""Raised whenever the same vectors would give other rows; part of every key."""

PRESETS: dict[str, dict[str, float]] = {"default": {"threshold": 0.95}}
"""The parameters of each preset, as they enter its key."""


def measure_run(
    run: Run,
    *,
    preset: str = "default",
    poolings: Sequence[Pooling] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Add the measures of ``preset`` that ``run`` lacks, a key a pooling; the keys written.

    What is present is not computed again. A pooling without vectors is skipped with a warning that
    names the capture command. InputError for an unknown preset or pooling, and for vectors that
    cannot be measured (naming run, stream and layer).
    """
    check_preset(preset)
    todo = missing_poolings(
        run, poolings, run.measure_keys(), lambda pooling: measure_key(preset, pooling)
    )
    with in_run(run.run_id):
        return _add(run, preset, todo, progress)


def measure_source(
    source: Sink,
    *,
    preset: str = "default",
    poolings: Sequence[Pooling] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """The same for a run that is still being written and holds no measures yet."""
    check_preset(preset)
    return _add(source, preset, source_poolings(source, poolings), progress)


def measure_frames(
    source: VectorSource, *, preset: str = "default", poolings: Sequence[Pooling] | None = None
) -> Iterator[tuple[str, pd.DataFrame]]:
    """(key, tidy rows) of each pooling, for whoever keeps them elsewhere."""
    check_preset(preset)
    for pooling in source_poolings(source, poolings):
        yield measure_key(preset, pooling), _measured(source, preset, pooling)


def measure_key(preset: str, pooling: str) -> str:
    """The key under which a store keeps the measures of a preset and pooling."""
    return content_key(preset, pooling, {"version": VERSION, **PRESETS[preset]})


def check_preset(preset: str) -> None:
    """InputError listing the presets there are, for a name that is none of them."""
    if preset not in PRESETS:
        raise InputError(
            f"unknown preset {preset!r}",
            where="preset",
            hint=f"Presets of this version: {', '.join(sorted(PRESETS))}.",
        )


def _add(sink: Sink, preset: str, todo: Sequence[Pooling], progress: Progress | None) -> list[str]:
    written = []
    for done, pooling in enumerate(todo):
        if progress:
            progress(done, len(todo), f"{preset} measures of {pooling} vectors")
        key = measure_key(preset, pooling)
        sink.add_measures(key, _measured(sink, preset, pooling))
        written.append(key)
    if progress and todo:
        progress(len(todo), len(todo), "")
    return written


def _measured(source: VectorSource, preset: str, pooling: Pooling) -> pd.DataFrame:
    arrays = {
        ref: vectors
        for spec in source.streams
        for ref, vectors in stream_vectors(source, spec.name, pooling).items()
    }
    modalities = {spec.name: str(spec.modality) for spec in source.streams}
    return suite(arrays, pooling, modalities=modalities, threshold=PRESETS[preset]["threshold"])
