"""A picture with what a model looks at, or what counts for it, drawn over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.data.images import webp_source
from backend.figures.marks import Marks, outlined
from backend.figures.parts import Parts
from backend.figures.theme import boxes_shape, escape, layout, rgba

Floats = NDArray[np.float32]

_HEAT = "#E11D48"
LESS, MORE = "#2F7FC1", "#D97706"
"""Blue: hiding the patch takes from the output; orange: it adds to it."""
_STRONGEST = 0.75
_LEVELS = 20
_HEAD_PX = 24


@dataclass(frozen=True, eq=False)
class Patches:
    """Footprints on a picture, in reading order.

    ``tokens`` (n) are their numbers, ``boxes`` (n, 4) left, top, right, bottom in pixels of the
    original, ``hovers`` (n) what is said of each where it is pointed at; it may hold any text.
    """

    tokens: Sequence[int]
    boxes: Floats
    hovers: Sequence[str]


def picture_figure(
    webp: bytes,
    size: tuple[int, int],
    patches: Patches,
    *,
    marks: Marks = (),
    height: int = 404,
) -> Parts:
    """A picture (a WebP of any size) on axes in pixels of the original, ``size`` (width, height).

    A point that is not seen lies at the centre of each patch, with its token as ``customdata``: a
    click gives the patch with the nearest one, or nothing far from all of them. What lies over the
    picture are ``marks``, and above it is room for a line of text (:func:`headline`).
    """
    width, tall = size
    image = {
        "source": webp_source(webp),
        "xref": "x",
        "yref": "y",
        "x": 0,
        "y": 0,
        "sizex": width,
        "sizey": tall,
        "sizing": "stretch",
        "layer": "below",
    }
    centres = (patches.boxes[:, :2] + patches.boxes[:, 2:]) / 2
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": "patches",
        "x": centres[:, 0],
        "y": centres[:, 1],
        "customdata": list(patches.tokens),
        "marker": {"size": 1, "opacity": 0},
        "hovertext": [escape(text) for text in patches.hovers],
        "hoverinfo": "text",
    }
    hidden = {"visible": False, "fixedrange": True}
    scale = (height - _HEAD_PX) / tall  # at most: a wide picture is drawn smaller
    diagonals = np.hypot(*(patches.boxes[:, 2:] - patches.boxes[:, :2]).T)
    settings = layout(height=height, legend=False) | {
        "margin": {"l": 0, "r": 0, "t": _HEAD_PX, "b": 0},
        "hovermode": "closest",
        "hoverdistance": int(np.ceil(max(diagonals, default=0.0) / 2 * scale)),
        "images": [image],
        "shapes": list(marks),
        "xaxis": {**hidden, "range": [0, width], "constrain": "domain"},
        "yaxis": {**hidden, "range": [tall, 0], "scaleanchor": "x", "constrain": "domain"},
    }
    return Parts([points], settings)


def heat_marks(boxes: Floats, weights: Floats) -> Marks:
    """Boxes (n, 4), the redder the larger their weight (n,), 0 or more; NaN is none.

    The largest weight is the reddest, whatever it is; none is drawn where all are 0.
    """
    return _shaded(boxes, weights, _HEAT)


def effect_marks(boxes: Floats, values: Floats) -> Marks:
    """Boxes (n, 4), blue where their value (n,) is above 0 and orange where it is below."""
    most = float(np.nan_to_num(np.abs(values)).max(initial=0.0))
    return (*_shaded(boxes, values, LESS, most), *_shaded(boxes, -values, MORE, most))


def patch_mark(box: Floats) -> Marks:
    """An outline of a footprint (4,)."""
    left, top, right, bottom = (float(edge) for edge in box)
    return outlined({"type": "rect", "x0": left, "x1": right, "y0": top, "y1": bottom})


def headline(text: str) -> Marks:
    """A line of text above a figure that has room for it."""
    place = {"xref": "paper", "yref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1}
    label = {
        "text": escape(text),
        "textposition": "start",
        "textangle": 0,
        "yanchor": "bottom",
        "xanchor": "left",
    }
    return ({"type": "line", **place, "line": {"width": 0}, "label": label},)


def _shaded(boxes: Floats, weights: Floats, colour: str, most: float = 0.0) -> Marks:
    """One path for all boxes of a shade; ``most`` is what the strongest stands for."""
    weights = np.nan_to_num(weights)
    most = most or float(weights.max(initial=0.0))
    if not most > 0:
        return ()
    levels = np.rint(weights / most * _LEVELS).astype(int)
    return tuple(
        boxes_shape(
            [(x0, x1, y0, y1) for x0, y0, x1, y1 in boxes[levels == level].tolist()],
            line={"width": 0},
            fillcolor=rgba(colour, round(_STRONGEST * level / _LEVELS, 4)),
        )
        for level in range(1, _LEVELS + 1)
        if (levels == level).any()
    )
