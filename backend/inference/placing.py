"""The path of a pair: its point in every stored map of the layers, beside the reference pairs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from backend.inference.reference import PLACE, Float64, Reference, Rows, place_columns
from backend.inference.values import Floats, Trace
from backend.measures.suite.layers import site_name
from backend.types import LayerRef

_NAN = float("nan")

COLUMNS = ("key", "method", *PLACE, "x", "y", "how", "reason")


def placed(
    reference: Reference, trace: Trace, *, k: int = 10, sample_id: str | None = None
) -> pd.DataFrame:
    """``x`` and ``y`` of a pair in every stored map, a row a map and site, of all streams.

    A new point lies among its ``k`` nearest reference pairs in the layer's own space: the mean of
    their stored points, weighted by 1 / distance (``how`` is ``"weighted"``). A vector that equals
    stored ones to the precision of the store lies on the mean of their points (``"stored"``), and
    where the pair itself is one of them (``sample_id``, or recognised, as in
    :func:`backend.inference.standing.standing`), exactly on its own: UMAP gives copies of a vector
    points of their own. At a constant layer the projection has one point for all samples, where the
    pair lies, too (``"constant"``). A pair is never placed outside its neighbours, however far away
    it is: its distance (:mod:`.standing`) says how much the point is worth.

    Columns: ``key`` and ``method`` of the map, stream, layer, site, position, pooling, ``x``,
    ``y``, ``how``, and the ``reason`` where they are NaN. No rows where the run has no maps.
    InputError for a trace of another model and ``k`` outside 1..min(50, n - 1).
    """
    reference.check_k(k)
    own = reference.row_of(trace, sample_id)
    vectors = reference.vectors_of(trace)
    weights = {ref: _weights(reference, ref, vector, k, own) for ref, vector in vectors.items()}
    return pd.DataFrame(_rows(reference, weights), columns=[*COLUMNS])


def _rows(
    reference: Reference, weights: dict[LayerRef, tuple[str, Rows, Float64]]
) -> Iterator[dict[str, object]]:
    for (key, method), maps in reference.maps.items():
        for ref, (how, rows, shares) in weights.items():
            if ref not in maps:
                continue
            x, y = shares @ maps[ref][rows].astype(np.float64) if how else (_NAN, _NAN)
            reason = "" if how else f"{site_name(ref)} of the pair is not finite"
            place = place_columns(reference.stream(ref.stream), ref, reference.pooling)
            point = {"x": float(x), "y": float(y), "how": how, "reason": reason}
            yield {"key": key, "method": method, **place, **point}


def _weights(
    reference: Reference, ref: LayerRef, vector: Floats, k: int, own: int | None
) -> tuple[str, Rows, Float64]:
    """How a vector is placed: by which rows, and their shares, which sum to 1."""
    site = reference.sites[ref]
    if site.constant:
        return "constant", np.zeros(1, dtype=np.int64), np.ones(1)
    if not np.isfinite(vector).all():
        return "", np.empty(0, dtype=np.int64), np.empty(0)
    rows, distances = site.nearest(vector, k)
    same = site.same(vector, reference.eps, float(distances[0]))
    if own is not None and own in same:
        same = np.array([own])
    if len(same):
        return "stored", same, np.full(len(same), 1 / len(same))
    return "weighted", rows, (1 / distances) / (1 / distances).sum()
