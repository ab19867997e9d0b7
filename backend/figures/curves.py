"""Curves over layers: mean line, band over seeds, fusion shaded, gaps with their reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from backend.figures.seeds import BAND
from backend.figures.theme import (
    FUSION_MARK,
    GRID,
    NEUTRAL,
    Series,
    axis,
    escape,
    layout,
    marker_of,
    rgba,
    style_of,
)
from backend.types import StreamSpec

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
) -> go.Figure:
    """Curves of one stream, one a series, over layers or transitions.

    ``points`` has the columns of :func:`backend.figures.seeds.over_seeds` plus ``series`` and
    ``x``. One series is drawn in its modality's colour with its fusion layers shaded. Several are
    drawn in their own colours, and a strip below the axis shows where each of them fuses.
    ``where`` words an x position for the hover; ``first`` is the smallest x.
    """
    shown = [one for one in series if one.stream(stream) is not None]
    overlay = len(shown) > 1
    track = _TRACK_PX * len(shown) + 8 if overlay else 0
    legend_rows = 2 if overlay else 1
    total = height + track + 18 * (legend_rows - 1)
    figure = make_subplots(
        rows=2 if overlay else 1,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.02,
        row_heights=[1 - track / total, track / total] if overlay else None,
    )
    figure.update_layout(**layout(height=total), hovermode="closest")
    figure.update_layout(
        legend={"yref": "container", "y": 0.99, "yanchor": "top", "itemsizing": "constant"},
        margin={"t": 10 + 24 * legend_rows},
    )
    depth = 0
    for one in shown:
        spec = _spec(one, stream)
        depth = max(depth, spec.depth)
        colour = one.colour if overlay else style_of(spec).colour
        rows = points[points["series"].eq(one.key)].sort_values("x")
        _add_band(figure, rows, colour, one.key)
        _add_line(figure, rows, one, spec, colour, where, digits, y_range, overlay)
        if not overlay:
            _shade(figure, spec)
    counts = sorted({int(k) for k in points["seeds"] if k > 1})
    if counts:
        seeds = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        name = f"mean of {seeds} seeds, {BAND}"
        marker = {"symbol": "square", "size": 12, "color": rgba(NEUTRAL, 0.35)}
        figure.add_trace(_legend_only(name, marker))
    if not overlay and shown and _spec(shown[0], stream).fusion_layers:
        colour = style_of(_spec(shown[0], stream)).colour
        marker = {"symbol": "square", "size": 12, "color": rgba(colour, 0.22)}
        figure.add_trace(_legend_only(f"{FUSION_MARK} fusion", marker))
    ticks = list(range(first, depth + 1, 1 if depth <= 16 else 2 if depth <= 32 else 4))
    if overlay:
        _add_track(figure, shown, stream)
    x_settings = {"range": [first - 0.5, depth + 0.5], "tickvals": ticks, "fixedrange": True}
    figure.update_xaxes(**axis("", **x_settings), row=1, col=1)
    last = 2 if overlay else 1
    figure.update_xaxes(**axis(x_title, **x_settings), row=last, col=1)
    if overlay:
        figure.update_xaxes(showticklabels=False, row=1, col=1)
        figure.update_xaxes(showticklabels=True, row=2, col=1)
    figure.update_yaxes(**axis(y_title, range=list(y_range), fixedrange=True), row=1, col=1)
    return figure


def _spec(one: Series, stream: str) -> StreamSpec:
    spec = one.stream(stream)
    if spec is None:
        raise ValueError(f"{one.label} has no stream {stream}")
    return spec


def _add_line(
    figure: go.Figure,
    rows: pd.DataFrame,
    one: Series,
    spec: StreamSpec,
    colour: str,
    where: Callable[[int], str],
    digits: int,
    y_range: tuple[float, float],
    overlay: bool,
) -> None:
    style = style_of(spec)
    fused = [int(x) in spec.fusion_layers for x in rows["x"]]
    head = escape(one.label)
    hover = [
        f"<b>{head}</b>, {escape(where(int(row.x)))}"
        + (f" {FUSION_MARK} fusion" if is_fused else "")
        + f"<br>mean {row.mean:.{digits}f}"
        + (f"<br>min {row.low:.{digits}f}, max {row.high:.{digits}f}" if row.seeds > 1 else "")
        + (f"<br>null {row.null_mean:.{digits}f}" if row.null_mean == row.null_mean else "")
        + f"<br>{int(row.seeds)} seeds, n = {int(row.n):,}"
        for row, is_fused in zip(rows.itertuples(), fused, strict=True)
    ]
    figure.add_trace(
        go.Scatter(
            x=rows["x"].to_numpy(),
            y=rows["mean"].to_numpy(),
            mode="lines+markers",
            connectgaps=False,
            line={"color": colour, "width": 2.2, "dash": style.dash},
            marker={
                "symbol": marker_of(one, spec) if overlay else style.marker,
                "line": {"width": 1.5, "color": colour} if overlay and one.variant % 2 else {},
                "size": [11 if is_fused else 8 for is_fused in fused],
                "color": colour,
            },
            name=head,
            legendgroup=one.key,
            hovertext=hover,
            hoverinfo="text",
        ),
        row=1,
        col=1,
    )
    gaps = rows[rows["mean"].isna()]
    if len(gaps):
        figure.add_trace(
            go.Scatter(
                x=gaps["x"].to_numpy(),
                y=[y_range[0] + 0.02 * (y_range[1] - y_range[0])] * len(gaps),
                mode="markers",
                marker={"symbol": "x-thin", "size": 9, "line": {"width": 2, "color": colour}},
                hovertext=[
                    f"<b>{head}</b>, {escape(where(int(row.x)))}<br>undefined: "
                    f"{escape(row.reason or 'no reason was stored')}"
                    for row in gaps.itertuples()
                ],
                hoverinfo="text",
                name="undefined",
                legendgroup=one.key,
                showlegend=False,
            ),
            row=1,
            col=1,
        )


def _add_band(figure: go.Figure, rows: pd.DataFrame, colour: str, group: str) -> None:
    """Filled polygons between low and high, one for each stretch without gaps."""
    stretch: list[tuple[float, float, float]] = []
    for x, low, high in [
        *zip(rows["x"], rows["low"], rows["high"], strict=True),
        (float("nan"),) * 3,
    ]:
        if low == low:
            stretch.append((float(x), float(low), float(high)))
            continue
        if len(stretch) > 1 and any(bottom < top for _, bottom, top in stretch):
            figure.add_trace(
                go.Scatter(
                    x=[p[0] for p in stretch] + [p[0] for p in reversed(stretch)],
                    y=[p[2] for p in stretch] + [p[1] for p in reversed(stretch)],
                    fill="toself",
                    fillcolor=rgba(colour, 0.16),
                    line={"width": 0},
                    mode="lines",
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=group,
                ),
                row=1,
                col=1,
            )
        stretch = []


def _shade(figure: go.Figure, spec: StreamSpec) -> None:
    colour = style_of(spec).colour
    for start, end in runs_of(spec.fusion_layers):
        figure.add_vrect(
            x0=start - 0.5,
            x1=end + 0.5,
            fillcolor=rgba(colour, 0.12),
            line_width=0,
            layer="below",
        )


def runs_of(layers: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive numbers joined: (4, 5, 6, 9) -> [(4, 6), (9, 9)]."""
    if not layers:
        return []
    ordered = sorted(layers)
    cuts = [i + 1 for i, (a, b) in enumerate(pairwise(ordered)) if b != a + 1]
    edges = [0, *cuts, len(ordered)]
    return [(ordered[a], ordered[b - 1]) for a, b in pairwise(edges)]


def _add_track(figure: go.Figure, shown: Sequence[Series], stream: str) -> None:
    """The strip below the axis: one row a series, a block where it fuses."""
    for index, one in enumerate(shown):
        spec = _spec(one, stream)
        y = len(shown) - 1 - index
        for k in spec.fusion_layers:
            figure.add_shape(
                type="rect",
                x0=k - 0.42,
                x1=k + 0.42,
                y0=y - 0.36,
                y1=y + 0.36,
                fillcolor=one.colour,
                line_width=0,
                row=2,
                col=1,
            )
        figure.add_trace(
            go.Scatter(
                x=list(range(1, spec.depth + 1)),
                y=[y] * spec.depth,
                mode="markers",
                marker={"size": 4, "color": rgba(one.colour, 0.5), "symbol": "circle"},
                hovertext=[
                    f"<b>{escape(one.label)}</b>, {escape(stream)} layer {k}: "
                    + ("fusion on entry" if k in spec.fusion_layers else "no fusion")
                    for k in range(1, spec.depth + 1)
                ],
                hoverinfo="text",
                showlegend=False,
                legendgroup=one.key,
            ),
            row=2,
            col=1,
        )
    figure.update_yaxes(
        title={"text": "fusion", "font": {"size": 11}},
        range=[-0.6, len(shown) - 0.4],
        showticklabels=False,
        showgrid=False,
        zeroline=False,
        fixedrange=True,
        row=2,
        col=1,
    )
    figure.update_xaxes(showgrid=False, gridcolor=GRID, row=2, col=1)


def _legend_only(name: str, marker: dict[str, object]) -> go.Scatter:
    return go.Scatter(
        x=[None], y=[None], mode="markers", marker=marker, name=name, hoverinfo="skip"
    )
