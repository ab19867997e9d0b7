"""Maps of all layers of one stream on common axes, by UMAP or PCA.

A layer whose samples all have the same vector (the CLS token at layer 0) is drawn as what it is:
all samples at one point, the centre of the layer before it (for leading layers: of the first one
that varies). Coordinates are therefore always finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.core.base import Prepared, prepare_all
from backend.progress import SILENT, Progress
from backend.projection.geometry import align, joint_axes, movement, principal_plane

Method = Literal["umap", "pca"]
METHODS: tuple[Method, ...] = get_args(Method)
Coordinates = NDArray[np.float32]

MIN_SAMPLES = 4


def project_layers(
    layers: Sequence[object],
    *,
    method: Method = "umap",
    seed: int = 0,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    progress: Progress = SILENT,
    names: Sequence[str] | None = None,
) -> list[Coordinates]:
    """(n, 2) float32 coordinates for each of ``layers``: (n, d_l) arrays, the same n >= 4 samples.

    Layers are given in order and share their axes and scale, so one range fits all.

    ``"umap"`` (McInnes et al. 2018): the first layer starts from its principal plane, every other
    from the coordinates of the layer before, and each result is rotated back onto them (orthogonal
    Procrustes, no scaling). ``n_neighbors`` is cut to n - 1. The same seed gives the same
    coordinates. ``"pca"``: all layers, each centred and of unit variance, projected on the two axes
    that hold most of their pooled variance; if widths differ, each on its own principal plane,
    rotated onto the layer before.

    InputError for unusable arrays (by their ``names``, default ``layers[i]``), an unknown method,
    or parameters out of range.
    """
    if method not in METHODS:
        raise InputError(
            f"unknown method {method!r}", field="method", hint=f"Choose {' or '.join(METHODS)}."
        )
    labels = list(names) if names is not None else [f"layers[{i}]" for i in range(len(layers))]
    prepared = prepare_all(layers, labels, np.float32, min_samples=MIN_SAMPLES)
    if method == "pca":
        varying = _by_pca(prepared)
    else:
        from backend.projection.umap_layers import fit_layers

        varying = fit_layers(
            [layer.data for layer in prepared if not layer.constant],
            seed=seed,
            n_neighbors=n_neighbors,
            min_dist=min_dist,
            progress=progress,
        )
    return _with_constant_layers(prepared, varying)


def refit_movements(
    layers: Sequence[object],
    maps: Sequence[Coordinates],
    *,
    seed: int = 1,
    n_neighbors: int = 15,
    min_dist: float = 0.1,
    names: Sequence[str] | None = None,
) -> list[float]:
    """How far each layer's UMAP moves when the same layer is fitted again: one number a layer.

    The median movement in radii of the map (:func:`backend.projection.geometry.movement`), NaN for
    a constant layer. ``maps`` are those of :func:`project_layers`; the second fit starts from them,
    with ``seed``, as the fit of a next layer would, so it is the movement to expect where nothing
    changes. Errors as there.
    """
    from backend.projection.umap_layers import refit

    labels = list(names) if names is not None else [f"layers[{i}]" for i in range(len(layers))]
    prepared = prepare_all(layers, labels, np.float32, min_samples=MIN_SAMPLES)
    moved = []
    for layer, points in zip(prepared, maps, strict=True):
        if layer.constant:
            moved.append(float("nan"))
            continue
        again = refit(layer.data, points, seed=seed, n_neighbors=n_neighbors, min_dist=min_dist)
        moved.append(movement(points, again))
    return moved


def _by_pca(prepared: Sequence[Prepared]) -> list[Coordinates]:
    # Unit variance a sample rather than unit norm, so that coordinates do not shrink with n.
    data = [layer.data * np.sqrt(layer.n) for layer in prepared if not layer.constant]
    if len({x.shape[1] for x in data}) == 1:
        axes = joint_axes(data)
        return [(x @ axes).astype(np.float32) for x in data]
    maps: list[Coordinates] = []
    for x in data:
        plane = principal_plane(x)
        maps.append(align(plane, maps[-1]) if maps else plane)
    return maps


def _with_constant_layers(
    prepared: Sequence[Prepared], varying: Sequence[Coordinates]
) -> list[Coordinates]:
    n = prepared[0].n
    centre = varying[0].mean(axis=0) if varying else np.zeros(2, dtype=np.float32)
    rest = iter(varying)
    result: list[Coordinates] = []
    for layer in prepared:
        points = np.tile(centre, (n, 1)) if layer.constant else next(rest)
        centre = points.mean(axis=0)
        result.append(np.ascontiguousarray(points, dtype=np.float32))
    return result
