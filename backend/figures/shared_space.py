"""A contrastive model's own space by layer, beside a map that was fitted on held-out pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import plotly.graph_objects as go

from backend.figures.curves import curve_figure
from backend.figures.seeds import over_seeds, points_of, spread_in_words
from backend.figures.theme import NEUTRAL, Series, base_figure, escape
from backend.figures.transitions import partners
from backend.pairing import paired
from backend.types import BLOCK, StreamSpec

Stop = Literal["vision", "text", "both"]
OWN, FITTED = "own", "fitted"
_STEPS = (0.1, 0.25, 0.5, 1.0)
_NAMES = {OWN: "the model's own space", FITTED: "under a fitted map"}


@dataclass(frozen=True)
class SharedScale:
    """How a measure of the shared space is worded; ``within`` is its range where that is fixed.

    ``searches``: it is told of both directions. ``alone``: of a single layer.
    """

    label: str
    meaning: str
    within: tuple[float, float] | None = None
    searches: bool = False
    alone: bool = False


# fmt: off
SHARED_SCALES: dict[str, SharedScale] = {
    "zero_shot": SharedScale("Zero-shot", "How well the nearest class prompt tells an image's class.", (0.0, 1.0)),  # noqa: E501
    "recall_at_1": SharedScale("R@1", "How often the nearest is a partner; any of several counts.", searches=True),  # noqa: E501
    "recall_at_5": SharedScale("R@5", "How often a partner is among the five nearest.", searches=True),  # noqa: E501
    "recall_at_10": SharedScale("R@10", "How often a partner is among the ten nearest.", searches=True),  # noqa: E501
    "median_rank": SharedScale("Median rank", "At which place the first partner is found: 1 is best.", searches=True),  # noqa: E501
    "modality_gap": SharedScale("Modality gap", "Distance of the two clouds' centres on the unit sphere.", (0.0, 2.0)),  # noqa: E501
    "alignment": SharedScale("Alignment", "Mean squared distance of true pairs on the unit sphere: 0 is aligned.", (0.0, 4.0)),  # noqa: E501
    "uniformity": SharedScale("Uniformity", "How evenly a layer's directions cover the sphere: 0 if all are the same.", (-4.0, 0.0), alone=True),  # noqa: E501
}
# fmt: on
"""The measures in the order in which pages offer them."""


def shared_points(
    frame: pd.DataFrame,
    vision: StreamSpec,
    text: StreamSpec,
    measure: str,
    stop: Stop,
    axis: StreamSpec,
) -> pd.DataFrame:
    """Mean, interval and chance by ``series``, ``space`` and ``x``, the layer of ``axis``.

    ``axis`` is the stream that stops, either one where both stop. ``low`` and ``high`` are the
    interval over samples where there is one run, and the range over seeds where there are several.
    """
    rows = frame[frame["measure"].eq(measure) & frame["site_a"].eq(BLOCK)]
    if SHARED_SCALES[measure].alone:
        rows = rows[rows["stream_a"].eq(axis.name)].assign(x=lambda own: own["layer_a"])
    else:
        rows = rows[rows["stream_a"].eq(vision.name) & rows["stream_b"].eq(text.name)]
        own, other = (vision, text) if axis == vision else (text, vision)
        at, beside = ("layer_a", "layer_b") if axis == vision else ("layer_b", "layer_a")
        partner = rows[at].map(partners(own, other)) if stop == "both" else other.depth
        rows = rows[rows[beside].eq(partner)].assign(x=lambda stopped: stopped[at])
    points = over_seeds(rows, ["series", "space", "x"])
    for side in ("low", "high"):
        own_interval = points["seeds"].eq(1) & points[f"ci_{side}"].notna()
        points[side] = points[side].where(~own_interval, points[f"ci_{side}"])
    return points


def axis_of(vision: StreamSpec, text: StreamSpec, stop: Stop) -> StreamSpec:
    """The stream whose layers are the axis: the one that stops, the deeper one of both."""
    if stop == "both":
        return vision if vision.depth >= text.depth else text
    return text if stop == "text" else vision


def shared_space_curves(
    frame: pd.DataFrame,
    series: Sequence[Series],
    measure: str,
    stop: Stop,
    *,
    words: str = "",
    height: int = 330,
) -> go.Figure:
    """A measure by the layer at which a stream stops: own space solid, fitted map dashed.

    ``frame`` are the store's rows of :data:`backend.store.kinds.SHARED_SPACE` of one direction or
    task, with ``series`` and ``seed`` added; ``words`` name it on the axis. Chance is dotted. A
    series without a vision and a text stream is not drawn. Shares have a range of 0 to 0.1, 0.25,
    0.5 or 1, as the highest needs. Where both streams stop the axis is the first one's deeper
    stream, for all: models are matched each in their own way.
    """
    held = [(one, both) for one in series if (both := paired(one.streams, ("vision", "text")))]
    if not held:
        return base_figure(height=height)
    shown = [one for one, _ in held]
    stream = axis_of(*held[0][1], stop).name
    parts = []
    for one, (vision, text) in held:
        mine = frame[frame["series"].eq(one.key)]
        own = vision if vision.name == stream else text
        parts.append(shared_points(mine, vision, text, measure, stop, own))
    points = pd.concat(parts, ignore_index=True)
    scale = SHARED_SCALES[measure]
    figure = curve_figure(
        points[points["space"].eq(OWN)],
        shown,
        stream,
        x_title=f"{stream} layer (0 = embeddings), {_other(stream, stop, scale)}",
        y_title=f"{scale.label}, {words}" if words else scale.label,
        y_range=_range(scale, points),
        where=lambda k: f"{stream} layer {k}",
        first=0,
        height=height,
    )
    for one in shown:
        mine = points[points["series"].eq(one.key) & points["space"].eq(FITTED)]
        colour = one.colour if len(shown) > 1 else one.styles[stream].colour
        if len(mine):
            figure.add_trace(_fitted(mine, one, colour, stream))
    return _with_chance(figure, points)


def _other(stream: str, stop: Stop, scale: SharedScale) -> str:
    if scale.alone:
        return "by itself"
    other = "text" if stream == "vision" else "vision"
    return f"{other} at {'its matching layer' if stop == 'both' else 'its last one'}"


def _range(scale: SharedScale, points: pd.DataFrame) -> tuple[float, float]:
    if scale.within is not None:
        low, high = scale.within
    else:
        highest = float(points[["mean", "high", "null_mean"]].max().max())
        low = 0.0
        high = next((step for step in _STEPS if highest <= step), highest)
    return low - 0.02 * (high - low), high + 0.02 * (high - low)


def _fitted(rows: pd.DataFrame, one: Series, colour: str, stream: str) -> go.Scatter:
    rows = rows.sort_values("x")
    points = points_of(rows)
    return go.Scatter(
        x=rows["x"].to_numpy(),
        y=rows["mean"].to_numpy(),
        mode="lines+markers",
        line={"color": colour, "width": 1.8, "dash": "dash"},
        marker={"symbol": "circle-open", "size": 7, "color": colour},
        name=f"{escape(one.label)}, {_NAMES[FITTED]}",
        legendgroup=f"{one.key} {FITTED}",
        hovertext=[
            f"<b>{escape(one.label)}</b>, {_NAMES[FITTED]}, {escape(stream)} layer {point.x}<br>"
            + (
                f"undefined: {escape(point.reason)}"
                if point.mean != point.mean
                else "<br>".join(
                    [f"mean {point.mean:.3f}", *spread_in_words(point), f"n = {point.n:,}"]
                )
            )
            for point in points
        ],
        hoverinfo="text",
    )


def _with_chance(figure: go.Figure, points: pd.DataFrame) -> go.Figure:
    """Chance at each layer as a dotted line; nothing where it is not known."""
    own = points[points["space"].eq(OWN)].groupby("x")["null_mean"].mean().dropna()
    if own.empty:
        return figure
    return figure.add_trace(
        go.Scatter(
            x=own.index.to_numpy(),
            y=own.to_numpy(),
            mode="lines",
            line={"color": NEUTRAL, "width": 1.5, "dash": "dot"},
            name="chance",
            hoverinfo="skip",
        )
    )
