"""Principal planes, rigid alignment and movement of point sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.measures.core.hsic import cross_product

Points = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]


def principal_plane(x: Floats) -> Points:
    """Coordinates (n, 2) of centred ``x`` (n, d) on its first two principal axes."""
    return (x @ joint_axes([x])).astype(np.float32)


def joint_axes(layers: Sequence[Floats]) -> NDArray[np.float64]:
    """The two orthonormal axes (d, 2) with most variance over all centred layers together.

    Each axis points to where its largest component is positive. For d = 1 the second axis is 0.
    """
    d = layers[0].shape[1]
    covariance = np.zeros((d, d))
    for x in layers:
        covariance += cross_product(x, x)
    vectors = np.linalg.eigh(covariance)[1][:, ::-1][:, :2]
    axes = np.zeros((d, 2))
    axes[:, : vectors.shape[1]] = vectors
    largest = axes[np.abs(axes).argmax(axis=0), [0, 1]]
    return axes * np.where(largest < 0, -1.0, 1.0)


def align(points: Floats, target: Floats) -> Points:
    """``points`` (n, 2) rotated, reflected and shifted onto ``target`` (n, 2); never scaled.

    The orthogonal Procrustes solution (Schönemann 1966): least squares over all such motions.
    """
    p, t = points.astype(np.float64), target.astype(np.float64)
    centre = t.mean(axis=0)
    p = p - p.mean(axis=0)
    left, _, right = np.linalg.svd(p.T @ (t - centre))
    moved: Points = (p @ (left @ right) + centre).astype(np.float32)
    return moved


def radius(points: Floats) -> float:
    """The mean distance of ``points`` (n, 2) from their centre, >= 0."""
    wide = points.astype(np.float64)
    return float(np.linalg.norm(wide - wide.mean(axis=0), axis=1).mean())


def movement(before: Floats, after: Floats) -> float:
    """How far the median point moves from ``before`` to ``after`` (n, 2), in radii of ``after``.

    >= 0; NaN where a map is but one point.
    """
    if not (radius(before) and radius(after)):
        return float("nan")
    apart = np.subtract(after, before, dtype=np.float64)
    return float(np.median(np.linalg.norm(apart, axis=1)) / radius(after))
