"""The causal test of a fusion as a figure: CKA across fusions by partner, trained and not."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from backend.figures.theme import NEUTRAL, axis, escape, layout, number, rgba
from backend.figures.whiskers import whiskers

_CONDITIONS: Mapping[tuple[str, str], tuple[str, str, str]] = {
    ("trained", "true"): ("its own partner", "circle", "#0F9D76"),
    ("trained", "shuffled"): ("another sample's partner", "diamond", "#C2453D"),
    ("trained", "constant"): ("one partner for all", "square", NEUTRAL),
    ("untrained", "true"): ("its own partner, before training", "circle-open", "#0F9D76"),
}
"""{(weights, partner): words at the axis, marker, colour}, from top to bottom."""
_ROW_PX = 40


def condition_figure(runs: pd.DataFrame, means: pd.DataFrame) -> go.Figure:
    """A panel a stream, a row a condition: a dot a run, and the mean over seeds with its interval.

    ``runs`` and ``means`` are those of :mod:`backend.study.conditions`. Without an interval there
    is no bar: one seed has none.
    """
    several = runs["where"].nunique() > 1
    panels = list(dict.fromkeys(zip(runs["stream"], runs["where"], strict=True))) or [("", "")]
    titles = [f"{stream}, {where}" if several else stream for stream, where in panels]
    names = [escape(name) for name, _, _ in _CONDITIONS.values()]
    figure = make_subplots(
        len(panels), 1, subplot_titles=[escape(title) for title in titles], shared_xaxes=True
    )
    height = len(panels) * (40 + _ROW_PX * len(names)) + 60
    figure.update_layout(layout(height=height, legend=False))
    for row, (stream, where) in enumerate(panels, start=1):
        for (weights, partner), looks in _CONDITIONS.items():
            state = {"stream": stream, "where": where, "weights": weights, "partner": partner}
            own, mean = _rows(runs, state), _rows(means, state)
            if len(own):
                figure.add_trace(_dots(own, *looks), row=row, col=1)
                figure.add_trace(_mean(mean, *looks), row=row, col=1)
    figure.update_xaxes(**axis("", fixedrange=True))
    title = "CKA of the layers before and after a fusion (1: nothing changes)"
    figure.update_xaxes(**axis(title, fixedrange=True), row=len(panels), col=1)
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=names[::-1],
        range=[-0.6, len(names) - 0.4],
        automargin=True,
        fixedrange=True,
        ticklabelstandoff=6,
        gridcolor="rgba(128,128,128,0.12)",
    )
    figure.update_layout(hovermode="closest", margin={"l": 10, "t": 34})
    return figure


def _rows(frame: pd.DataFrame, equal: Mapping[str, str]) -> pd.DataFrame:
    """Rows whose columns have these values."""
    for name, value in equal.items():
        frame = frame[frame[name].eq(value)]
    return frame


def _dots(rows: pd.DataFrame, name: str, symbol: str, colour: str) -> go.Scatter:
    return go.Scatter(
        x=rows["value"].to_numpy(),
        y=[escape(name)] * len(rows),
        mode="markers",
        name=f"{name}, each run",
        marker={"symbol": symbol, "size": 5, "color": rgba(colour, 0.5)},
        hovertext=[
            f"<b>{escape(row['placement'])}, seed {row['seed']}</b><br>{escape(name)}<br>"
            f"{number(row['value'])}"
            for row in rows.to_dict("records")
        ],
        hoverinfo="text",
    )


def _mean(rows: pd.DataFrame, name: str, symbol: str, colour: str) -> go.Scatter:
    (row,) = rows.to_dict("records")
    spread = "one seed has no interval"
    if row["seeds"] > 1:
        ends = f"{number(row['low'])} to {number(row['high'])}"
        spread = f"95 % interval {ends}, {row['seeds']} seeds"
    return go.Scatter(
        x=rows["value"].to_numpy(),
        y=[escape(name)],
        mode="markers",
        name=f"{name}, mean",
        marker={"symbol": symbol, "size": 12, "color": colour, "line": {"width": 2}},
        error_x=whiskers(rows, colour, thickness=1.8, width=4),
        hovertext=[f"<b>{escape(name)}</b><br>{number(row['value'])}, {spread}"],
        hoverinfo="text",
    )
