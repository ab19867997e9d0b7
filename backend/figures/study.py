"""The study's small figures: effects with their intervals, and alignment against the score."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

import pandas as pd
import plotly.graph_objects as go

from backend.figures.theme import NEUTRAL, SERIES_COLOURS, axis, base_figure, escape, number
from backend.figures.whiskers import whiskers

_STYLES: Mapping[str, tuple[str, str]] = {
    "supported": ("diamond", "#0F9D76"),
    "contradicted": ("x", "#C2453D"),
    "no clear difference": ("circle-open", NEUTRAL),
    "underpowered": ("circle-open-dot", "#B7791F"),
    "described": ("diamond-open", NEUTRAL),
}
_PART = ("line-ns-open", NEUTRAL)
_ROW_PX = 26
_SIDES = ("top center", "bottom center")


def effect_forest(
    rows: pd.DataFrame,
    *,
    x_title: str,
    null: float = 0.0,
    x_range: tuple[float, float] | None = None,
    percent: bool = False,
) -> go.Figure:
    """Effects with their 95 % intervals, one a row from top to bottom, and a line at no effect.

    ``rows``: ``label`` (each once), ``value``, ``low``, ``high``, ``n``, ``unit``, ``verdict``
    ("" for a part that is shown and not tested). The verdict is told by marker and by colour; one
    that only describes needs no interval. Any other row without one says "not enough runs".
    """
    figure = base_figure(height=56 + _ROW_PX * max(len(rows), 1) + 24, legend=True)
    labels = [escape(label) for label in rows["label"]]
    bounded = rows["low"].notna() & rows["high"].notna()
    known = rows["value"].notna() & (bounded | rows["verdict"].eq("described"))
    shown = dict.fromkeys(rows[known]["verdict"])
    figure.add_vline(x=null, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    for verdict in shown:
        mine = rows[known & rows["verdict"].eq(verdict)]
        symbol, colour = _STYLES.get(verdict, _PART)
        figure.add_trace(
            go.Scatter(
                x=mine["value"].to_numpy(),
                y=[escape(label) for label in mine["label"]],
                mode="markers",
                name=verdict or "one placement, not tested",
                marker={"symbol": symbol, "size": 11, "color": colour, "line": {"width": 2}},
                error_x=whiskers(
                    mine, colour, thickness=1.8 if verdict else 1, width=4 if verdict else 2
                ),
                hovertext=[_hover(row, percent) for row in mine.to_dict("records")],
                hoverinfo="text",
            )
        )
    lacking = rows[~known]
    if len(lacking):
        figure.add_trace(
            go.Scatter(
                x=[null] * len(lacking),
                y=[escape(label) for label in lacking["label"]],
                mode="text",
                text=["not enough runs"] * len(lacking),
                textposition="middle right",
                textfont={"color": NEUTRAL},
                showlegend=False,
                hoverinfo="skip",
            )
        )
    figure.update_xaxes(
        **axis(
            x_title,
            range=list(x_range or _span(rows[known], null)),
            fixedrange=True,
            nticks=7,
            tickformat="+.0%" if percent else None,
        )
    )
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=labels[::-1],
        range=[-0.6, max(len(labels), 1) - 0.4],
        automargin=True,
        ticklabelstandoff=6,
        gridcolor="rgba(128,128,128,0.12)",
        fixedrange=True,
    )
    figure.update_layout(hovermode="closest", margin={"l": 10, "t": 34})
    return figure


def alignment_scatter(
    points: pd.DataFrame,
    *,
    x_title: str,
    y_title: str,
    colours: Mapping[str, str] | None = None,
    height: int = 320,
) -> go.Figure:
    """One named point a placement: alignment of the last layers against the score.

    ``points``: ``placement``, ``alignment``, ``score``, ``seeds``; ``colours`` by placement.
    """
    figure = base_figure(height=height, legend=False)
    own = colours or {}
    points = points.sort_values("alignment", kind="stable")
    names = points["placement"].tolist()
    figure.add_trace(
        go.Scatter(
            x=points["alignment"].to_numpy(),
            y=points["score"].to_numpy(),
            mode="markers+text",
            text=[escape(name) for name in names],
            # Neighbours have their names on different sides.
            textposition=[_SIDES[at % len(_SIDES)] for at in range(len(names))],
            marker={
                "size": 10,
                "symbol": "diamond",
                "color": [
                    own.get(name, SERIES_COLOURS[at % len(SERIES_COLOURS)])
                    for at, name in enumerate(names)
                ],
            },
            hovertext=[
                f"<b>{escape(row['placement'])}</b><br>{escape(x_title)} {row['alignment']:.3f}"
                f"<br>{escape(y_title)} {row['score']:.3f}<br>mean of {row['seeds']} seed(s)"
                for row in points.to_dict("records")
            ],
            hoverinfo="text",
        )
    )
    figure.update_xaxes(**axis(x_title, range=_padded(points["alignment"]), fixedrange=True))
    figure.update_yaxes(**axis(y_title, range=_padded(points["score"]), fixedrange=True))
    figure.update_layout(hovermode="closest")
    return figure


def _hover(row: Mapping[Hashable, object], percent: bool) -> str:
    def show(value: object) -> str:
        found = float(str(value))
        return f"{100 * found:+.0f} %" if percent and not math.isnan(found) else number(found)

    verdict = f"<br>{row['verdict']}" if row["verdict"] else ""
    within = f", 95 % interval {show(row['low'])} to {show(row['high'])}"
    if math.isnan(float(str(row["low"]))):
        within = ""
    return (
        f"<b>{escape(row['label'])}</b><br>{show(row['value'])}{within}<br>{row['n']} "
        f"{escape(row['unit'])}{verdict}"
    )


def _span(rows: pd.DataFrame, null: float) -> tuple[float, float]:
    """All intervals and the line of no effect, with room at both ends."""
    low = min([null, *rows["low"].fillna(rows["value"]).tolist()])
    high = max([null, *rows["high"].fillna(rows["value"]).tolist()])
    pad = 0.08 * (high - low) or 0.05
    return low - pad, high + pad


def _padded(values: pd.Series) -> list[float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    pad = 0.15 * (high - low) or 0.05
    return [low - pad, high + pad]
