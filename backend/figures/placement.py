"""A fusion placement drawn as rows of layer boxes, one row a stream."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import plotly.graph_objects as go

from backend.figures.theme import FUSION_MARK, NEUTRAL, escape, layout, rgba, style_of
from backend.types import StreamSpec

_ORDER = {"vision": 0, "fused": 1, "text": 2}
_HALF = 0.4


def placement_drawing(streams: Sequence[StreamSpec], *, height: int | None = None) -> go.Figure:
    """Boxes 1..depth a stream (vision on top), fusion layers filled, paired ones connected.

    The i-th fusion layer of one stream is paired with the i-th of the next row. Streams may have
    different depths: a box stands at its own layer number, so a shallow stream ends earlier.
    """
    rows = sorted(streams, key=lambda spec: (_ORDER[spec.modality], spec.name))
    tops = {spec.name: float(len(rows) - 1 - index) for index, spec in enumerate(rows)}
    # Set together: Plotly validates the whole figure again on every addition.
    shapes: list[dict[str, object]] = [
        {
            "type": "line",
            "x0": a,
            "y0": tops[upper.name] - 0.3,
            "x1": b,
            "y1": tops[lower.name] + 0.3,
            "line": {"color": NEUTRAL, "width": 2},
        }
        for upper, lower in pairwise(rows)
        for a, b in zip(upper.fusion_layers, lower.fusion_layers, strict=False)
    ]
    for spec in rows:
        shapes += _boxes(spec, tops[spec.name])
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
    """The placement in words, for readers who do not see the drawing."""
    parts = []
    for spec in streams:
        layers = ", ".join(map(str, spec.fusion_layers))
        parts.append(
            f"{spec.name}: {spec.depth} layers, "
            + (f"fusion at {layers}" if layers else "no fusion")
        )
    return "; ".join(parts)


def _boxes(spec: StreamSpec, y: float) -> list[dict[str, object]]:
    style = style_of(spec)
    boxes: list[dict[str, object]] = []
    for layer in range(1, spec.depth + 1):
        fused = layer in spec.fusion_layers
        line = {"color": style.colour if fused else rgba(style.colour, 0.55), "width": 1.5}
        boxes.append(
            {
                "type": "rect",
                "x0": layer - _HALF,
                "x1": layer + _HALF,
                "y0": y - 0.3,
                "y1": y + 0.3,
                "line": line,
                "fillcolor": style.colour if fused else rgba(style.colour, 0.06),
            }
        )
    return boxes


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
    name = f"{escape(spec.name)} layer {layer}"
    if layer not in spec.fusion_layers:
        return name
    at = spec.fusion_layers.index(layer)
    partners = [
        f"{escape(other.name)} layer {other.fusion_layers[at]}"
        for other in rows
        if other is not spec and at < len(other.fusion_layers)
    ]
    return f"{name}: fusion on entry" + (
        f"<br>paired with {', '.join(partners)}" if partners else ""
    )


def _ticks(deepest: int) -> list[int]:
    step = 1 if deepest <= 16 else 2 if deepest <= 32 else 4
    return list(range(1, deepest + 1, step))
