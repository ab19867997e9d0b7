"""A measure of consecutive layers, stream by stream, and of matching layers of two streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from backend.figures.curves import curve_figure
from backend.figures.scales import ESTIMATOR_NAMES, SCALES, Scale
from backend.figures.seeds import over_seeds, pairs
from backend.figures.theme import Series, base_figure, escape, style_of
from backend.types import StreamSpec, matched_layers


def transition_points(
    frame: pd.DataFrame, stream: str, measure: str = "cka", by: Sequence[str] = ("series",)
) -> pd.DataFrame:
    """Mean and range over seeds between k-1 and k, one row a value of ``by`` and ``x`` = k."""
    rows = pairs(frame, stream, stream, measure)
    rows = rows[rows["site_a"].eq("block") & rows["site_b"].eq("block")]
    rows = rows[rows["layer_b"].eq(rows["layer_a"] + 1)]
    return over_seeds(rows, [*by, "layer_b"]).rename(columns={"layer_b": "x"})


def fusion_points(frame: pd.DataFrame, stream: str, measure: str = "cka") -> pd.DataFrame:
    """The two halves of a fusion transition: ``half`` is "fusion" (k-1 to k.fusion) or "block"."""
    rows = pairs(frame, stream, stream, measure)
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
    scale: Scale = SCALES["cka"],
    split_fusion: bool = False,
    estimator: str = "",
    height: int = 330,
) -> go.Figure:
    """A measure of layers k-1 and k of ``stream`` over transitions k, mean and range over seeds.

    ``frame`` holds the store's rows of one pooling and one estimator with the columns
    ``series`` (a :class:`Series` key) and ``seed`` added. Transition k is shaded where k is a
    fusion layer of this stream. ``split_fusion`` adds, at each of them, the measure between k-1 and
    k.fusion and between k.fusion and k: what the co-attention did, and the block after it.
    """
    points = transition_points(frame, stream, scale.measure)
    figure = curve_figure(
        points,
        series,
        stream,
        x_title=f"{stream} transition k (layer k-1 to layer k)",
        y_title=y_title(scale, estimator),
        y_range=y_range(scale, points),
        where=lambda k: f"{stream} {k - 1} to {k}",
        first=1,
        height=height,
    )
    if split_fusion:
        halves = fusion_points(frame, stream, scale.measure)
        for half, symbol, words in (
            ("fusion", "triangle-left-open", "k-1 to k.fusion (co-attention)"),
            ("block", "triangle-right-open", "k.fusion to k (rest of the block)"),
        ):
            _add_half(figure, halves[halves["half"].eq(half)], series, stream, symbol, words)
    return figure


def y_title(scale: Scale, estimator: str) -> str:
    """``"CKA, debiased"``: a measure on an axis."""
    variant = ESTIMATOR_NAMES.get(estimator, "")
    return f"{scale.label}, {variant}" if variant else scale.label


def y_range(scale: Scale, points: pd.DataFrame) -> tuple[float, float]:
    """The measure's fixed range with a margin, lowered where an estimate lies below it."""
    lowest = float(points["low"].min()) if len(points) else scale.low
    margin = 0.02 * (scale.high - scale.low)
    lowest = min(scale.low, lowest) if lowest == lowest else scale.low
    return lowest - margin, scale.high + margin


def matched_streams(one: Series) -> tuple[StreamSpec, StreamSpec] | None:
    """The deeper and the other one of a model's first two streams; None where there is one."""
    if len(one.streams) < 2:
        return None
    first, second = one.streams[:2]
    return (first, second) if first.depth >= second.depth else (second, first)


def alignment_points(
    frame: pd.DataFrame,
    deep: StreamSpec,
    other: StreamSpec,
    measure: str = "cka",
    by: Sequence[str] = ("series",),
) -> pd.DataFrame:
    """The measure between matching layers of two streams, one row a value of ``by`` and ``x``.

    ``x`` is the layer of the deeper stream (:func:`backend.types.matched_layers`).
    """
    rows = pairs(frame, deep.name, other.name, measure)
    rows = rows[rows["site_a"].eq("block") & rows["site_b"].eq("block")]
    partner = {a.layer: b.layer for a, b in matched_layers(deep, other)}
    rows = rows[rows["layer_b"].eq(rows["layer_a"].map(partner))]
    return over_seeds(rows, [*by, "layer_a"]).rename(columns={"layer_a": "x"})


@dataclass(frozen=True)
class Matched:
    """The layers of several models' two streams side by side, as one axis.

    ``stream`` is the deeper one, ``other`` the one that its layers are matched with.
    """

    points: pd.DataFrame
    stream: str
    other: str
    partners: dict[int, set[int]]

    @property
    def x_title(self) -> str:
        """The words below the axis."""
        return f"{self.stream} layer, with its matching {self.other} layer (0 = embeddings)"

    def where(self, k: int) -> str:
        """Words for a position; they name the partner where all models here agree on it."""
        found = self.partners.get(k, set())
        matching = f"layer {next(iter(found))}" if len(found) == 1 else "its matching layer"
        return f"{self.stream} layer {k} and {self.other} {matching}"


def matched(
    frame: pd.DataFrame,
    series: Sequence[Series],
    measure: str = "cka",
    by: Sequence[str] = ("series",),
) -> Matched | None:
    """:func:`alignment_points` of all ``series`` with two streams; None where none has.

    Models whose streams have other names or depths are matched each in their own way.
    """
    alike: dict[tuple[str, int, str, int], list[Series]] = {}
    for one in series:
        if found := matched_streams(one):
            deep, other = found
            alike.setdefault((deep.name, deep.depth, other.name, other.depth), []).append(one)
    if not alike:
        return None
    parts = []
    partners: dict[int, set[int]] = {}
    for members in alike.values():
        deep, other = matched_streams(members[0]) or members[0].streams[:2]
        for a, b in matched_layers(deep, other):
            partners.setdefault(a.layer, set()).add(b.layer)
        mine = frame[frame["series"].isin([one.key for one in members])]
        parts.append(alignment_points(mine, deep, other, measure, by))
    return Matched(pd.concat(parts, ignore_index=True), deep.name, other.name, partners)


def alignment_curves(
    frame: pd.DataFrame,
    series: Sequence[Series],
    *,
    scale: Scale = SCALES["cka"],
    estimator: str = "",
    height: int = 360,
) -> go.Figure:
    """A measure between matching layers of the two streams, over the layers of the deeper one.

    Where the streams differ in depth, layer k of the deeper one is matched with the layer at the
    same relative depth of the other; the hover names both. Fusion layers are the deeper stream's.
    """
    both = matched(frame, series, scale.measure)
    if both is None:
        return base_figure(height=height)
    return curve_figure(
        both.points,
        series,
        both.stream,
        x_title=both.x_title,
        y_title=y_title(scale, estimator),
        y_range=y_range(scale, both.points),
        where=both.where,
        first=0,
        height=height,
    )


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
