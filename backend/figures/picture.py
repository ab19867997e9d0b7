"""A picture with what a model looks at drawn over it."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import plotly.graph_objects as go

from backend.figures.marks import Marks
from backend.figures.theme import layout, rgba

_HEAT = "#E11D48"
_STRONGEST = 0.75


def picture_figure(webp: bytes, size: tuple[int, int], *, height: int = 380) -> go.Figure:
    """A picture (a WebP of any size) on axes in pixels of the original, ``size`` (width, height).

    The figure holds no point: what lies over the picture are marks.
    """
    width, tall = size
    image = {
        "source": f"data:image/webp;base64,{base64.b64encode(webp).decode()}",
        "xref": "x",
        "yref": "y",
        "x": 0,
        "y": 0,
        "sizex": width,
        "sizey": tall,
        "sizing": "stretch",
        "layer": "below",
    }
    hidden = {"visible": False, "fixedrange": True}
    settings = layout(height=height, legend=False) | {
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "images": [image],
        "xaxis": {**hidden, "range": [0, width], "constrain": "domain"},
        "yaxis": {**hidden, "range": [tall, 0], "scaleanchor": "x", "constrain": "domain"},
    }
    return go.Figure(data=[{"type": "scatter", "x": [], "y": []}], layout=settings)


def footprint_marks(boxes: Sequence[Sequence[float]], weights: Sequence[float]) -> Marks:
    """Boxes (left, top, right, bottom in pixels), the redder the larger their weight.

    The largest weight is the reddest, whatever it is; none is drawn where all are 0.
    """
    most = max(weights, default=0.0)
    if not most > 0:
        return ()
    return tuple(
        {
            "type": "rect",
            "x0": float(left),
            "y0": float(top),
            "x1": float(right),
            "y1": float(bottom),
            "line": {"width": 0},
            "fillcolor": rgba(_HEAT, _STRONGEST * float(weight) / float(most)),
        }
        for (left, top, right, bottom), weight in zip(boxes, weights, strict=True)
    )
