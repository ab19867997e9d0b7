"""What two streams have in common, by the size of the model, a point a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from backend.figures.scales import Scale
from backend.figures.theme import NEUTRAL, Series, axis, escape, layout, number, point_look
from backend.figures.transitions import y_range, y_title


def growth_figure(
    points: pd.DataFrame,
    series: Sequence[Series],
    *,
    scale: Scale,
    estimator: str = "",
    height: int = 360,
) -> go.Figure:
    """The rows of :func:`backend.views.growth.growth_points`, parameters on a log axis.

    A bar is the range over seeds; chance of each model is an open dash at its size.
    """
    series_of = {one.key: one for one in series}
    traces = []
    row: Any
    for row in points.itertuples(index=False):
        colour, symbol = point_look(series_of[row.series])
        hover = (
            f"<b>{escape(row.label)}</b><br>{escape(row.where)}<br>about {row.size:,.0f} "
            f"parameters<br>{escape(scale.label)} {row.value:.3f}, "
            f"chance {number(row.null_mean)}<br>n = {row.n:,}"
        )
        traces.append(
            go.Scatter(
                x=[row.size],
                y=[row.value],
                mode="markers",
                marker={"size": 12, "color": colour, "symbol": symbol},
                error_y={
                    "color": colour,
                    "type": "data",
                    "symmetric": False,
                    "array": [row.high - row.value],
                    "arrayminus": [row.value - row.low],
                },
                name=escape(row.label),
                hovertext=[hover],
                hoverinfo="text",
            )
        )
    chance = points[points["null_mean"].notna()]
    if len(chance):
        traces.append(
            go.Scatter(
                x=chance["size"].to_numpy(),
                y=chance["null_mean"].to_numpy(),
                mode="markers",
                marker={
                    "symbol": "line-ew-open",
                    "size": 18,
                    "color": NEUTRAL,
                    "line": {"width": 2},
                },
                name="chance",
                hoverinfo="skip",
            )
        )
    settings = layout(height=height) | {
        "hovermode": "closest",
        "xaxis": axis("parameters in the blocks of both streams (about)", type="log"),
        "yaxis": axis(
            f"{y_title(scale, estimator)}, mean of matching layers",
            range=list(y_range(scale, points)),
        ),
    }
    return go.Figure(data=traces, layout=settings)
