"""The nearest rows of a table, exact where float32 alone would cancel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backend.measures.core.base import Float64, FloatArray

Rows = NDArray[np.int64]

_BLOCK_BYTES = 64 * 2**20
_SPARE = 16  # candidates beyond k that are measured again in float64


def nearest_rows(
    rows: FloatArray, squares: FloatArray, queries: FloatArray, k: int, own: Rows
) -> tuple[Rows, Float64]:
    """The ``k`` rows (n, d) nearest to each of ``queries`` (q, d): indices and distances (q, k).

    A float32 matrix product picks k + 16 candidates, whose distances are then taken in float64 from
    the differences, which do not cancel. Of rows that are equally near the first count; where they
    may be more than the candidates all rows are measured so. ``own`` (q,) are rows to leave out, -1
    for none.
    """
    n, d = rows.shape
    taken = min(n, k + _SPARE)
    step = max(1, _BLOCK_BYTES // (4 * n + 16 * taken * d))
    indices, distances = [], []
    for start in range(0, len(queries), step):
        block, left_out = queries[start : start + step], own[start : start + step]
        near = squares - 2 * (block @ rows.T)
        inside = np.flatnonzero(left_out >= 0)
        near[inside, left_out[inside]] = np.inf
        candidates = np.sort(np.argpartition(near, taken - 1, axis=1)[:, :taken], axis=1)
        apart = np.subtract(rows[candidates], block[:, None], dtype=np.float64)
        exact = np.sqrt(np.einsum("ijk,ijk->ij", apart, apart))
        exact[candidates == left_out[:, None]] = np.inf
        first = np.argsort(exact, axis=1, kind="stable")[:, :k]
        nearest = np.take_along_axis(candidates, first, axis=1)
        apart_by = np.take_along_axis(exact, first, axis=1)
        if taken < n:
            last = np.max(exact, axis=1, where=np.isfinite(exact), initial=0.0)
            for tied in np.flatnonzero(last <= apart_by[:, -1]):
                nearest[tied], apart_by[tied] = _measured(rows, block[tied], k, left_out[tied])
        indices.append(nearest)
        distances.append(apart_by)
    return np.concatenate(indices), np.concatenate(distances)


def _measured(rows: FloatArray, query: FloatArray, k: int, own: int) -> tuple[Rows, Float64]:
    """The ``k`` rows nearest to one query (d,), all of them measured in float64."""
    step = max(1, _BLOCK_BYTES // (8 * rows.shape[1]))
    exact = np.concatenate(
        [
            np.linalg.norm(np.subtract(rows[at : at + step], query, dtype=np.float64), axis=1)
            for at in range(0, len(rows), step)
        ]
    )
    if own >= 0:
        exact[own] = np.inf
    first = np.argsort(exact, kind="stable")[:k]
    return first, exact[first]
