"""A measure of consecutive layers, stream by stream, and of matching layers of two streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from backend.figures.curves import curve_figure
from backend.figures.scales import ESTIMATOR_NAMES, SCALES, Scale
from backend.figures.seeds import over_seeds, pairs
from backend.figures.sites import (
    between,
    fusion_sites,
    having,
    matching_sites,
    transition_sites,
)
from backend.figures.theme import Series, base_figure, escape
from backend.pairing import Pair, default_pair, paired
from backend.types import StreamSpec


def transition_points(
    frame: pd.DataFrame, stream: str, measure: str = "cka", by: Sequence[str] = ("series",)
) -> pd.DataFrame:
    """Mean and range over seeds between k-1 and k, one row a value of ``by`` and ``x`` = k."""
    rows = pairs(frame, stream, stream, measure)
    rows = rows[rows["site_a"].eq("block") & rows["site_b"].eq("block")]
    rows = rows[rows["layer_b"].eq(rows["layer_a"] + 1)]
    return over_seeds(rows, [*by, "layer_b"]).rename(columns={"layer_b": "x"})


def fusion_points(
    frame: pd.DataFrame, series: Sequence[Series], stream: str, measure: str = "cka"
) -> pd.DataFrame:
    """The halves of fusion transitions: ``half`` is "fusion" (up to where the other stream has come
    in) or "block" (from there on), ``x`` the transition.
    """
    rows = pairs(frame, stream, stream, measure)
    parts = [rows.iloc[:0].assign(half="", x=0)]
    for one, spec in having(series, stream):
        mine = rows[rows["series"].eq(one.key)]
        for ref in fusion_sites(spec):
            at = spec.refs.index(ref)
            for half, other in (("fusion", at - 1), ("block", at + 1)):
                if other < len(spec.refs):
                    ends = spec.refs[min(at, other)], spec.refs[max(at, other)]
                    here = mine[between(mine, *ends)]
                    parts.append(here.assign(half=half, x=ref.layer))
    return over_seeds(pd.concat(parts), ["series", "x", "half"])


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
    fusion layer of this stream; a named site such as ``12.norm`` stands at its place beside the
    layers, with the site before it. ``split_fusion`` adds, at each fusion layer, the measure
    between k-1 and k.fusion and between k.fusion and k: what brings the other stream in, and the
    block after it.
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
        named=transition_sites(frame, series, stream, scale.measure),
    )
    if split_fusion:
        halves = fusion_points(frame, series, stream, scale.measure)
        for half, symbol, words in (
            ("fusion", "triangle-left-open", "k-1 to k.fusion (another stream comes in)"),
            ("block", "triangle-right-open", "k.fusion to k (rest of the block)"),
        ):
            _add_half(figure, halves[halves["half"].eq(half)], series, stream, symbol, words)
    return figure


def y_title(scale: Scale, estimator: str) -> str:
    """``"CKA, debiased"``: a measure on an axis, with its estimator or direction."""
    variant = ESTIMATOR_NAMES.get(estimator, estimator)
    return f"{scale.label}, {variant}" if variant else scale.label


def y_range(scale: Scale, points: pd.DataFrame) -> tuple[float, float]:
    """The measure's fixed range with a margin, lowered where an estimate lies below it."""
    lowest = float(points["low"].min()) if len(points) else scale.low
    margin = 0.02 * (scale.high - scale.low)
    lowest = min(scale.low, lowest) if lowest == lowest else scale.low
    return lowest - margin, scale.high + margin


def matched_streams(one: Series, pair: Pair | None = None) -> tuple[StreamSpec, StreamSpec] | None:
    """The deeper and the other stream of ``pair``; None where the model lacks one of them.

    Without a pair, of the model's own :func:`backend.pairing.default_pair`.
    """
    both = paired(one.streams, pair)
    if both is None:
        return None
    first, second = both
    return (first, second) if first.depth >= second.depth else (second, first)


def directed(scale: Scale, series: Sequence[Series], pair: Pair) -> str:
    """Which of the matching layers predicts which, as curves and rows are drawn.

    Empty for a symmetric measure, and where the models' deeper streams are not the same.
    """
    ways = {
        tuple(spec.name for spec in both) for one in series if (both := matched_streams(one, pair))
    }
    if len(ways) != 1:
        return ""
    return scale.directed(*(f"the {stream} layer" for stream in ways.pop()))


def shown_pair(series: Sequence[Series], pair: Pair | None) -> Pair | None:
    """The pair, else the default one of the first series with two streams; None without one."""
    defaults = (default_pair(one.streams) for one in series)
    return pair or next((names for names in defaults if names), None)


def alignment_points(
    frame: pd.DataFrame,
    axis: StreamSpec,
    other: StreamSpec,
    measure: str = "cka",
    by: Sequence[str] = ("series",),
) -> pd.DataFrame:
    """The measure between matching layers of two streams, one row a value of ``by`` and ``x``.

    ``x`` is the layer of ``axis``, matched with the layer of ``other`` at the same relative depth.
    """
    rows = pairs(frame, axis.name, other.name, measure)
    rows = rows[rows["site_a"].eq("block") & rows["site_b"].eq("block")]
    rows = rows[rows["layer_b"].eq(rows["layer_a"].map(partners(axis, other)))]
    return over_seeds(rows, [*by, "layer_a"]).rename(columns={"layer_a": "x"})


def partners(axis: StreamSpec, other: StreamSpec) -> dict[int, int]:
    """{layer of ``axis``: the layer of ``other`` at the same relative depth, halves rounded up}.

    Where ``axis`` is the deeper one these are :func:`backend.types.matched_layers`.
    """
    deep = max(axis.depth, 1)
    return {k: (2 * k * other.depth + deep) // (2 * deep) for k in range(axis.depth + 1)}


@dataclass(frozen=True)
class Matched:
    """The layers of several models' two streams side by side, as one axis.

    ``stream`` is the one of the axis, ``other`` the one that its layers are matched with.
    """

    points: pd.DataFrame
    stream: str
    other: str
    partners: dict[int, set[int]]
    named: pd.DataFrame

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
    pair: Pair | None = None,
) -> Matched | None:
    """:func:`alignment_points` of all ``series`` that have the pair; None where none has.

    The axis is the first one's deeper stream; models whose streams differ in depth are matched each
    in their own way. ``pair`` as in :func:`alignment_curves`.
    """
    pair = shown_pair(series, pair)
    deeper = [both for one in series if pair and (both := matched_streams(one, pair))]
    if not deeper:
        return None
    axis, other = (spec.name for spec in deeper[0])
    matched_series = [
        (one, *both) for one in series if (both := paired(one.streams, (axis, other)))
    ]
    shapes: dict[tuple[int, int], list[str]] = {}
    for one, a, b in matched_series:
        shapes.setdefault((a.depth, b.depth), []).append(one.key)
    parts = []
    matching: dict[int, set[int]] = {}
    for keys in shapes.values():
        a, b = next((a, b) for one, a, b in matched_series if one.key == keys[0])
        for layer, partner in partners(a, b).items():
            matching.setdefault(layer, set()).add(partner)
        mine = frame[frame["series"].isin(keys)]
        parts.append(alignment_points(mine, a, b, measure, by))
    return Matched(
        pd.concat(parts, ignore_index=True),
        axis,
        other,
        matching,
        matching_sites(frame, matched_series, measure),
    )


def alignment_curves(
    frame: pd.DataFrame,
    series: Sequence[Series],
    *,
    pair: Pair | None = None,
    scale: Scale = SCALES["cka"],
    estimator: str = "",
    height: int = 360,
) -> go.Figure:
    """A measure between matching layers of two streams, over the layers of the deeper one.

    ``pair`` names the two; without one it is the default pair of the first series that has two
    streams. Series that lack one of the two are not drawn. Sites of the same name in both streams
    stand at their place beside the layers. Where the streams differ in depth, layer k of the deeper
    one is matched with the layer at the same relative depth of the other; the hover names both.
    Fusion layers are the deeper stream's.
    """
    both = matched(frame, series, scale.measure, pair=pair)
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
        named=both.named,
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
                    "color": one.colour if overlay else one.styles[stream].colour,
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
