"""UMAP of consecutive layers, each started from the one before.

umap-learn takes seconds to import and some more to compile on the first fit of a process, and is
not thread-safe: it is imported on use, and fits of one process take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.progress import SILENT, Progress
from backend.projection.geometry import align, principal_plane

EPOCHS = 200
"""Optimisation rounds a layer."""

STEP = 0.1
"""Learning rate of a fit that starts from coordinates that are nearly right.

With 1 the optimisation forgets its start. On 13 drifting layers of 400 x 48 a sample moved from
layer to layer by 0.31 of the map's radius with 1, 0.22 with 0.25 and 0.16 with 0.1 (independent
fits: 0.59 after rotation, 1.29 before), and the share of the 15 neighbours that stay neighbours
rose from 0.59 to 0.64, as high as in independent fits.
"""

_ONE_AT_A_TIME = threading.Lock()


def refit(
    data: NDArray[np.float32],
    points: NDArray[np.float32],
    *,
    seed: int,
    n_neighbors: int,
    min_dist: float,
) -> NDArray[np.float32]:
    """``points`` (n, 2) of a layer as they become if the very same layer is fitted once more.

    ``data`` (n, d) is centred and not constant. Fitted and aligned exactly as :func:`fit_layers`
    makes the next layer's map, from ``points``: what moves here moves without a change of the data.
    """
    return align(_fit(data, _spread(points, seed), seed, n_neighbors, min_dist, STEP), points)


def fit_layers(
    layers: Sequence[NDArray[np.float32]],
    *,
    seed: int,
    n_neighbors: int,
    min_dist: float,
    progress: Progress = SILENT,
) -> list[NDArray[np.float32]]:
    """(n, 2) coordinates for each of the centred, non-constant ``layers`` (n, d_l)."""
    if n_neighbors < 2:
        raise InputError(f"must be at least 2, got {n_neighbors}", field="n_neighbors")
    if not 0 <= min_dist <= 1:
        raise InputError(f"must lie between 0 and 1, got {min_dist}", field="min_dist")
    if not 0 <= seed < 2**32:
        raise InputError(f"must lie between 0 and 2³² - 1, got {seed}", field="seed")
    maps: list[NDArray[np.float32]] = []
    for data in layers:
        before = maps[-1] if maps else None
        if before is None:
            # From far away with long steps; then, as all others, from near with short ones, which
            # end at a smaller scale.
            plane = principal_plane(data)
            before = _fit(data, _spread(plane, seed), seed, n_neighbors, min_dist, 1.0)
        fitted = _fit(data, _spread(before, seed), seed, n_neighbors, min_dist, STEP)
        maps.append(align(fitted, before))
        progress.advance(len(maps), len(layers))
    return maps


def _fit(
    data: NDArray[np.float32],
    start: NDArray[np.float32],
    seed: int,
    n_neighbors: int,
    min_dist: float,
    step: float,
) -> NDArray[np.float32]:
    with _ONE_AT_A_TIME:
        import umap

        model: Any = umap.UMAP(
            n_neighbors=min(n_neighbors, len(data) - 1),
            min_dist=min_dist,
            init=start,
            n_epochs=EPOCHS,
            learning_rate=step,
            random_state=seed,
            n_jobs=1,  # the only choice with a fixed seed
        )
        coordinates: NDArray[np.float32] = model.fit_transform(data * np.sqrt(len(data)))
    return coordinates


def _spread(start: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """``start`` with a trace of noise: samples that coincide could never be moved apart, and umap
    divides by the extent of each axis.
    """
    extent = float(np.ptp(start, axis=0).max())
    noise = np.random.default_rng(seed).normal(scale=1e-4 * extent, size=start.shape)
    return (start + noise).astype(np.float32)
