"""The neighbours of every sample where they truly lie: in the full space of a layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.core.base import prepare_all
from backend.measures.core.nearest import nearest_rows


def nearest_samples(vectors: object, k: int, name: str = "vectors") -> NDArray[np.int64]:
    """(n, k) rows of the ``k`` samples nearest to each of ``vectors`` (n, d), nearest first.

    Euclidean, a sample is not its own neighbour, ties in the order of the samples: samples that are
    tied in two layers stay tied in the same order, so ties make no change. (n, 0) for a constant
    layer. n²·d multiply-adds in float32, the nearest k + 16 measured again in float64.
    InputError unless 1 <= k < n, and for what is no (n, d) array of finite numbers (by ``name``).
    """
    (layer,) = prepare_all([vectors], [name], np.float32)
    if not 1 <= k < layer.n:
        raise InputError(f"must lie in 1..{layer.n - 1}, got {k}", field="k")
    if layer.constant:
        return np.empty((layer.n, 0), dtype=np.int64)
    rows = (layer.data * np.sqrt(layer.n)).astype(np.float32)
    squares = np.einsum("ij,ij->i", rows, rows)
    return nearest_rows(rows, squares, rows, k, np.arange(layer.n))[0]


def changed_share(before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of the k neighbours in each row of ``before`` that ``after`` lacks: (m,) in 0..1.

    Both (m, k), no name twice in a row; their order does not count. 0.4 of 10 neighbours is that 4
    of them are others than before.
    """
    shared = (before[:, :, None] == after[:, None, :]).sum(axis=(1, 2))
    share: NDArray[np.float64] = (before.shape[1] - shared) / before.shape[1]
    return share
