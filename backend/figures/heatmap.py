"""Layer x layer CKA: one pair of streams, or all streams in one block matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from backend.figures.seeds import Point, over_seeds, pairs, points_of
from backend.figures.theme import (
    FUSION_MARK,
    NEUTRAL,
    SIMILARITY_SCALE,
    axis,
    base_figure,
    escape,
    number,
)
from backend.types import LayerRef, StreamSpec


def axis_refs(streams: Sequence[StreamSpec]) -> tuple[LayerRef, ...]:
    """The layers along an axis in order: position i of the axis is the i-th of these."""
    return tuple(ref for spec in streams for ref in spec.layers)


def matrix_points(
    frame: pd.DataFrame, rows: Sequence[StreamSpec], columns: Sequence[StreamSpec]
) -> pd.DataFrame:
    """Cells of the matrix, both halves: ``x``, ``y`` (axis positions) and the seeds' summary."""
    places_x = {ref: i for i, ref in enumerate(axis_refs(columns))}
    places_y = {ref: i for i, ref in enumerate(axis_refs(rows))}
    parts = []
    for a in rows:
        for b in columns:
            cells = pairs(frame, a.name, b.name)
            cells = cells[cells["site_a"].eq("block") & cells["site_b"].eq("block")]
            summary = over_seeds(cells, ["layer_a", "layer_b"])
            if a.name == b.name:
                mirror = summary.rename(columns={"layer_a": "layer_b", "layer_b": "layer_a"})
                upper = summary["layer_a"].ne(summary["layer_b"])
                summary = pd.concat([summary, mirror[upper.to_numpy()]])
            parts.append(
                summary.assign(
                    y=[places_y.get(LayerRef(a.name, int(k)), -1) for k in summary["layer_a"]],
                    x=[places_x.get(LayerRef(b.name, int(k)), -1) for k in summary["layer_b"]],
                )
            )
    filled = [part for part in parts if len(part)]
    cells = pd.concat(filled, ignore_index=True) if filled else parts[0]
    return cells[(cells["x"] >= 0) & (cells["y"] >= 0)]


def layer_heatmap(
    frame: pd.DataFrame,
    rows: Sequence[StreamSpec],
    columns: Sequence[StreamSpec],
    *,
    model: str = "",
    selected: tuple[LayerRef, LayerRef] | None = None,
    show_text: bool = False,
    height: int = 560,
) -> go.Figure:
    """Mean CKA over seeds between every layer of ``rows`` and every layer of ``columns``.

    Pass one stream on each side for one block, or all streams on both sides for the whole matrix.
    The colours run from 0 to 1 whatever the data; a debiased value may lie slightly below 0 and is
    shown as it is. A transparent square marker on every cell makes it clickable (a click on a
    Plotly heatmap returns nothing): its ``x`` and ``y`` are positions in :func:`axis_refs`.
    """
    refs_x, refs_y = axis_refs(columns), axis_refs(rows)
    cells = matrix_points(frame, rows, columns)
    z = np.full((len(refs_y), len(refs_x)), np.nan)
    z[cells["y"].to_numpy(dtype=int), cells["x"].to_numpy(dtype=int)] = cells["mean"].to_numpy()
    figure = base_figure(height=height, legend=False)
    figure.add_trace(
        go.Heatmap(
            z=z,
            zmin=0.0,
            zmax=1.0,
            colorscale=SIMILARITY_SCALE,
            xgap=1,
            ygap=1,
            hoverinfo="skip",
            text=[[_short(v) for v in line] for line in z] if show_text else None,
            texttemplate="%{text}" if show_text else None,
            colorbar={
                "title": {"text": "CKA", "side": "top"},
                "thickness": 10,
                "tickvals": [0, 0.25, 0.5, 0.75, 1],
                "outlinewidth": 0,
                "len": 0.9,
            },
        )
    )
    largest = max(len(refs_x), len(refs_y), 1)
    figure.add_trace(
        go.Scatter(
            x=cells["x"].to_numpy(dtype=int),
            y=cells["y"].to_numpy(dtype=int),
            mode="markers",
            marker={
                "symbol": "square",
                "size": max(6.0, 0.8 * (height - 80) / largest),
                "color": "rgba(0,0,0,0)",
                "line": {"width": 0},
            },
            selected={"marker": {"opacity": 0}},
            unselected={"marker": {"opacity": 0}},
            hovertext=_hovers(cells, refs_x, refs_y),
            hoverinfo="text",
            name="cells",
        )
    )
    _mark_undefined(figure, cells)
    _separate(figure, rows, columns)
    _outline(figure, selected, refs_x, refs_y)
    figure.update_xaxes(**_axis(columns, model, "<br>"))
    figure.update_yaxes(**_axis(rows, model, " "))
    figure.update_layout(hovermode="closest", clickmode="event+select", margin={"l": 70, "b": 58})
    return figure


def pair_in_words(a: LayerRef, b: LayerRef) -> str:
    """``vision layer 4 and text layer 6``."""
    if a == b:
        return f"{a.stream} layer {a.label} and itself"
    return f"{a.stream} layer {a.label} and {b.stream} layer {b.label}"


def _short(value: float) -> str:
    return "" if value != value else f"{value:.2f}".replace("-0.00", "0.00")


def _hovers(
    cells: pd.DataFrame, refs_x: tuple[LayerRef, ...], refs_y: tuple[LayerRef, ...]
) -> list[str]:
    null_sd = cells["null_sd"].tolist()
    z = [
        (mean - null) / sd if sd > 0 else float("nan")
        for mean, null, sd in zip(
            cells["mean"].tolist(), cells["null_mean"].tolist(), null_sd, strict=True
        )
    ]
    places = zip(cells["x"].tolist(), cells["y"].tolist(), strict=True)
    return [
        _hover(refs_y[int(y)], refs_x[int(x)], point, distance)
        for (x, y), point, distance in zip(places, points_of(cells), z, strict=True)
    ]


def _hover(a: LayerRef, b: LayerRef, cell: Point, z: float) -> str:
    head = f"<b>{escape(pair_in_words(a, b))}</b>"
    if cell.mean != cell.mean:
        return f"{head}<br>undefined: {escape(cell.reason or 'no reason was stored')}"
    lines = [head, f"CKA {number(cell.mean)}"]
    if cell.seeds > 1:
        lines[1] += f" (mean of {cell.seeds} seeds, {cell.low:.3f} to {cell.high:.3f})"
    if cell.mean < 0:
        lines.append("below 0: a debiased estimate may be; the colour shows 0")
    if cell.null_mean == cell.null_mean:
        distance = f", z = {z:.1f}" if z == z else ""
        lines.append(f"chance (null mean) {number(cell.null_mean)}{distance}")
    lines.append(f"n = {cell.n:,}")
    return "<br>".join(lines)


def _mark_undefined(figure: go.Figure, cells: pd.DataFrame) -> None:
    gaps = cells[cells["mean"].isna()]
    if gaps.empty:
        return
    figure.add_trace(
        go.Scatter(
            x=gaps["x"].to_numpy(dtype=int),
            y=gaps["y"].to_numpy(dtype=int),
            mode="markers",
            marker={"symbol": "x-thin", "size": 6, "line": {"width": 1, "color": NEUTRAL}},
            hoverinfo="skip",
            name="undefined",
        )
    )


def _separate(figure: go.Figure, rows: Sequence[StreamSpec], columns: Sequence[StreamSpec]) -> None:
    """Lines between the streams' blocks."""
    for streams, vertical in ((columns, True), (rows, False)):
        at = -0.5
        for spec in streams[:-1]:
            at += spec.depth + 1
            line = {"color": NEUTRAL, "width": 2}
            if vertical:
                figure.add_vline(x=at, line=line)
            else:
                figure.add_hline(y=at, line=line)


def _outline(
    figure: go.Figure,
    selected: tuple[LayerRef, LayerRef] | None,
    refs_x: tuple[LayerRef, ...],
    refs_y: tuple[LayerRef, ...],
) -> None:
    if selected is None or selected[0] not in refs_y or selected[1] not in refs_x:
        return
    x, y = refs_x.index(selected[1]), refs_y.index(selected[0])
    box = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5, "type": "rect"}
    figure.add_shape(**box, line={"color": "#FFFFFF", "width": 5})
    figure.add_shape(**box, line={"color": "#E11D48", "width": 2.5})


def _axis(streams: Sequence[StreamSpec], model: str, between: str) -> dict[str, object]:
    values: list[int] = []
    texts: list[str] = []
    start = 0
    dense = sum(spec.depth + 1 for spec in streams) > 30
    for spec in streams:
        step = 2 if dense or spec.depth > 16 else 1
        for layer in range(spec.depth + 1):
            fused = layer in spec.fusion_layers
            if fused or layer % step == 0:
                values.append(start + layer)
                texts.append(f"{layer}{between}{FUSION_MARK}" if fused else str(layer))
        start += spec.depth + 1
    names = ", then ".join(f"{spec.name} layer" for spec in streams)
    fusing = any(spec.fusion_layers for spec in streams)
    title = f"{names}{f'  ({FUSION_MARK} fusion)' if fusing else ''}"
    return axis(
        f"{model}: {title}" if model else title,
        range=[-0.5, start - 0.5],
        tickvals=values,
        ticktext=texts,
        tickangle=0,
        showgrid=False,
        fixedrange=True,
        ticks="",
    )
