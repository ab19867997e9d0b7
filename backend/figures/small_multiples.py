"""Curves of several runs side by side: a figure each, one y axis for all, no legend.

The sums over seeds are made once for all of a row's figures. Each keeps its own layer axis, so that
runs of different depth can stand beside each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import plotly.graph_objects as go

from backend.figures.curves import curve_figure
from backend.figures.dimensionality import MEASURES, dimension_points
from backend.figures.pairing import Pair
from backend.figures.scales import SCALES, Scale
from backend.figures.theme import Series
from backend.figures.transitions import (
    alignment_points,
    matched_streams,
    transition_points,
    y_range,
    y_title,
)
from backend.types import StreamSpec, matched_layers

Panels = dict[str, go.Figure]
HEIGHT_PX = 240


def transition_panels(
    frame: pd.DataFrame,
    series: Sequence[Series],
    stream: str,
    *,
    scale: Scale = SCALES["cka"],
    estimator: str = "",
    height: int = HEIGHT_PX,
) -> Panels:
    """{series key: a measure of layers k-1 and k of ``stream``} of every series with the stream.

    ``frame`` as in :func:`backend.figures.transition_curves`.
    """
    points = transition_points(frame, stream, scale.measure)
    shown = [one for one in series if one.stream(stream) is not None]
    return {
        one.key: _panel(
            points,
            one,
            stream,
            f"{stream} transition k",
            y_title(scale, estimator),
            y_range(scale, points),
            lambda k: f"{stream} {k - 1} to {k}",
            first=1,
            height=height,
        )
        for one in shown
    }


def alignment_panels(
    frame: pd.DataFrame,
    series: Sequence[Series],
    *,
    pair: Pair | None = None,
    scale: Scale = SCALES["cka"],
    estimator: str = "",
    height: int = HEIGHT_PX,
) -> Panels:
    """{series key: a measure of matching layers of two streams} of every series that has them.

    ``pair`` names the two; without one each series has its own default pair. Which layers match is
    said at :func:`backend.figures.alignment_curves`.
    """
    matched = {one.key: (one, both) for one in series if (both := matched_streams(one, pair))}
    if not matched:
        return {}
    shapes = {_shape(both): both for _, both in matched.values()}
    points = {
        shape: alignment_points(
            frame[frame["series"].isin([k for k, (_, p) in matched.items() if _shape(p) == shape])],
            *both,
            scale.measure,
        )
        for shape, both in shapes.items()
    }
    extent = y_range(scale, pd.concat(list(points.values())))
    panels = {}
    for key, (one, (deep, other)) in matched.items():
        partner = {a.layer: b.layer for a, b in matched_layers(deep, other)}
        panels[key] = _panel(
            points[_shape((deep, other))],
            one,
            deep.name,
            f"{deep.name} layer with {other.name}",
            y_title(scale, estimator),
            extent,
            lambda k, deep=deep.name, other=other.name, partner=partner: (  # type: ignore[misc]
                f"{deep} layer {k} and {other} layer {partner.get(k, k)}"
            ),
            first=0,
            height=height,
        )
    return panels


def _shape(pair: tuple[StreamSpec, StreamSpec]) -> tuple[object, ...]:
    """Names and depths: series of one shape are summed up together."""
    return tuple(part for spec in pair for part in (spec.name, spec.depth))


def dimension_panels(
    frame: pd.DataFrame,
    series: Sequence[Series],
    stream: str,
    measure: str = "effective_dimension",
    *,
    y_max: float,
    name: str | None = None,
    height: int = HEIGHT_PX,
) -> Panels:
    """{series key: a one-layer measure of ``stream``} of every series with the stream.

    ``y_max`` fixes the upper end, so that two streams can share a scale.
    """
    points = dimension_points(frame, stream, measure)
    return {
        one.key: _panel(
            points,
            one,
            stream,
            f"{stream} layer",
            name or MEASURES.get(measure, measure),
            (0.0, y_max * 1.06 or 1.0),
            lambda k: f"{stream} layer {k}",
            first=0,
            digits=1,
            height=height,
        )
        for one in series
        if one.stream(stream) is not None
    }


def _panel(
    points: pd.DataFrame,
    one: Series,
    stream: str,
    x_title: str,
    y_name: str,
    extent: tuple[float, float],
    where: Callable[[int], str],
    *,
    first: int,
    digits: int = 3,
    height: int,
) -> go.Figure:
    return curve_figure(
        points,
        [one],
        stream,
        x_title=f"{one.label}: {x_title}",
        y_title=y_name,
        y_range=extent,
        where=where,
        first=first,
        digits=digits,
        height=height,
        legend=False,
    )
