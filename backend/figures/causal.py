"""The causal test of a fusion as a figure: CKA at fusions by partner, trained and not."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from backend.figures.theme import NEUTRAL, axis, escape, layout, number

_PARTNERS: Mapping[str, tuple[str, str, str]] = {
    "true": ("own partner", "circle", "#0F9D76"),
    "shuffled": ("another sample's partner", "diamond-open", "#C2453D"),
    "constant": ("one partner for all", "square", NEUTRAL),
}
_ROW_PX = 34


def intervention_figure(rows: pd.DataFrame, *, x_title: str = "CKA at fusions") -> go.Figure:
    """A panel a stream; in each a row a placement and state of the weights, a marker a partner.

    ``rows``: ``stream``, ``placement``, ``weights``, ``partner``, ``value``, ``low``, ``high`` and
    ``seeds``, of one measure (:func:`backend.interventions.summary.over_seeds`). Without an
    interval there is no bar: one seed has none.
    """
    streams = list(dict.fromkeys(rows["stream"])) or [""]
    labels = [
        f"{p}, {w}" for p, w in dict.fromkeys(zip(rows["placement"], rows["weights"], strict=True))
    ]
    figure = make_subplots(1, len(streams), subplot_titles=streams, shared_yaxes=True)
    figure.update_layout(layout(height=90 + _ROW_PX * max(len(labels), 1), legend=True))
    for column, stream in enumerate(streams, start=1):
        for partner, (name, symbol, colour) in _PARTNERS.items():
            mine = rows[rows["stream"].eq(stream) & rows["partner"].eq(partner)]
            if mine.empty:
                continue
            figure.add_trace(
                go.Scatter(
                    x=mine["value"].to_numpy(),
                    y=[
                        f"{p}, {w}" for p, w in zip(mine["placement"], mine["weights"], strict=True)
                    ],
                    mode="markers",
                    name=name,
                    legendgroup=partner,
                    showlegend=column == 1,
                    marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 2}},
                    error_x={
                        "type": "data",
                        "symmetric": False,
                        "array": (mine["high"] - mine["value"]).to_numpy(),
                        "arrayminus": (mine["value"] - mine["low"]).to_numpy(),
                        "color": colour,
                        "thickness": 1.4,
                    },
                    hovertext=[
                        escape(f"{row['placement']}, {row['weights']}, {name}: {cell(row)}")
                        for row in mine.to_dict("records")
                    ],
                    hoverinfo="text",
                ),
                row=1,
                col=column,
            )
    figure.update_xaxes(**axis(x_title, fixedrange=True))
    figure.update_yaxes(
        categoryorder="array", categoryarray=labels[::-1], automargin=True, fixedrange=True
    )
    figure.update_layout(hovermode="closest")
    return figure


def cell(row: Mapping[Hashable, Any]) -> str:
    """``-0.103 (-0.140 to -0.066)``: a mean over seeds with its interval, where it has one."""
    low, high = row["low"], row["high"]
    spread = "" if low != low else f" ({number(low)} to {number(high)})"
    return f"{number(row['value'])}{spread}"
