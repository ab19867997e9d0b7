"""Where a model's streams meet, drawn as rows of layer boxes, one row a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import plotly.graph_objects as go

from backend.figures.meets import fusion_at, fusion_of, losses_of
from backend.figures.sites import norm_in_words
from backend.figures.theme import (
    FUSION_MARK,
    NEUTRAL,
    Shape,
    StreamStyle,
    boxes_shape,
    escape,
    layout,
    rgba,
    styles_of,
)
from backend.pairing import TEXT_LIKE, VISION_LIKE
from backend.types import StreamSpec

_HALF = 0.4


def placement_drawing(streams: Sequence[StreamSpec], *, height: int | None = None) -> go.Figure:
    """Boxes 1..depth a stream (vision on top), fusion layers filled, paired ones connected.

    Where two streams read each other, the i-th layer at which one reads the other is paired with
    the i-th of the other. Streams may have different depths: a box stands at its own layer number,
    so a shallow stream ends earlier.
    """
    rows = sorted(streams, key=_rank)
    styles = styles_of(streams)
    tops = {spec.name: float(len(rows) - 1 - index) for index, spec in enumerate(rows)}
    lines = [
        f"M{a},{tops[upper.name] - 0.3:g}L{b},{tops[lower.name] + 0.3:g}"
        for upper, lower in combinations(rows, 2)
        for a, b in _paired(upper, lower)
    ]
    shapes: list[Shape] = []
    if lines:
        line = {"color": NEUTRAL, "width": 2}
        shapes = [{"type": "path", "path": " ".join(lines), "line": line, "layer": "below"}]
    for spec in rows:
        shapes += _boxes(spec, tops[spec.name], styles[spec.name])
    deepest = max((spec.depth for spec in rows), default=0)
    quiet = {"showgrid": False, "zeroline": False, "tickmode": "array", "fixedrange": True}
    settings = layout(height=height or 46 + 44 * len(rows), legend=False) | {
        "shapes": shapes,
        "xaxis": {
            **quiet,
            "range": [0.4, deepest + 0.6],
            "tickvals": _ticks(deepest),
            "ticks": "",
        },
        "yaxis": {
            **quiet,
            "range": [-0.5, len(rows) - 0.5],
            "tickvals": list(tops.values()),
            "ticktext": [escape(name) for name in tops],
            "automargin": True,
        },
        "margin": {"l": 4, "r": 4, "t": 2, "b": 4},
        "hovermode": "closest",
    }
    traces = [_labels(spec, tops[spec.name], rows) for spec in rows]
    return go.Figure(data=traces, layout=settings)


def describe(streams: Sequence[StreamSpec]) -> str:
    """The drawing in words, for readers who do not see it."""
    parts = []
    for spec in streams:
        layers = ", ".join(map(str, spec.fusion_layers))
        how = fusion_of(spec).removeprefix("fusion: ")
        words = [f"fusion at {layers} ({how})" if layers else "no fusion", losses_of(spec)]
        parts.append(f"{spec.name}: {spec.depth} layers, {', '.join(filter(None, words))}")
    return "; ".join(parts)


def _rank(spec: StreamSpec) -> int:
    """Vision on top, text at the bottom, every other modality between them."""
    return 0 if spec.modality == VISION_LIKE[0] else 2 if spec.modality in TEXT_LIKE else 1


def _paired(a: StreamSpec, b: StreamSpec) -> Iterator[tuple[int, int]]:
    """Layers at which two streams read each other, in order."""
    yield from zip(_reading(a, b), _reading(b, a), strict=False)


def _reading(spec: StreamSpec, other: StreamSpec) -> list[int]:
    """Layers at which ``spec`` takes ``other`` in; a name that a store does not give may be any."""
    return sorted(
        {meet.layer for meet in spec.meets if meet.how != "loss" and meet.reads in ("", other.name)}
    )


def _boxes(spec: StreamSpec, y: float, style: StreamStyle) -> list[Shape]:
    """Two shapes: the layers that take another stream in, filled, and the others."""
    out: list[Shape] = []
    for fused, fill, line in (
        (True, style.colour, style.colour),
        (False, rgba(style.colour, 0.06), rgba(style.colour, 0.55)),
    ):
        layers = [k for k in range(1, spec.depth + 1) if (k in spec.fusion_layers) is fused]
        boxes = [(k - _HALF, k + _HALF, y - 0.3, y + 0.3) for k in layers]
        if boxes:
            look = {"fillcolor": fill, "line": {"color": line, "width": 1.5}}
            # Else the boxes hide the marks in them.
            out.append(boxes_shape(boxes, **look, layer="below"))
    return out


def _labels(spec: StreamSpec, y: float, rows: Sequence[StreamSpec]) -> go.Scatter:
    """Fusion marks and hovers in the middle of the boxes."""
    layers = list(range(1, spec.depth + 1))
    return go.Scatter(
        x=layers,
        y=[y] * spec.depth,
        mode="text",
        text=[FUSION_MARK if k in spec.fusion_layers else "" for k in layers],
        textfont={"color": "#FFFFFF", "size": 11},
        hovertext=[_hover(spec, k, rows) for k in layers],
        hoverinfo="text",
        name=escape(spec.name),
    )


def _hover(spec: StreamSpec, layer: int, rows: Sequence[StreamSpec]) -> str:
    lines = [f"{spec.name} layer {layer}"]
    if fusion := fusion_at(spec, layer):
        lines[0] += f", {fusion}"
    partners = [
        f"{other.name} layer {theirs}"
        for other in rows
        if other is not spec
        for own, theirs in _paired(spec, other)
        if own == layer
    ]
    lines += [f"paired with {', '.join(partners)}"] if partners else []
    if layer == spec.depth:
        lines += [text for text in (norm_in_words(spec), losses_of(spec), spec.note) if text]
    return "<br>".join(map(escape, lines))


def _ticks(deepest: int) -> list[int]:
    step = 1 if deepest <= 16 else 2 if deepest <= 32 else 4
    return list(range(1, deepest + 1, step))
