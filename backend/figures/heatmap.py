"""A measure layer by layer: one pair of streams, or all streams in one block matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from backend.figures.marks import Marks, outlined
from backend.figures.scales import SCALES, Scale
from backend.figures.seeds import Point, over_seeds, pairs, points_of, spread_in_words
from backend.figures.sites import norm_in_words
from backend.figures.theme import (
    FUSION_MARK,
    NEUTRAL,
    axis,
    escape,
    layout,
    number,
)
from backend.types import LayerRef, StreamSpec


def axis_refs(streams: Sequence[StreamSpec]) -> tuple[LayerRef, ...]:
    """The layers along an axis in order: position i of the axis is the i-th of these."""
    return tuple(ref for spec in streams for ref in spec.layers)


def matrix_points(
    frame: pd.DataFrame,
    rows: Sequence[StreamSpec],
    columns: Sequence[StreamSpec],
    scale: Scale = SCALES["cka"],
) -> pd.DataFrame:
    """Cells of the matrix, both halves: ``x``, ``y`` (axis positions) and the seeds' summary.

    Of a measure that is not symmetric the cells are from the row's layer to the column's.
    """
    places_x = {ref: i for i, ref in enumerate(axis_refs(columns))}
    places_y = {ref: i for i, ref in enumerate(axis_refs(rows))}
    parts = []
    for a in rows:
        for b in columns:
            cells = pairs(frame, a.name, b.name, scale.measure)
            cells = cells[cells["site_a"].eq("block") & cells["site_b"].eq("block")]
            summary = over_seeds(cells, ["layer_a", "layer_b"])
            if a.name == b.name and scale.symmetric:
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
    scale: Scale = SCALES["cka"],
    model: str = "",
    above_chance: bool = False,
    show_text: bool = False,
    height: int = 560,
) -> go.Figure:
    """A measure's mean over seeds between every layer of ``rows`` and every layer of ``columns``.

    Pass one stream on each side for one block, or all streams on both sides for the whole matrix.
    The colours span the measure's fixed range whatever the data; a debiased value may lie slightly
    below 0 and is shown as it is. ``above_chance`` leaves out the colour of cells that are not
    above chance in every run that was tested (a dot stands there), so that what remains is signal.
    A click on a cell returns its ``x`` and ``y``: positions in :func:`axis_refs`.
    """
    refs_x, refs_y = axis_refs(columns), axis_refs(rows)
    cells = matrix_points(frame, rows, columns, scale)
    weak = cells["tested"].gt(0) & cells["above"].lt(cells["tested"])
    z = np.full((len(refs_y), len(refs_x)), np.nan)
    z[cells["y"].to_numpy(dtype=int), cells["x"].to_numpy(dtype=int)] = (
        cells["mean"].mask(weak) if above_chance else cells["mean"]
    ).to_numpy()
    # Collected and set at once: Plotly validates the whole figure again on every addition.
    traces: list[object] = [
        go.Heatmap(
            z=z,
            zmin=scale.low,
            zmax=scale.high,
            colorscale=scale.colours,
            xgap=1,
            ygap=1,
            name="cells",
            hovertext=_hovers(cells, refs_x, refs_y, scale, _last_layers((*rows, *columns))),
            hoverinfo="text",
            meta=named_places(refs_x, refs_y),
            text=[[_short(v) for v in line] for line in z] if show_text else None,
            texttemplate="%{text}" if show_text else None,
            colorbar={
                "title": {"text": escape(scale.label.split(" distance")[0]), "side": "top"},
                "thickness": 10,
                "tickvals": scale.ticks,
                "outlinewidth": 0,
                "len": 0.9,
            },
        )
    ]
    traces += gap_marks(cells)
    if above_chance:
        traces += _marks(cells[weak & cells["mean"].notna()], "circle", 3, "not above chance")
    settings = layout(height=height, legend=False) | {
        "hovermode": "closest",
        "margin": {"l": 70, "r": 10, "t": 10, "b": 58},
        "shapes": _separators(rows, columns),
        "xaxis": _axis(columns, model, "<br>"),
        "yaxis": _axis(rows, model, " "),
    }
    return go.Figure(data=traces, layout=settings)


def named_places(columns: Sequence[LayerRef], rows: Sequence[LayerRef]) -> dict[str, list[str]]:
    """A heatmap's ``meta``: what a table of it calls its columns and rows, also without a tick."""
    names = ([escape(f"{ref.stream} {ref.label}") for ref in refs] for refs in (columns, rows))
    return dict(zip("xy", names, strict=True))


def pair_in_words(a: LayerRef, b: LayerRef) -> str:
    """``vision layer 4 and text layer 6``."""
    if a == b:
        return f"{a.stream} layer {a.label} and itself"
    return f"{a.stream} layer {a.label} and {b.stream} layer {b.label}"


def _short(value: float) -> str:
    return "" if value != value else f"{value:.2f}".replace("-0.00", "0.00")


def _hovers(
    cells: pd.DataFrame,
    refs_x: tuple[LayerRef, ...],
    refs_y: tuple[LayerRef, ...],
    scale: Scale,
    notes: Mapping[LayerRef, str],
) -> list[list[str]]:
    words = [[""] * len(refs_x) for _ in refs_y]
    places = zip(cells["x"].tolist(), cells["y"].tolist(), strict=True)
    for (x, y), point in zip(places, points_of(cells), strict=True):
        pair = refs_y[int(y)], refs_x[int(x)]
        said = dict.fromkeys(notes[ref] for ref in pair if ref in notes)
        words[int(y)][int(x)] = "<br>".join([_hover(*pair, point, scale), *map(escape, said)])
    return words


def _last_layers(streams: Sequence[StreamSpec]) -> dict[LayerRef, str]:
    """{last layer: how it stands to its stream's final norm}, of the streams that have one."""
    words = {spec: norm_in_words(spec) for spec in streams}
    return {spec.layers[-1]: f"{spec.name} {text}" for spec, text in words.items() if text}


def _hover(a: LayerRef, b: LayerRef, cell: Point, scale: Scale) -> str:
    head = f"<b>{escape(pair_in_words(a, b))}</b>"
    if cell.mean != cell.mean:
        return f"{head}<br>undefined: {escape(cell.reason or 'no reason was stored')}"
    mean = " (mean)" if cell.seeds > 1 else ""
    lines = [head, f"{escape(scale.label)} {number(cell.mean)}{mean}"]
    if cell.mean < scale.low:
        lines.append(f"below {scale.low:g}: an estimate may be; the colour shows {scale.low:g}")
    return "<br>".join([*lines, *spread_in_words(cell), f"n = {cell.n:,}"])


def gap_marks(cells: pd.DataFrame) -> list[object]:
    """Marks on the cells (``x``, ``y``, ``mean``) whose mean is undefined; none where all are."""
    return _marks(cells[cells["mean"].isna()], "x-thin", 6, "undefined")


def _marks(cells: pd.DataFrame, symbol: str, size: int, name: str) -> list[object]:
    if cells.empty:
        return []
    return [
        go.Scatter(
            x=cells["x"].to_numpy(dtype=int),
            y=cells["y"].to_numpy(dtype=int),
            mode="markers",
            marker={
                "symbol": symbol,
                "size": size,
                "color": NEUTRAL,
                "line": {"width": 1, "color": NEUTRAL},
            },
            hoverinfo="skip",
            name=name,
        )
    ]


def _separators(
    rows: Sequence[StreamSpec], columns: Sequence[StreamSpec]
) -> list[dict[str, object]]:
    """Lines between the streams' blocks."""
    lines: list[dict[str, object]] = []
    for streams, across, along in ((columns, "x", "y"), (rows, "y", "x")):
        at = -0.5
        for spec in streams[:-1]:
            at += spec.depth + 1
            lines.append(
                {
                    "type": "line",
                    f"{across}0": at,
                    f"{across}1": at,
                    f"{along}0": 0,
                    f"{along}1": 1,
                    f"{along}ref": f"{along} domain",
                    "line": {"color": NEUTRAL, "width": 2},
                }
            )
    return lines


def cell_mark(
    rows: Sequence[StreamSpec],
    columns: Sequence[StreamSpec],
    cell: tuple[LayerRef, LayerRef] | None,
) -> Marks:
    """An outline of a cell of :func:`layer_heatmap`; nothing where the matrix has no such cell."""
    refs_x, refs_y = axis_refs(columns), axis_refs(rows)
    if cell is None or cell[0] not in refs_y or cell[1] not in refs_x:
        return ()
    x, y = refs_x.index(cell[1]), refs_y.index(cell[0])
    box = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5, "type": "rect"}
    return outlined(box)


def layer_ticks(
    streams: Sequence[StreamSpec], between: str = " ", *, first: int = 0
) -> dict[str, Any]:
    """Range and ticks of an axis over the layers ``first``..depth of each stream in turn.

    Fusion layers are always labelled and marked; ``between`` parts the number from the mark.
    """
    values: list[int] = []
    texts: list[str] = []
    start = -first
    dense = sum(spec.depth + 1 for spec in streams) > 30
    for spec in streams:
        step = 2 if dense or spec.depth > 16 else 1
        for layer in range(first, spec.depth + 1):
            fused = layer in spec.fusion_layers
            if fused or layer % step == 0:
                values.append(start + layer)
                texts.append(f"{layer}{between}{FUSION_MARK}" if fused else str(layer))
        start += spec.depth + 1 - first
    last = sum(spec.depth + 1 - first for spec in streams)
    return {
        "range": [-0.5, last - 0.5],
        "tickvals": values,
        "ticktext": texts,
        "tickangle": 0,
        "showgrid": False,
        "fixedrange": True,
        "ticks": "",
    }


def _axis(streams: Sequence[StreamSpec], model: str, between: str) -> dict[str, object]:
    names = ", then ".join(f"{spec.name} layer" for spec in streams)
    fusing = any(spec.fusion_layers for spec in streams)
    title = f"{names}{f'  ({FUSION_MARK} fusion)' if fusing else ''}"
    return axis(
        f"{model}: {title}" if model else title,
        **layer_ticks(streams, between),
    )
