"""What sparse autoencoders make of layers: a curve a kind of token, with its interval."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from backend.figures.marks import Marks, outlined
from backend.figures.parts import Parts
from backend.figures.theme import NEUTRAL, axis, base_figure, escape, number, rgba
from backend.figures.whiskers import whiskers
from backend.figures.words import ranked_grid, short_word

LAYERS = "language model layer (0 = embeddings)"
_MATCH = "#8B6CC9"
_MOST_TICKS = 12

_LOOKS: Mapping[tuple[str, str], tuple[str, str, str]] = {
    ("text alone", ""): ("#2F7FC1", "circle", "solid"),
    ("image", ""): ("#D97706", "square", "solid"),
    ("text after image", ""): ("#0F9D76", "diamond", "solid"),
    ("image", "random adapter"): ("#D97706", "square-open", "dot"),
    ("image", "shuffled captions"): ("#C2453D", "x", "dash"),
    ("text after image", "random adapter"): ("#0F9D76", "diamond-open", "dot"),
    ("text after image", "shuffled captions"): ("#0F9D76", "x", "dash"),
    ("image", "another layer's"): ("#D97706", "triangle-up-open", "dashdot"),
    ("text alone", "another layer's"): ("#2F7FC1", "triangle-up-open", "dashdot"),
}
"""{(tokens, control): colour, marker, dash}"""


def sae_curves(rows: pd.DataFrame, y_title: str, *, height: int = 320) -> go.Figure:
    """``value`` over ``layer``, a line for each of ``tokens`` and ``control``.

    ``low`` and ``high`` are the ends of intervals, NaN or not there where there are none. A value
    that is NaN is a gap.
    """
    figure = base_figure(height=height)
    control = rows["control"] if "control" in rows else pd.Series("", rows.index)
    for (tokens, name), looks in _LOOKS.items():
        mine = rows[rows["tokens"].eq(tokens) & control.eq(name)]
        if mine["value"].notna().any():
            figure.add_trace(_curve(mine.sort_values("layer"), tokens, name, looks))
    figure.update_xaxes(**_layer_axis(rows["layer"]))
    figure.update_yaxes(**axis(y_title), rangemode="tozero")
    return figure


def _layer_axis(layers: pd.Series) -> dict[str, object]:
    """A tick at each layer where they are few: there is nothing between two of them."""
    each = sorted(set(layers))
    return axis(LAYERS, tickvals=each) if len(each) <= _MOST_TICKS else axis(LAYERS)


def feature_grid(cells: pd.DataFrame) -> Parts:
    """The strongest features of a pair (rows, the first on top) by layer (columns).

    ``cells`` are rows of :func:`backend.views.lit.cells`. Colour is the share of the layer's
    strongest: how large activations are differs between layers. Descriptions may be any text.
    """
    layers = list(dict.fromkeys(cells["layer"]))
    shape = (int(cells["rank"].max()) if len(cells) else 1, len(layers))
    shares = np.full(shape, np.nan)
    texts, hovers = np.full(shape, "", dtype=object), np.full(shape, "", dtype=object)
    for row in cells.to_dict("records"):
        place = (int(row["rank"]) - 1, layers.index(row["layer"]))
        shares[place] = row["share_of_first"]
        texts[place] = short_word(row["description"] or f"#{row['feature']}")
        head = f"<b>layer {row['layer']}, feature {row['feature']}</b>"
        named = [row["description"]] if row["description"] else []
        hovers[place] = "<br>".join((head, *map(escape, (*named, *row["said"]))))
    names = [str(layer) for layer in layers]
    return ranked_grid(
        shares, texts, hovers, names, title=LAYERS, score="share of the layer's first", most=1.0
    )


def match_curve(rows: pd.DataFrame, *, height: int = 300) -> go.Figure:
    """The cosine of a feature's match over ``other_layer``, and ``chance``, dotted."""
    ordered = rows.sort_values("other_layer")
    layers, cosines = ordered["other_layer"].to_numpy(), ordered["cosine"].to_numpy()
    figure = base_figure(height=height)
    figure.add_trace(
        go.Scatter(
            x=layers,
            y=cosines,
            mode="lines+markers",
            name="best match",
            line={"color": _MATCH, "width": 2},
            marker={"symbol": "diamond", "size": 7},
            hovertext=[
                f"<b>layer {row['other_layer']}, feature {row['other_feature']}</b><br>"
                f"cosine {number(row['cosine'])}"
                for row in ordered.to_dict("records")
            ],
            hoverinfo="text",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=layers,
            y=ordered["chance"].to_numpy(),
            mode="lines",
            name="best of as many random directions",
            line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(**_layer_axis(ordered["other_layer"]))
    figure.update_yaxes(**axis("cosine"), range=[min(0.0, float(cosines.min())), 1.05])
    return figure


def grid_mark(column: int, rank: int) -> Marks:
    """An outline of a cell of :func:`feature_grid`, its column counted from 0."""
    edges = {"x0": column - 0.5, "x1": column + 0.5, "y0": rank - 0.5, "y1": rank + 0.5}
    return outlined({"type": "rect", **edges})


def _curve(rows: pd.DataFrame, tokens: str, name: str, looks: tuple[str, str, str]) -> go.Scatter:
    colour, marker, dash = looks
    label = f"{tokens}, {name}" if name else tokens
    bounded = "low" in rows and not name  # intervals of controls would hide those of the curves
    spread = whiskers(rows, rgba(colour, 0.6), thickness=1.2, width=3) if bounded else None
    return go.Scatter(
        x=rows["layer"].to_numpy(),
        y=rows["value"].to_numpy(),
        error_y=spread,
        mode="lines+markers",
        name=escape(label),
        line={"color": colour, "dash": dash, "width": 2 if not name else 1.3},
        marker={"symbol": marker, "size": 7},
        hovertext=[_hover(row, label) for row in rows.to_dict("records")],
        hoverinfo="text",
    )


def _hover(row: Mapping[object, object], label: str) -> str:
    value, low, high = (float(str(row.get(at, "nan"))) for at in ("value", "low", "high"))
    ends = "" if low != low else f"<br>95 % interval {number(low)} to {number(high)}"
    return f"<b>{escape(label)}</b><br>layer {row['layer']}: {number(value)}{ends}"
