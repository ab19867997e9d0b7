"""What a linear probe reads from each layer, and from matching layers of two streams together."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from backend.figures.curves import curve_figure
from backend.figures.scales import Scale
from backend.figures.seeds import over_seeds
from backend.figures.sites import layer_sites
from backend.figures.theme import NEUTRAL, Series
from backend.figures.transitions import alignment_curves
from backend.pairing import Pair
from backend.types import BLOCK

MEASURE = "linear_probe"


def probe_points(frame: pd.DataFrame, stream: str) -> pd.DataFrame:
    """Mean and range over seeds of the probes of one stream alone, a row a series and layer."""
    rows = frame[frame["measure"].eq(MEASURE) & frame["stream_a"].eq(stream)]
    rows = rows[rows["stream_b"].eq("") & rows["site_a"].eq(BLOCK)]
    return over_seeds(rows, ["series", "layer_a"]).rename(columns={"layer_a": "x"})


def probe_curves(
    frame: pd.DataFrame,
    series: Sequence[Series],
    stream: str | None,
    *,
    metric: str,
    pair: Pair | None = None,
    height: int = 330,
) -> go.Figure:
    """The cross-validated score over the layers of ``stream``, mean and range over seeds.

    ``stream`` None: of the concatenated vectors of matching layers of the streams of ``pair``, over
    the layers of the deeper one. ``frame`` holds the store's rows of one task and pooling with
    ``series`` and ``seed`` added. The scale is fixed from 0 to 1; chance is a dotted line where it
    is known.
    """
    scale = Scale(MEASURE, f"linear probe, {metric}", "")
    if stream is None:
        joint = frame[frame["stream_b"].ne("")]
        figure = alignment_curves(joint, series, pair=pair, scale=scale, height=height)
        return _with_chance(figure, joint)
    figure = curve_figure(
        probe_points(frame, stream),
        series,
        stream,
        x_title=f"{stream} layer (0 = embeddings)",
        y_title=scale.label,
        y_range=(-0.02, 1.02),
        where=lambda k: f"{stream} layer {k}",
        first=0,
        height=height,
        named=layer_sites(frame, series, stream, MEASURE),
    )
    return _with_chance(figure, frame[frame["stream_a"].eq(stream) & frame["stream_b"].eq("")])


def _with_chance(figure: go.Figure, rows: pd.DataFrame) -> go.Figure:
    """The figure with chance as a line over all layers; as it is where chance is not known."""
    chance = rows["null_mean"].mean() if len(rows) else float("nan")
    axis = figure.layout.xaxis.range
    if chance != chance or axis is None:
        return figure
    return figure.add_trace(
        go.Scatter(
            x=list(axis),
            y=[chance, chance],
            mode="lines",
            line={"color": NEUTRAL, "width": 1.5, "dash": "dot"},
            name=f"chance {chance:.2f}",
            hoverinfo="skip",
        )
    )
