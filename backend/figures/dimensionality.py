"""Effective dimension and participation ratio over the layers of a stream."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from backend.figures.curves import curve_figure
from backend.figures.seeds import over_seeds
from backend.figures.sites import layer_sites
from backend.figures.theme import Series

MEASURES: dict[str, str] = {
    "effective_dimension": "effective dimension (components for 95 % of variance)",
    "participation_ratio": "participation ratio",
}


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
    y_max: float | None = None,
    y_title: str | None = None,
    height: int = 330,
) -> go.Figure:
    """A one-layer measure of ``stream`` over layers 0..depth, mean and range over seeds.

    ``frame`` holds the store's rows of one pooling with ``series`` and ``seed`` added. ``y_max``
    fixes the upper end, so that two streams can share a scale.
    """
    points = dimension_points(frame, stream, measure)
    top = y_max if y_max is not None else _top(points)
    return curve_figure(
        points,
        series,
        stream,
        x_title=f"{stream} layer (0 = embeddings)",
        y_title=y_title or MEASURES.get(measure, measure),
        y_range=(0.0, top * 1.06 or 1.0),
        where=lambda k: f"{stream} layer {k}",
        first=0,
        digits=1,
        height=height,
        named=layer_sites(frame, series, stream, measure),
    )


def shared_top(frame: pd.DataFrame, streams: Sequence[str], measure: str) -> float:
    """The largest value over several streams and all their sites, for ``y_max``."""
    rows = frame[frame["measure"].eq(measure) & frame["stream_a"].isin(streams)]
    top = rows["value"].max() if len(rows) else float("nan")
    return float(top) if top == top else 1.0


def _top(points: pd.DataFrame) -> float:
    top = points["high"].max() if len(points) else float("nan")
    return float(top) if top == top else 1.0
