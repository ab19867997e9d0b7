"""CKA of consecutive layers, stream by stream."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from backend.figures.curves import curve_figure
from backend.figures.seeds import over_seeds, pairs
from backend.figures.theme import Series, escape, style_of


def transition_points(frame: pd.DataFrame, stream: str) -> pd.DataFrame:
    """Mean and range over seeds of CKA(k-1, k), one row a series and transition ``x`` = k."""
    rows = pairs(frame, stream, stream)
    rows = rows[rows["site_a"].eq("block") & rows["site_b"].eq("block")]
    rows = rows[rows["layer_b"].eq(rows["layer_a"] + 1)]
    return over_seeds(rows, ["series", "layer_b"]).rename(columns={"layer_b": "x"})


def fusion_points(frame: pd.DataFrame, stream: str) -> pd.DataFrame:
    """The two halves of a fusion transition: ``half`` is "fusion" (k-1 to k.fusion) or "block"."""
    rows = pairs(frame, stream, stream)
    into = rows[rows["site_b"].eq("fusion") & rows["site_a"].eq("block")]
    into = into[into["layer_a"].eq(into["layer_b"] - 1)].assign(half="fusion")
    out = rows[rows["site_a"].eq("fusion") & rows["site_b"].eq("block")]
    out = out[out["layer_a"].eq(out["layer_b"])].assign(half="block")
    both = pd.concat([into, out])
    return over_seeds(both, ["series", "layer_b", "half"]).rename(columns={"layer_b": "x"})


def transition_curves(
    frame: pd.DataFrame,
    series: Sequence[Series],
    stream: str,
    *,
    split_fusion: bool = False,
    estimator: str = "",
    height: int = 330,
) -> go.Figure:
    """CKA between layers k-1 and k of ``stream`` over transitions k, mean and range over seeds.

    ``frame`` holds the store's ``cka`` rows of one pooling and one estimator with the columns
    ``series`` (a :class:`Series` key) and ``seed`` added. Transition k is shaded where k is a
    fusion layer of this stream. ``split_fusion`` adds, at each of them, CKA(k-1, k.fusion) and
    CKA(k.fusion, k): what the co-attention did, and what the block did after it.
    """
    points = transition_points(frame, stream)
    lowest = float(points["low"].min()) if len(points) else 0.0
    figure = curve_figure(
        points,
        series,
        stream,
        x_title=f"{stream} transition k (layer k-1 to layer k)",
        y_title=f"CKA{', ' + estimator if estimator else ''}",
        y_range=(min(-0.02, lowest - 0.02), 1.02),
        where=lambda k: f"{stream} {k - 1} to {k}",
        first=1,
        height=height,
    )
    if split_fusion:
        halves = fusion_points(frame, stream)
        for half, symbol, words in (
            ("fusion", "triangle-left-open", "k-1 to k.fusion (co-attention)"),
            ("block", "triangle-right-open", "k.fusion to k (rest of the block)"),
        ):
            _add_half(figure, halves[halves["half"].eq(half)], series, stream, symbol, words)
    return figure


def _add_half(
    figure: go.Figure,
    rows: pd.DataFrame,
    series: Sequence[Series],
    stream: str,
    symbol: str,
    words: str,
) -> None:
    overlay = sum(one.stream(stream) is not None for one in series) > 1
    first = True
    for one in series:
        spec, mine = one.stream(stream), rows[rows["series"].eq(one.key)]
        if spec is None or mine.empty:
            continue
        shift = -0.18 if symbol.startswith("triangle-left") else 0.18
        figure.add_trace(
            go.Scatter(
                x=(mine["x"] + shift).to_numpy(),
                y=mine["mean"].to_numpy(),
                mode="markers",
                marker={
                    "symbol": symbol,
                    "size": 10,
                    "color": one.colour if overlay else style_of(spec).colour,
                    "line": {"width": 2},
                },
                name=escape(words),
                legendgroup=words,
                showlegend=first,
                hovertext=[
                    f"<b>{escape(one.label)}</b>, {escape(stream)} k = {int(k)}<br>"
                    f"{escape(words)}<br>mean {mean:.3f} (min {low:.3f}, max {high:.3f})"
                    for k, mean, low, high in zip(
                        mine["x"], mine["mean"], mine["low"], mine["high"], strict=True
                    )
                ],
                hoverinfo="text",
            )
        )
        first = False
