"""A measure over the layers while a model is trained: played step by step, and all steps at once.

The rows are those of :meth:`backend.store.Run.training_measures` of one pooling, and of one
estimator of CKA, with ``series``, ``seed`` and ``run_id`` added. Which rows stand for a run at a
step at which it was not measured is said in :mod:`backend.figures.timeline`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from backend.figures.curves import Trace, curve_figure, series_traces
from backend.figures.dimensionality import Span, axis_words, dimension_points, span_of
from backend.figures.heatmap import gap_marks, layer_ticks
from backend.figures.meets import fusion_at, marked
from backend.figures.scales import SCALES, Scale
from backend.figures.seeds import points_of, spread_in_words
from backend.figures.theme import (
    FUSION_MARK,
    NEUTRAL,
    Series,
    axis,
    base_figure,
    escape,
    layout,
    number,
    rgba,
)
from backend.figures.timeline import Lag, Moment, at_moments, lags_of, moments_of
from backend.figures.transitions import (
    matched,
    transition_points,
    y_range,
    y_title,
)
from backend.measures.registry import MEASURES, one_layer
from backend.pairing import Pair
from backend.types import StreamSpec

TRANSITIONS = "transitions"
ALIGNMENT = "alignment"
QUANTITIES = (TRANSITIONS, ALIGNMENT, *one_layer())
"""CKA of consecutive and of matching layers, and every one-layer measure: those that rows hold."""

MOST_FRAMES = 40
_KEYS = ("series", "moment")
_MOVING = ("type", "x", "y", "hovertext", "name", "opacity")
_CONTROLS_PX = 104
_PLAY_MS = 9_000


@dataclass(frozen=True)
class _Curves:
    """The points of all moments, and how their axes are worded and scaled."""

    points: pd.DataFrame
    stream: str
    x_title: str
    y_title: str
    y_range: tuple[float, float]
    where: Callable[[int], str]
    first: int
    digits: int


def shown_moments(frame: pd.DataFrame) -> tuple[Moment, ...]:
    """The moments that are drawn: all, or :data:`MOST_FRAMES` of them, evenly spaced, ends kept."""
    moments = moments_of(frame)
    if len(moments) <= MOST_FRAMES:
        return moments
    kept = np.unique(np.linspace(0, len(moments) - 1, MOST_FRAMES).round().astype(int))
    return tuple(moments[at] for at in kept)


def training_curves(
    frame: pd.DataFrame,
    series: Sequence[Series],
    quantity: str,
    stream: str,
    *,
    pair: Pair | None = None,
    estimator: str = "",
    span: Span | None = None,
    height: int = 380,
) -> go.Figure:
    """A quantity over the layers, one frame a recorded step, with Play, Pause and a slider.

    ``quantity`` is one of :data:`QUANTITIES`, ``stream`` the one whose layers are drawn (for
    ``alignment`` it is the deeper one of ``pair``, whatever is given). Curves are as in
    :func:`backend.figures.transition_curves`, :func:`alignment_curves` and
    :func:`dimension_curves`; the axes span all steps, and ``span`` widens that of a
    dimension. The last step is shown first. Faint dotted lines are the untrained models. A series
    none of whose runs goes on is pale, and the legend says since when.
    """
    moments = shown_moments(frame) if len(frame) else ()
    drawn = _curves(at_moments(frame, moments), series, quantity, stream, pair, estimator, span)
    if drawn is None or not moments:
        return base_figure(height=height)
    shown = [one for one in series if one.stream(drawn.stream) is not None]
    lags = lags_of(frame, moments)
    untrained = drawn.points[drawn.points["moment"].eq(0)]
    by_moment = {one.step: drawn.points[drawn.points["moment"].eq(one.step)] for one in moments}

    def moved(moment: Moment) -> list[Trace]:
        """What differs at a moment, three traces a series in the order of :func:`curve_figure`."""
        out: list[Trace] = []
        here = by_moment[moment.step]
        for one in shown:
            lag = lags.get((one.key, moment.step), Lag())
            before = untrained[untrained["series"].eq(one.key)]
            band, line, marks = series_traces(
                here[here["series"].eq(one.key)],
                one,
                drawn.stream,
                drawn.where,
                drawn.y_range,
                overlay=len(shown) > 1,
                digits=drawn.digits,
                also=_notes(moment, lag, before, drawn.digits),
            )
            line["name"] = escape(f"{one.label} ({lag.brief})" if lag.brief else one.label)
            for trace in (band, line, marks):
                trace["opacity"] = 0.5 if lag.over else 1.0
                out.append({name: trace[name] for name in _MOVING if name in trace})
        return out

    figure = curve_figure(
        by_moment[moments[-1].step],
        shown,
        drawn.stream,
        x_title=drawn.x_title,
        y_title=drawn.y_title,
        y_range=drawn.y_range,
        where=drawn.where,
        first=drawn.first,
        digits=drawn.digits,
        height=height,
        moving=True,
    )
    # Frames hold only what moves: Plotly validates every setting of every frame.
    moving = list(range(3 * len(shown)))
    frames = [{"name": str(one.step), "data": moved(one), "traces": moving} for one in moments]
    for trace, final in zip(figure.data, frames[-1]["data"], strict=False):
        trace.update(final)
    figure.add_traces(_references(untrained, shown, drawn))
    figure.frames = frames
    margin = figure.layout.margin.b + _CONTROLS_PX
    figure.update_layout(
        height=figure.layout.height + _CONTROLS_PX,
        margin_b=margin,
        updatemenus=[_buttons(len(moments))],
        sliders=[_slider(moments)],
    )
    return figure


def training_heatmap(
    frame: pd.DataFrame,
    one: Series,
    quantity: str,
    stream: str,
    *,
    pair: Pair | None = None,
    estimator: str = "",
    span: Span | None = None,
    height: int = 460,
) -> go.Figure:
    """A quantity of one series: layers (or transitions) on the rows, recorded steps on the columns.

    ``frame``, ``quantity``, ``stream`` and ``span`` as in :func:`training_curves`; cells are means
    over seeds. Colours span a similarity's fixed range, or 0 to the largest dimension.
    """
    mine = frame[frame["series"].eq(one.key)]
    moments = shown_moments(mine) if len(mine) else ()
    drawn = _curves(at_moments(mine, moments), [one], quantity, stream, pair, estimator, span)
    spec = one.stream(drawn.stream) if drawn else None
    if drawn is None or spec is None or not moments:
        return base_figure(height=height, legend=False)
    columns = {moment.step: at for at, moment in enumerate(moments)}
    cells = drawn.points[drawn.points["x"].between(drawn.first, spec.depth)]
    cells = cells.assign(
        at=cells["moment"].map(columns).astype("int64"), row=cells["x"] - drawn.first
    )
    z = np.full((spec.depth - drawn.first + 1, len(moments)), np.nan)
    z[cells["row"].to_numpy(dtype=int), cells["at"].to_numpy(dtype=int)] = cells["mean"].to_numpy()
    lags = lags_of(mine, moments)
    texts = np.full(z.shape, "", dtype=object)
    for (row, at), text in zip(
        cells[["row", "at"]].itertuples(index=False, name=None),
        _cell_hovers(cells, drawn, moments, lags, spec),
        strict=True,
    ):
        texts[int(row), int(at)] = text
    scale = _colours(quantity, drawn)
    by_place = cells.assign(x=cells["at"], y=cells["row"])
    settings = layout(height=height, legend=False) | {
        "margin": {"l": 64, "r": 10, "t": 10, "b": 48},
        "xaxis": axis(
            _columns_title(moments),
            range=[-0.5, len(moments) - 0.5],
            tickvals=_spread(len(moments)),
            ticktext=[moments[at].short.split(" ")[0] for at in _spread(len(moments))],
            tickangle=0,
            showgrid=False,
            fixedrange=True,
            ticks="",
        ),
        "yaxis": axis(_rows_title(drawn, quantity, spec), **layer_ticks([spec], first=drawn.first)),
    }
    heat = go.Heatmap(
        z=z,
        zmin=scale.low,
        zmax=scale.high,
        colorscale=scale.colours,
        xgap=1,
        ygap=1,
        hovertext=texts,
        hoverinfo="text",
        meta={
            "x": [escape(one.label) for one in moments],
            "y": [f"{drawn.stream} {k}" for k in range(drawn.first, spec.depth + 1)],
        },
        colorbar={
            "title": {"text": escape(scale.label).replace(" ", "<br>"), "side": "top"},
            "thickness": 10,
            "outlinewidth": 0,
            "len": 0.9,
            **({} if quantity in one_layer() else {"tickvals": scale.ticks}),
        },
    )
    return go.Figure(data=[heat, *gap_marks(by_place)], layout=settings)


def _curves(
    frame: pd.DataFrame,
    series: Sequence[Series],
    quantity: str,
    stream: str,
    pair: Pair | None,
    estimator: str,
    span: Span | None,
) -> _Curves | None:
    """``frame`` summed up over seeds at each moment; None where no series has what is asked for."""
    cka = SCALES["cka"]
    if quantity == TRANSITIONS:
        points = transition_points(frame, stream, "cka", _KEYS)
        return _Curves(
            points,
            stream,
            f"{stream} transition k (layer k-1 to layer k)",
            y_title(cka, estimator),
            y_range(cka, points),
            lambda k: f"{stream} {k - 1} to {k}",
            first=1,
            digits=3,
        )
    if quantity == ALIGNMENT:
        both = matched(frame, series, "cka", _KEYS, pair)
        if both is None:
            return None
        return _Curves(
            both.points,
            both.stream,
            both.x_title,
            y_title(cka, estimator),
            y_range(cka, both.points),
            both.where,
            first=0,
            digits=3,
        )
    points = dimension_points(frame, stream, quantity, _KEYS)
    own = span_of(quantity, points["low"], points["high"])
    low, high = span or own
    return _Curves(
        points,
        stream,
        f"{stream} layer (0 = embeddings)",
        axis_words(quantity),
        (min(low, own[0]), max(high, own[1])),
        lambda k: f"{stream} layer {k}",
        first=0,
        digits=1,
    )


def _notes(
    moment: Moment, lag: Lag, untrained: pd.DataFrame, digits: int
) -> Callable[[int], list[str]]:
    """What a point's hover says of time: the moment, what is held, and the untrained value."""
    before = dict(zip(untrained["x"], untrained["mean"], strict=True)) if moment.step else {}

    def lines(x: int) -> list[str]:
        value = before.get(x, float("nan"))
        return [
            moment.label,
            *([lag.text] if lag.text else []),
            *([f"untrained {value:.{digits}f}"] if value == value else []),
        ]

    return lines


def _references(
    untrained: pd.DataFrame, shown: Sequence[Series], drawn: _Curves
) -> list[go.Scatter]:
    """The untrained models' curves: faint, dotted, without markers, one entry in the legend."""
    out = []
    for one in shown:
        spec = one.stream(drawn.stream)
        rows = untrained[untrained["series"].eq(one.key)].sort_values("x")
        if spec is None or rows.empty:
            continue
        colour = one.colour if len(shown) > 1 else one.styles[spec.name].colour
        out.append(
            go.Scatter(
                x=rows["x"].to_numpy(),
                y=rows["mean"].to_numpy(),
                mode="lines",
                line={"color": rgba(colour, 0.5), "width": 1.4, "dash": "dot"},
                name=escape(f"{one.label}, untrained"),
                legendgroup=one.key,
                showlegend=False,
                hoverinfo="skip",
            )
        )
    if out:
        key = {"color": NEUTRAL, "width": 1.4, "dash": "dot"}
        out.append(
            go.Scatter(x=[None], y=[None], mode="lines", line=key, name="untrained (step 0)")
        )
    return out


def _buttons(frames: int) -> dict[str, object]:
    """Play from the shown step, or from the start where that is the last one; Pause."""
    pace = min(900, max(120, _PLAY_MS // frames))
    play = {
        "frame": {"duration": pace, "redraw": True},
        "transition": {"duration": 0},
        "fromcurrent": True,
    }
    pause = {"frame": {"duration": 0, "redraw": False}, "mode": "immediate"}
    return {
        "type": "buttons",
        "direction": "left",
        "showactive": False,
        "x": 0,
        "xanchor": "left",
        "y": 0,
        "yanchor": "top",
        "pad": {"t": 56, "l": 0, "r": 0, "b": 0},
        "bgcolor": "rgba(0,0,0,0)",
        "bordercolor": NEUTRAL,
        "font": {"color": NEUTRAL, "size": 13},
        "buttons": [
            {"label": "▶ Play", "method": "animate", "args": [None, play]},
            {"label": "❚❚ Pause", "method": "animate", "args": [[None], pause]},
        ],
    }


def _slider(moments: Sequence[Moment]) -> dict[str, object]:
    jump = {
        "frame": {"duration": 0, "redraw": True},
        "transition": {"duration": 0},
        "mode": "immediate",
    }
    return {
        "active": len(moments) - 1,
        "x": 0,
        "len": 1,
        "y": 0,
        "yanchor": "top",
        "pad": {"t": 62, "l": 0, "r": 0, "b": 0},
        "currentvalue": {
            "prefix": f"{_unit(moments)} ",
            "xanchor": "right",
            "font": {"size": 14},
            "offset": 14,
        },
        "activebgcolor": NEUTRAL,
        "bgcolor": rgba(NEUTRAL, 0.35),
        "bordercolor": NEUTRAL,
        "tickcolor": NEUTRAL,
        "steps": [
            {"label": one.short, "method": "animate", "args": [[str(one.step)], jump]}
            for one in moments
        ],
    }


def _cell_hovers(
    cells: pd.DataFrame,
    drawn: _Curves,
    moments: Sequence[Moment],
    lags: Mapping[tuple[str, int], Lag],
    spec: StreamSpec,
) -> list[str]:
    out = []
    for series, at, point in zip(
        cells["series"].tolist(), cells["at"].tolist(), points_of(cells), strict=True
    ):
        moment = moments[int(at)]
        fused = escape(marked(fusion_at(spec, point.x)))
        lag = lags.get((series, moment.step), Lag())
        head = f"<b>{escape(drawn.where(point.x))}</b>{fused}<br>{moment.label}"
        held = [escape(lag.text)] if lag.text else []
        if point.mean != point.mean:
            reason = escape(point.reason or "no reason was stored")
            out.append("<br>".join([head, f"undefined: {reason}", *held]))
            continue
        mean = f"mean {number(point.mean, drawn.digits)}"
        spread = spread_in_words(point, drawn.digits)
        out.append("<br>".join([head, mean, *spread, f"n = {point.n:,}", *held]))
    return out


def _colours(quantity: str, drawn: _Curves) -> Scale:
    if quantity in one_layer():
        return Scale(quantity, MEASURES[quantity].label, "", *drawn.y_range)
    return SCALES["cka"]


def _columns_title(moments: Sequence[Moment]) -> str:
    untrained = " (0 = untrained)" if moments[0].step == 0 else ""
    return f"{_unit(moments)} of the training{untrained}"


def _unit(moments: Sequence[Moment]) -> str:
    """What the moments' short labels count."""
    return "epoch" if all(one.in_epochs for one in moments) else "step"


def _rows_title(drawn: _Curves, quantity: str, spec: StreamSpec) -> str:
    what = "transition k" if quantity == TRANSITIONS else "layer"
    fusing = f"  ({FUSION_MARK} fusion)" if spec.fusion_layers else ""
    return f"{drawn.stream} {what}{fusing}"


def _spread(count: int) -> list[int]:
    """At most sixteen evenly spaced positions of ``count``, the first among them."""
    return list(range(0, count, -(-count // 16)))
