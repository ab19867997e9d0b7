"""``fusionscope project``: compute the layer coordinates that a run lacks and add them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from backend.errors import InputError
from backend.jobs.sources import (
    Sink,
    VectorSource,
    in_run,
    missing_poolings,
    source_poolings,
    stream_vectors,
)
from backend.measures.suite.layers import site_name
from backend.measures.suite.parts import content_key
from backend.progress import SILENT, Progress
from backend.projection import METHODS, Method, project_layers
from backend.store import Run, kinds
from backend.types import Pooling

VERSION = 1
"""Raised whenever the same vectors would give other coordinates; part of every key."""

N_NEIGHBORS = 15
MIN_DIST = 0.1

_COLUMNS = ["sample_id", "stream", "layer", "site", "pooling", "method", "x", "y"]


def project_run(
    run: Run,
    *,
    method: Method | str = "umap",
    poolings: Sequence[Pooling] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> list[str]:
    """Add the coordinates that ``run`` lacks, a key a pooling; the keys written.

    All captured sites of a stream (layers and named sites, in order) share their axes; streams have
    axes of their own, and those that lack a pooling are left out of it. What is present is not
    computed again. A pooling without vectors is skipped with a warning that names the capture
    command. InputError for an unknown method or pooling, and for vectors that cannot be projected
    (naming run, stream and layer).
    """
    checked = _checked(method)
    present = run.keys(kinds.PROJECTIONS)
    todo = missing_poolings(
        run, poolings, lambda pooling: projection_key(checked, pooling, seed) not in present
    )
    with in_run(run.run_id):
        return _add(run, checked, todo, seed, progress)


def project_source(
    source: Sink,
    *,
    method: Method | str = "umap",
    poolings: Sequence[Pooling] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> list[str]:
    """The same for a run that is still being written and holds no coordinates yet."""
    return _add(source, _checked(method), source_poolings(source, poolings), seed, progress)


def projection_key(method: str, pooling: str, seed: int = 0) -> str:
    """The key under which a store keeps the coordinates of a method and pooling."""
    parameters: dict[str, object] = {"version": VERSION}
    if method == "umap":
        parameters |= {"seed": seed, "n_neighbors": N_NEIGHBORS, "min_dist": MIN_DIST}
    return content_key(method, pooling, parameters)


def _checked(method: Method | str) -> Method:
    for each in METHODS:
        if method == each:
            return each
    raise InputError(
        f"unknown method {method!r}", field="method", hint=f"Choose {' or '.join(METHODS)}."
    )


def _add(
    sink: Sink, method: Method, todo: Sequence[Pooling], seed: int, progress: Progress
) -> list[str]:
    written = []
    steps = [(pooling, spec.name) for pooling in todo for spec in sink.streams]
    for at, pooling in enumerate(todo):
        frames: list[pd.DataFrame] = []
        for spec in sink.streams:
            done = at * len(sink.streams) + len(frames)
            progress.advance(done, len(steps), f"{method} of {spec.name} {pooling} vectors")
            frames.append(_projected(sink, spec.name, method, pooling, seed))
        key = projection_key(method, pooling, seed)
        sink.add(kinds.PROJECTIONS, pd.concat(frames, ignore_index=True), key)
        written.append(key)
    progress.advance(len(steps), len(steps))
    return written


def _projected(
    source: VectorSource, stream: str, method: Method, pooling: Pooling, seed: int
) -> pd.DataFrame:
    arrays = stream_vectors(source, stream, pooling)
    if not arrays:
        return pd.DataFrame(columns=_COLUMNS)
    maps = project_layers(
        list(arrays.values()),
        method=method,
        seed=seed,
        n_neighbors=N_NEIGHBORS,
        min_dist=MIN_DIST,
        names=[site_name(ref) for ref in arrays],
    )
    ids = source.sample_ids()
    parts = [
        pd.DataFrame(
            {
                "sample_id": ids,
                "stream": stream,
                "layer": ref.layer,
                "site": ref.site,
                "pooling": pooling,
                "method": method,
                "x": points[:, 0],
                "y": points[:, 1],
            },
            columns=_COLUMNS,
        )
        for ref, points in zip(arrays, maps, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)
