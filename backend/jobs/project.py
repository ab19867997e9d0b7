"""``fusionscope project``: the maps of a run's layers, and what says how they are to be read.

Beside the coordinates stand each sample's neighbours in the full space, from which it follows whose
neighbourhood changes from layer to layer, and the movement that a mere second fit makes. What a run
lacks of them is computed and added.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import numpy as np
import pandas as pd

from backend.errors import InputError
from backend.jobs.sources import (
    Sink,
    check_poolings,
    in_run,
    missing_poolings,
    source_poolings,
    stream_vectors,
)
from backend.measures.suite.layers import site_name
from backend.measures.suite.parts import content_key
from backend.progress import SILENT, Progress
from backend.projection import (
    METHODS,
    Method,
    nearest_samples,
    project_layers,
    refit_movements,
)
from backend.store import Run, kinds
from backend.store.kinds import Kind
from backend.store.tables import to_pandas
from backend.types import LayerRef, Pooling

log = logging.getLogger(__name__)

VERSION = 1
"""Raised whenever the same vectors would give other coordinates; part of every key."""

N_NEIGHBORS = 15
MIN_DIST = 0.1
NEIGHBOURS = 10
"""Neighbours that are kept of each sample; n - 1 where there are fewer."""

Arrays = dict[LayerRef, np.ndarray]
Maps = dict[LayerRef, np.ndarray]


def project_run(
    run: Run,
    *,
    method: Method | str = "umap",
    poolings: Sequence[Pooling] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> list[str]:
    """Add the tables that ``run`` lacks, a key a kind and pooling; the keys written.

    These are coordinates, neighbours and, for UMAP, the movement of a second fit with another seed.
    All captured sites of a stream (layers and named sites, in order) share their axes; streams have
    axes of their own, and those that lack a pooling are left out of it. What is present is not
    computed again. A pooling without vectors is skipped with a warning that names the capture
    command, a layer that is not finite with one that names it. InputError for an unknown method or
    pooling, and for vectors that cannot be projected (naming run, stream and layer).
    """
    checked = checked_method(method)
    check_poolings(poolings)
    measured = missing_poolings(
        run, poolings, lambda pooling: bool(lacking_maps(run, checked, pooling, seed))
    )
    with in_run(run.run_id):
        return _add(run, checked, cast("list[Pooling]", measured), seed, progress)


def project_source(
    source: Sink,
    *,
    method: Method | str = "umap",
    poolings: Sequence[Pooling] | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> list[str]:
    """The same for a run that is still being written, and has all the vectors there will be."""
    return _add(source, checked_method(method), source_poolings(source, poolings), seed, progress)


def lacking_maps(sink: Sink, method: Method | str, pooling: str, seed: int = 0) -> dict[Kind, str]:
    """{kind: key} of the tables that are not there, whether or not there are vectors."""
    keys = _keys(checked_method(method), pooling, seed)
    return {kind: key for kind, key in keys.items() if key not in sink.keys(kind)}


def projection_key(method: str, pooling: str, seed: int = 0) -> str:
    """The key under which a store keeps the coordinates of a method and pooling."""
    parameters: dict[str, object] = {"version": VERSION}
    if method == "umap":
        parameters |= {"seed": seed, "n_neighbors": N_NEIGHBORS, "min_dist": MIN_DIST}
    return content_key(method, pooling, parameters)


def neighbours_key(pooling: str) -> str:
    """The key under which a store keeps the neighbours of a pooling's samples."""
    return content_key("nearest", pooling, {"version": VERSION, "k": NEIGHBOURS})


def _keys(method: Method, pooling: str, seed: int) -> dict[Kind, str]:
    """{kind: key} of what is made for a pooling; a projection by PCA has no seed to change."""
    key = projection_key(method, pooling, seed)
    keys = {kinds.PROJECTIONS: key, kinds.NEIGHBOURS: neighbours_key(pooling)}
    return keys | ({kinds.REFITS: key} if method == "umap" else {})


def checked_method(method: Method | str) -> Method:
    """The method of that name; InputError lists those that there are."""
    for each in METHODS:
        if method == each:
            return each
    raise InputError(
        f"unknown method {method!r}", field="method", hint=f"Choose {' or '.join(METHODS)}."
    )


def _add(
    sink: Sink, method: Method, poolings: Sequence[Pooling], seed: int, progress: Progress
) -> list[str]:
    """Make and add what the poolings lack; the keys written."""
    written = []
    lacking = {pooling: lacking_maps(sink, method, pooling, seed) for pooling in poolings}
    todo = {pooling: keys for pooling, keys in lacking.items() if keys}
    steps = [(pooling, spec.name) for pooling in todo for spec in sink.streams]
    for at, (pooling, keys) in enumerate(todo.items()):
        parts: dict[Kind, list[pd.DataFrame]] = {kind: [_empty(kind)] for kind in keys}
        for number, spec in enumerate(sink.streams):
            done = at * len(sink.streams) + number
            progress.advance(done, len(steps), f"{method} of {spec.name} {pooling} vectors")
            arrays = _finite(stream_vectors(sink, spec.name, pooling), pooling)
            if not arrays:
                continue
            maps: Maps = {}
            if kinds.PROJECTIONS in keys:
                maps = _projected(arrays, method, seed)
                parts[kinds.PROJECTIONS] += _coordinates(sink.sample_ids(), maps, pooling, method)
            if kinds.NEIGHBOURS in keys:
                parts[kinds.NEIGHBOURS] += _neighbours(sink.sample_ids(), arrays, pooling)
            if kinds.REFITS in keys:
                maps = maps or _stored(sink, spec.name, projection_key(method, pooling, seed))
                parts[kinds.REFITS] += _refits(arrays, maps, pooling, method, seed)
        for kind, key in keys.items():
            try:
                sink.add(kind, pd.concat(parts[kind], ignore_index=True), key)
            except InputError:
                if key not in sink.keys(kind):
                    raise
                continue  # another process was faster: the same rows are there
            written.append(key)
    progress.advance(len(steps), len(steps))
    return list(dict.fromkeys(written))


def _stored(sink: Sink, stream: str, key: str) -> Maps:
    """A stream's maps where they are there already."""
    frame = to_pandas(sink.table(kinds.PROJECTIONS, [key]))
    row = {sample_id: at for at, sample_id in enumerate(sink.sample_ids())}
    maps: Maps = {}
    for (own, layer, site), rows in frame.groupby(["stream", "layer", "site"], sort=False):
        if own == stream:
            points = np.empty((len(row), 2), dtype=np.float32)
            points[[row[one] for one in rows["sample_id"]]] = rows[["x", "y"]].to_numpy()
            maps[LayerRef(stream, int(str(layer)), str(site))] = points
    return maps


def _finite(arrays: Arrays, pooling: Pooling) -> Arrays:
    """The layers that can be projected: one with NaN or infinite values is left out, and named."""
    out = {}
    for ref, array in arrays.items():
        bad = int((~np.isfinite(array)).any(axis=1).sum())
        if bad:
            log.warning(
                "%s (%s) is left out of the maps: NaN or infinite values in %d of %d samples",
                *(site_name(ref), pooling, bad, len(array)),
            )
        else:
            out[ref] = array
    return out


def _empty(kind: Kind) -> pd.DataFrame:
    return to_pandas(kind.schema.empty_table())


def _projected(arrays: Arrays, method: Method, seed: int) -> Maps:
    maps = project_layers(
        list(arrays.values()),
        method=method,
        seed=seed,
        n_neighbors=N_NEIGHBORS,
        min_dist=MIN_DIST,
        names=[site_name(ref) for ref in arrays],
    )
    return dict(zip(arrays, maps, strict=True))


def _place(ref: LayerRef, pooling: Pooling) -> dict[str, object]:
    return {"stream": ref.stream, "layer": ref.layer, "site": ref.site, "pooling": pooling}


def _coordinates(
    ids: np.ndarray, maps: Maps, pooling: Pooling, method: Method
) -> list[pd.DataFrame]:
    return [
        pd.DataFrame({"sample_id": ids, **_place(ref, pooling), "method": method}).assign(
            x=points[:, 0], y=points[:, 1]
        )
        for ref, points in maps.items()
    ]


def _neighbours(ids: np.ndarray, arrays: Arrays, pooling: Pooling) -> list[pd.DataFrame]:
    frames = []
    k = min(NEIGHBOURS, len(ids) - 1)
    for ref, array in arrays.items():
        near = nearest_samples(array, k, site_name(ref))
        held = near.shape[1]  # none at a constant layer
        frames.append(
            pd.DataFrame(
                {
                    "sample_id": np.repeat(ids, held),
                    **_place(ref, pooling),
                    "rank": np.tile(np.arange(1, held + 1), len(ids)),
                    "neighbour": ids[near.ravel()],
                }
            )
        )
    return frames


def _refits(
    arrays: Arrays, maps: Maps, pooling: Pooling, method: Method, seed: int
) -> list[pd.DataFrame]:
    moved = refit_movements(
        list(arrays.values()),
        [maps[ref] for ref in arrays],
        seed=(seed + 1) % 2**32,
        n_neighbors=N_NEIGHBORS,
        min_dist=MIN_DIST,
        names=[site_name(ref) for ref in arrays],
    )
    rows = [
        {**_place(ref, pooling), "method": method, "movement": value, "n": len(maps[ref])}
        for ref, value in zip(arrays, moved, strict=True)
        if np.isfinite(value)
    ]
    return [pd.DataFrame(rows)] if rows else []
