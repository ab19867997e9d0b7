"""Curves of several runs side by side, as one figure: a panel each, one y axis for all of them.

A browser draws one figure of four panels much sooner than four figures. Each panel keeps its own
layer axis, so that runs of different depth can stand beside each other. A run that lacks the
stream has no panel; where none has it the figure is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from backend.figures.curves import Trace, series_traces, shading
from backend.figures.dimensionality import Span, axis_words, dimension_points
from backend.figures.scales import SCALES, Scale
from backend.figures.theme import Series, Shape, axis, layout
from backend.figures.transitions import (
    alignment_points,
    matched_streams,
    transition_points,
    y_range,
    y_title,
)
from backend.pairing import Pair
from backend.types import StreamSpec, matched_layers

HEIGHT_PX = 250
LEAST_PANEL_PX = 200
"""Narrower than this a panel cannot be read."""


@dataclass(frozen=True)
class _Panel:
    """One run's curve of one stream: its points, its axis' words, and words for a position."""

    one: Series
    spec: StreamSpec
    points: pd.DataFrame
    x_title: str
    where: Callable[[int], str]


def transition_panels(
    frame: pd.DataFrame,
    series: Sequence[Series],
    stream: str,
    *,
    scale: Scale = SCALES["cka"],
    estimator: str = "",
    height: int = HEIGHT_PX,
) -> go.Figure:
    """A measure of layers k-1 and k of ``stream``, a panel a series.

    ``frame`` as in :func:`backend.figures.transition_curves`.
    """
    points = transition_points(frame, stream, scale.measure)
    panels = [
        _Panel(one, spec, points, f"{stream} transition k", lambda k: f"{stream} {k - 1} to {k}")
        for one in series
        if (spec := one.stream(stream)) is not None
    ]
    return _row(panels, y_title(scale, estimator), y_range(scale, points), height, first=1)


def alignment_panels(
    frame: pd.DataFrame,
    series: Sequence[Series],
    *,
    pair: Pair | None = None,
    scale: Scale = SCALES["cka"],
    estimator: str = "",
    height: int = HEIGHT_PX,
) -> go.Figure:
    """A measure of matching layers of two streams, a panel a series.

    ``pair`` names the two; without one each series has its own default pair. Which layers match is
    said at :func:`backend.figures.alignment_curves`.
    """
    matched = [(one, both) for one in series if (both := matched_streams(one, pair))]
    panels = []
    for one, (deep, other) in matched:
        partner = {a.layer: b.layer for a, b in matched_layers(deep, other)}

        def where(
            k: int, deep: str = deep.name, other: str = other.name, partner: dict = partner
        ) -> str:
            return f"{deep} layer {k} and {other} layer {partner.get(k, k)}"

        mine = frame[frame["series"].eq(one.key)]
        points = alignment_points(mine, deep, other, scale.measure)
        panels.append(_Panel(one, deep, points, f"{deep.name} layer with {other.name}", where))
    every = pd.concat([panel.points for panel in panels]) if panels else pd.DataFrame()
    return _row(panels, y_title(scale, estimator), y_range(scale, every), height, first=0)


def dimension_panels(
    frame: pd.DataFrame,
    series: Sequence[Series],
    stream: str,
    measure: str = "effective_dimension",
    *,
    span: Span,
    height: int = HEIGHT_PX,
) -> go.Figure:
    """A one-layer measure of ``stream``, a panel a series.

    ``span`` is the y axis, so that two streams can share it.
    """
    points = dimension_points(frame, stream, measure)
    panels = [
        _Panel(one, spec, points, f"{stream} layer", lambda k: f"{stream} layer {k}")
        for one in series
        if (spec := one.stream(stream)) is not None
    ]
    return _row(panels, axis_words(measure), span, height, first=0, digits=1)


def _row(
    panels: Sequence[_Panel], y_name: str, extent: Span, height: int, *, first: int, digits: int = 3
) -> go.Figure:
    traces: list[Trace] = []
    shapes: list[Shape] = []
    settings = layout(height=height, legend=False) | {
        "hovermode": "closest",
        "margin": {"l": 56, "r": 10, "t": 10, "b": 44},
        "yaxis": axis(y_name, range=list(extent), fixedrange=True, anchor="x"),
        "shapes": shapes,
    }
    gap = 0.02
    width = (1 + gap) / max(len(panels), 1)
    for at, panel in enumerate(panels):
        name = f"x{at + 1}" if at else "x"
        rows = panel.points[panel.points["series"].eq(panel.one.key)]
        drawn = series_traces(
            rows,
            panel.one,
            panel.spec.name,
            panel.where,
            extent,
            overlay=False,
            digits=digits,
        )
        traces += [trace | {"xaxis": name, "yaxis": "y"} for trace in drawn if len(trace["x"])]
        shapes += shading(panel.spec, panel.one.styles[panel.spec.name].colour, name)
        step = 2 * (1 if panel.spec.depth <= 16 else 2 if panel.spec.depth <= 32 else 4)
        settings[f"xaxis{name[1:]}"] = axis(
            f"{panel.one.label}: {panel.x_title}",
            range=[first - 0.5, panel.spec.depth + 0.5],
            tickvals=list(range(-(-first // step) * step, panel.spec.depth + 1, step)),
            tickangle=0,
            fixedrange=True,
            anchor="y",
            domain=[at * width, at * width + width - gap],
        )
    return go.Figure(data=traces, layout=settings)
