"""What is between traces of one model: where two part, how far, and what four make together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backend.errors import InputError
from backend.inference.reference import NOISE, PLACE, place_columns
from backend.inference.values import Trace
from backend.measures.suite.layers import site_name
from backend.types import LayerRef, Pooling

_NAN = float("nan")
_DIFFERENCE = (*PLACE, "distance", "relative", "cosine", "reason")
_INTERACTION = (
    *(*PLACE, "row_effect", "column_effect", "interaction"),
    *("noise", "relative", "share", "reason"),
)


def difference(a: Trace, b: Trace) -> pd.DataFrame:
    """How far two traces are apart, a row a site and pooling that both have, streams in order.

    ``distance`` ‖a - b‖; ``relative`` ‖a - b‖ / max(‖a‖, ‖b‖), 0..2, and 0 for two zero vectors;
    ``cosine`` of a and b about the origin, -1..1. Columns further: stream, layer, site, position,
    pooling, and the ``reason`` of a value that is NaN. InputError for traces of two models.
    """
    rows = [
        place | _apart(*vectors) | {"reason": _why_not(ref, *vectors)}
        for ref, place, vectors in _together(a, b)
    ]
    return pd.DataFrame(rows, columns=[*_DIFFERENCE])


def parting(a: Trace, b: Trace, tolerance: float = NOISE) -> dict[str, LayerRef | None]:
    """{stream: the first site at which two traces differ}, None where they never do.

    In the order of the computation, they part where under any pooling the ``relative`` difference
    (:func:`difference`) is above ``tolerance`` or not a number. The default is that of two float32
    passes over one input (:data:`backend.inference.reference.NOISE`); half precision takes about
    1e-2. InputError for traces of two models.
    """
    parts: dict[str, LayerRef | None] = {}
    for ref, _, (x, y) in _together(a, b):
        first = parts.setdefault(ref.stream, None)
        if first is None and not _apart(x, y)["relative"] <= tolerance:
            parts[ref.stream] = ref
    return parts


def interaction(
    tl: Trace, tr: Trace, bl: Trace, br: Trace, tolerance: float = NOISE
) -> pd.DataFrame:
    """What the pairs of a 2 x 2 grid are beyond the sum of their parts, a row a site and pooling.

    Rows and columns of the grid are the two images and the two captions, whichever way: ``tl`` and
    ``tr`` share the one, ``tl`` and ``bl`` the other. With x11 = tl, x12 = tr, x21 = bl, x22 = br::

        row_effect     ‖x11 + x12 - x21 - x22‖ / 2     top against bottom
        column_effect  ‖x11 - x12 + x21 - x22‖ / 2     left against right
        interaction    ‖x11 - x12 - x21 + x22‖ / 2     the one effect, by how the other is set

    These are the contrasts of a two-way layout in units of one length: Σ‖x - mean‖² of the four is
    the sum of their squares. ``noise`` is ``tolerance`` of the longest vector: a contrast up to
    there may be none. ``relative`` is interaction / √(row_effect² + column_effect²), 0..∞:
    0 where the vectors are additive. ``share`` is interaction² / the sum of the three squares,
    0..1. Columns further: stream, layer, site, position, pooling, ``reason``.

    Both ratios are NaN with a reason where the four vectors are the same: no effect is above the
    noise. ``relative`` is where only the interaction is. InputError for traces of different models.
    """
    rows = [
        place | _effects(ref, *vectors, tolerance=tolerance)
        for ref, place, vectors in _together(tl, tr, bl, br)
    ]
    return pd.DataFrame(rows, columns=[*_INTERACTION])


Vector = NDArray[np.float64]


def _together(
    first: Trace, *others: Trace
) -> Iterator[tuple[LayerRef, dict[str, object], tuple[Vector, ...]]]:
    """Every site and pooling that all have: its columns, and the vectors in float64."""
    for other in others:
        if other.digest != first.digest or other.streams != first.streams:
            raise InputError(
                f"{first.model} and {other.model} are two models, whose vectors share no space",
                hint="Compare traces of one model.",
            )
    for spec in first.streams:
        for ref in spec.refs:
            for pooling in spec.poolings_of(ref):
                key: tuple[LayerRef, Pooling] = (ref, pooling)
                if all(key in trace.vectors for trace in (first, *others)):
                    vectors = (trace.vectors[key] for trace in (first, *others))
                    wide = tuple(vector.astype(np.float64) for vector in vectors)
                    yield ref, place_columns(spec, ref, pooling), wide


def _apart(x: Vector, y: Vector) -> dict[str, float]:
    distance, lengths = float(np.linalg.norm(x - y)), (np.linalg.norm(x), np.linalg.norm(y))
    cosine = float(x @ y / (lengths[0] * lengths[1])) if all(lengths) else _NAN
    relative = distance / float(max(lengths)) if any(lengths) else 0.0
    return {"distance": distance, "relative": relative, "cosine": cosine}


def _why_not(ref: LayerRef, x: Vector, y: Vector) -> str:
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return f"{site_name(ref)} is not finite"
    return "" if x.any() and y.any() else f"{site_name(ref)} is zero: a zero vector has no angle"


def _effects(
    ref: LayerRef, x11: Vector, x12: Vector, x21: Vector, x22: Vector, *, tolerance: float
) -> dict[str, object]:
    row = float(np.linalg.norm(x11 + x12 - x21 - x22)) / 2
    column = float(np.linalg.norm(x11 - x12 + x21 - x22)) / 2
    both = float(np.linalg.norm(x11 - x12 - x21 + x22)) / 2
    noise = tolerance * max(float(np.linalg.norm(x)) for x in (x11, x12, x21, x22))
    relative = share = _NAN
    reason = ""
    if not np.isfinite([row, column, both]).all():
        row = column = both = noise = _NAN
        reason = f"{site_name(ref)} is not finite"
    elif max(row, column, both) <= noise:
        reason = f"{site_name(ref)} is the same for all four pairs"
    else:
        share = both**2 / (row**2 + column**2 + both**2)
        if max(row, column) > noise:
            relative = both / float(np.hypot(row, column))
        else:
            reason = f"neither side alone changes {site_name(ref)}"
    return {
        "row_effect": row,
        "column_effect": column,
        "interaction": both,
        "noise": noise,
        "relative": relative,
        "share": share,
        "reason": reason,
    }
