"""Curves over layers: mean line, band over seeds, fusion shaded, gaps with their reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from backend.figures.meets import fusion_at, fusion_of, losses_of, marked
from backend.figures.seeds import BAND, points_of, spread_in_words
from backend.figures.sites import norm_in_words, site_names
from backend.figures.theme import (
    FUSION_MARK,
    LEGEND,
    NEUTRAL,
    Series,
    Shape,
    axis,
    boxes_shape,
    escape,
    layout,
    marker_of,
    rgba,
)
from backend.types import StreamSpec

Trace = dict[str, Any]
_TRACK_PX = 13


def curve_figure(
    points: pd.DataFrame,
    series: Sequence[Series],
    stream: str,
    *,
    x_title: str,
    y_title: str,
    y_range: tuple[float, float],
    where: Callable[[int], str],
    first: int,
    digits: int = 3,
    height: int = 330,
    legend: bool = True,
    band: str = BAND,
    moving: bool = False,
    named: pd.DataFrame | None = None,
) -> go.Figure:
    """Curves of one stream, one a series, over layers or transitions.

    ``points`` has the columns of :func:`backend.figures.seeds.over_seeds` plus ``series`` and
    ``x``. One series is drawn in its stream's colour with its fusion layers shaded. Several are
    drawn in their own colours, and a strip below the axis shows where each of them fuses.
    ``where`` words an x position for the hover; ``first`` is the smallest x, ``band`` says in the
    legend what lies between the columns ``low`` and ``high``. The traces begin with those of
    :func:`series_traces`, series by series: without the empty ones, unless the figure is
    ``moving`` and its frames must find each at a place that they know. ``named`` are points beside
    the layers, as of :func:`backend.figures.sites.layer_sites`.
    """
    shown = [one for one in series if one.stream(stream) is not None]
    overlay = len(shown) > 1
    track = _TRACK_PX * len(shown) + 8 if overlay else 0
    legend_px = 24 * (2 if overlay else 1) if legend else 0
    total = height + track + legend_px - 24
    depth = max((_spec(one, stream).depth for one in shown), default=first)
    # Traces and shapes are collected and set at once: Plotly validates all of them on every call.
    traces: list[Trace | go.Scatter] = []
    shapes: list[Shape] = []
    for one in shown:
        rows = points[points["series"].eq(one.key)]
        drawn = series_traces(rows, one, stream, where, y_range, overlay=overlay, digits=digits)
        traces += [
            trace
            for trace in drawn
            if moving or len(trace["x"]) or trace["mode"] == "lines+markers"
        ]
    beside = named if named is not None else points.iloc[:0]
    if len(beside):
        traces += [_named(beside, one, stream, overlay=overlay, digits=digits) for one in shown]
    traces += _legend(points, shown, stream, overlay, band) if legend else []
    if overlay:
        for row, one in enumerate(reversed(shown)):
            strip, blocks = _strip(one, _spec(one, stream), row)
            traces.append(strip)
            shapes += blocks
    elif shown:
        shapes += shading(_spec(shown[0], stream), shown[0].styles[stream].colour)
    # Without a legend it is one of several side by side, and narrow: half as many ticks.
    step = (1 if depth <= 16 else 2 if depth <= 32 else 4) * (1 if legend or depth <= 8 else 2)
    foot = track / (total - legend_px - 54)
    places: dict[str, float] = {}
    if len(beside):
        mean = beside.groupby("label")["position"].mean()
        places = {str(label): float(at) for label, at in mean.items()}
    names = site_names(places)
    settings = layout(height=total + names.px, legend=legend) | {
        "hovermode": "closest",
        "margin": {
            "l": 60 if legend else 48,
            "r": 24 if places else 10,
            "t": 10 + legend_px,
            "b": 44 + names.px,
        },
        "legend": {
            **LEGEND,
            "yref": "container",
            "y": 0.99,
            "yanchor": "top",
        },
        "shapes": shapes,
        "annotations": names.annotations,
        "xaxis": axis(
            x_title,
            below_px=names.px,
            range=[first - 0.5, max([depth, *places.values()]) + 0.5],
            tickvals=list(range(-(-first // step) * step, depth + 1, step)),
            tickangle=0,
            fixedrange=True,
            anchor="y2" if overlay else "y",
        ),
        "yaxis": axis(y_title, range=list(y_range), fixedrange=True, domain=[foot, 1]),
    }
    if overlay:
        settings["yaxis2"] = {
            "title": {"text": "fusion", "font": {"size": 11}},
            "range": [-0.6, len(shown) - 0.4],
            "domain": [0, foot - 0.02],
            "showticklabels": False,
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        }
    return go.Figure(data=traces, layout=settings)


def _spec(one: Series, stream: str) -> StreamSpec:
    spec = one.stream(stream)
    if spec is None:
        raise ValueError(f"{one.label} has no stream {stream}")
    return spec


def series_traces(
    rows: pd.DataFrame,
    one: Series,
    stream: str,
    where: Callable[[int], str],
    y_range: tuple[float, float],
    *,
    overlay: bool,
    digits: int = 3,
    also: Callable[[int], Sequence[str]] | None = None,
) -> tuple[Trace, Trace, Trace]:
    """A series' band, its mean line with hovers, and marks where the mean is undefined.

    Traces as Plotly's settings. ``rows`` are the series' points; the band and the marks may be
    empty. ``overlay`` says that it stands among others, ``also`` gives further lines for the hover
    at an x position.
    """
    spec = _spec(one, stream)
    rows = rows.sort_values("x")
    style = one.styles[stream]
    colour = one.colour if overlay else style.colour
    head = escape(one.label)
    points = points_of(rows)
    fused = [fusion_at(spec, point.x) for point in points]
    last = (norm_in_words(spec), losses_of(spec), spec.note)
    hover = [
        f"<b>{head}</b>, {escape(where(point.x))}"
        + escape(marked(fusion))
        + f"<br>mean {point.mean:.{digits}f}<br>"
        + "<br>".join(
            [
                *spread_in_words(point, digits),
                f"n = {point.n:,}",
                *(escape(line) for line in (also(point.x) if also else ())),
                *(escape(text) for text in last if text and point.x == spec.depth),
            ]
        )
        for point, fusion in zip(points, fused, strict=True)
    ]
    line: Trace = {
        "type": "scatter",
        "x": rows["x"].to_numpy(),
        "y": rows["mean"].to_numpy(),
        "mode": "lines+markers",
        "connectgaps": False,
        "line": {"color": colour, "width": 2.2, "dash": style.dash},
        "marker": {
            "symbol": marker_of(one, spec) if overlay else style.marker,
            "line": {"width": 1.5, "color": colour} if overlay and one.variant % 2 else {},
            "size": [11 if fusion else 8 for fusion in fused],
            "color": colour,
            "opacity": 1,
        },
        "name": head,
        "legendgroup": one.key,
        "hovertext": hover,
        "hoverinfo": "text",
    }
    gaps = [point for point in points if point.mean != point.mean]
    marks: Trace = {
        "type": "scatter",
        "x": [gap.x for gap in gaps],
        "y": [y_range[0] + 0.02 * (y_range[1] - y_range[0])] * len(gaps),
        "mode": "markers",
        "marker": {"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": colour}},
        "hovertext": [
            f"<b>{head}</b>, {escape(where(gap.x))}<br>undefined: "
            f"{escape(gap.reason or 'no reason was stored')}"
            for gap in gaps
        ],
        "hoverinfo": "text",
        "name": "undefined",
        "legendgroup": one.key,
        "showlegend": False,
    }
    return _band(rows, colour, one.key), line, marks


def _named(
    named: pd.DataFrame, one: Series, stream: str, *, overlay: bool, digits: int
) -> go.Scatter:
    """Open markers at a series' named sites; the axis names them."""
    rows = named[named["series"].eq(one.key)].sort_values("position")
    colour = one.colour if overlay else one.styles[stream].colour
    words = zip(rows["where"], points_of(rows), strict=True)
    return go.Scatter(
        x=rows["position"].to_numpy(),
        y=rows["mean"].to_numpy(),
        mode="markers",
        marker={
            "symbol": f"{one.styles[stream].marker}-open",
            "size": 10,
            "color": colour,
            "line": {"width": 2},
        },
        name=escape(f"{one.label}, named sites"),
        legendgroup=one.key,
        showlegend=False,
        hovertext=[
            f"<b>{escape(one.label)}</b>, {escape(where)}<br>"
            + (
                f"undefined: {escape(point.reason or 'no reason was stored')}"
                if point.mean != point.mean
                else "<br>".join(
                    [
                        f"mean {point.mean:.{digits}f}",
                        *spread_in_words(point, digits),
                        f"n = {point.n:,}",
                    ]
                )
            )
            for where, point in words
        ],
        hoverinfo="text",
    )


def _band(rows: pd.DataFrame, colour: str, group: str) -> Trace:
    """Filled polygons between low and high, one for each stretch without gaps."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    stretch: list[tuple[float, float, float]] = []
    for x, low, high in [
        *zip(rows["x"], rows["low"], rows["high"], strict=True),
        (float("nan"),) * 3,
    ]:
        if low == low:
            stretch.append((float(x), float(low), float(high)))
            continue
        if len(stretch) > 1 and any(bottom < top for _, bottom, top in stretch):
            apart = [None] if xs else []
            xs += [*apart, *(p[0] for p in stretch), *(p[0] for p in reversed(stretch))]
            ys += [*apart, *(p[2] for p in stretch), *(p[1] for p in reversed(stretch))]
        stretch = []
    return {
        "type": "scatter",
        "x": xs,
        "y": ys,
        "fill": "toself",
        "fillcolor": rgba(colour, 0.16),
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": group,
    }


def _legend(
    points: pd.DataFrame, shown: Sequence[Series], stream: str, overlay: bool, band: str
) -> list[go.Scatter]:
    """Entries that say what the line, the band and the shading are."""
    entries = []
    counts = sorted({int(k) for k in points["seeds"] if k > 1})
    if counts:
        seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        entries.append((f"mean of {seeds} seeds, {band}", rgba(NEUTRAL, 0.35)))
    if not overlay and shown and (fusion := fusion_of(_spec(shown[0], stream))):
        colour = shown[0].styles[stream].colour
        entries.append((f"{FUSION_MARK} {escape(fusion)}", rgba(colour, 0.22)))
    return [
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            marker={"symbol": "square", "size": 12, "color": colour},
            name=name,
            hoverinfo="skip",
        )
        for name, colour in entries
    ]


def shading(spec: StreamSpec, colour: str, xref: str = "x") -> list[Shape]:
    """The fusion layers of a stream shaded over the whole height; none for one without any."""
    if not spec.fusion_layers:
        return []
    boxes = [(start - 0.5, end + 0.5, 0.0, 1.0) for start, end in runs_of(spec.fusion_layers)]
    look = {"fillcolor": rgba(colour, 0.12), "line": {"width": 0}, "layer": "below"}
    return [boxes_shape(boxes, xref=xref, yref="paper", **look)]


def runs_of(layers: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive numbers joined: (4, 5, 6, 9) -> [(4, 6), (9, 9)]."""
    if not layers:
        return []
    ordered = sorted(layers)
    cuts = [i + 1 for i, (a, b) in enumerate(pairwise(ordered)) if b != a + 1]
    edges = [0, *cuts, len(ordered)]
    return [(ordered[a], ordered[b - 1]) for a, b in pairwise(edges)]


def _strip(one: Series, spec: StreamSpec, row: int) -> tuple[go.Scatter, list[Shape]]:
    """A series' row in the strip below the axis: a dot a layer, a block where it fuses."""
    layers = list(range(1, spec.depth + 1))
    dots = go.Scatter(
        x=layers,
        y=[row] * spec.depth,
        yaxis="y2",
        mode="markers",
        marker={"size": 4, "color": rgba(one.colour, 0.5), "symbol": "circle"},
        hovertext=[
            f"<b>{escape(one.label)}</b>, {escape(spec.name)} layer {k}: "
            + (escape(fusion_at(spec, k)) or "no fusion")
            for k in layers
        ],
        hoverinfo="text",
        showlegend=False,
        legendgroup=one.key,
    )
    boxes = [(k - 0.42, k + 0.42, row - 0.36, row + 0.36) for k in spec.fusion_layers]
    look = {"fillcolor": one.colour, "line": {"width": 0}, "xref": "x", "yref": "y2"}
    return dots, [boxes_shape(boxes, **look)] if boxes else []


def holds_points(figure: go.Figure) -> bool:
    """Whether a figure of curves holds any point besides its legend and its strip of fusions."""
    return any(
        trace.yaxis in (None, "y") and bool(trace.hovertext)
        for trace in figure.data
        if isinstance(trace, go.Scatter)
    )
