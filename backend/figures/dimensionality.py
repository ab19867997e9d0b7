"""A measure of single layers over the layers of a stream."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from backend.figures.curves import curve_figure
from backend.figures.seeds import over_seeds
from backend.figures.sites import layer_sites
from backend.figures.theme import Series
from backend.measures.registry import MEASURES

Span = tuple[float, float]
"""The lower and the upper end of an axis."""


def axis_words(measure: str) -> str:
    """What stands on the axis of a one-layer measure; its name, where it is not registered."""
    return MEASURES[measure].axis if measure in MEASURES else measure


def dimension_points(
    frame: pd.DataFrame, stream: str, measure: str, by: Sequence[str] = ("series",)
) -> pd.DataFrame:
    """Mean and range over seeds of a one-layer measure, a row a value of ``by`` and layer ``x``."""
    rows = frame[frame["measure"].eq(measure) & frame["stream_a"].eq(stream)]
    rows = rows[rows["site_a"].eq("block")]
    return over_seeds(rows, [*by, "layer_a"]).rename(columns={"layer_a": "x"})


def dimension_curves(
    frame: pd.DataFrame,
    series: Sequence[Series],
    stream: str,
    measure: str = "effective_dimension",
    *,
    span: Span | None = None,
    height: int = 330,
) -> go.Figure:
    """A one-layer measure of ``stream`` over layers 0..depth, mean and range over seeds.

    ``frame`` holds the store's rows of one pooling with ``series`` and ``seed`` added. ``span`` is
    the y axis, so that two streams can share one (:func:`shared_span`).
    """
    points = dimension_points(frame, stream, measure)
    return curve_figure(
        points,
        series,
        stream,
        x_title=f"{stream} layer (0 = embeddings)",
        y_title=axis_words(measure),
        y_range=span or span_of(measure, points["low"], points["high"]),
        where=lambda k: f"{stream} layer {k}",
        first=0,
        digits=1,
        height=height,
        named=layer_sites(frame, series, stream, measure),
    )


def shared_span(frame: pd.DataFrame, streams: Sequence[str], measure: str) -> Span:
    """The y axis that holds the values of several streams at all their sites."""
    rows = frame[frame["measure"].eq(measure) & frame["stream_a"].isin(streams)]
    return span_of(measure, rows["value"])


def span_of(measure: str, *values: pd.Series) -> Span:
    """The y axis that holds ``values``: from 0, of a measure that cannot be negative."""
    every = pd.concat(values).dropna()
    lowest, highest = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    low, high = MEASURES[measure].range if measure in MEASURES else (0.0, None)
    if low is not None and low >= 0:
        return 0.0, highest * 1.06 or 1.0
    top = highest if high is None else high
    margin = 0.06 * (top - lowest) or 1.0
    return lowest - margin, top + margin
