"""One run, or placement, minus another: curves around the reference at 0, matrices around white.

Seeds are paired: the difference is taken between the runs of the same seed, and the mean and its
95 % t interval are over those pairs. Without a common seed the means over all seeds are subtracted
and there is no interval; neither is there one for a single pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from backend.figures.curves import curve_figure
from backend.figures.dimensionality import axis_words, dimension_points
from backend.figures.heatmap import layer_heatmap
from backend.figures.scales import SCALES, Scale, difference_scale
from backend.figures.seeds import INTERVAL_BAND, turned
from backend.figures.theme import Series, base_figure, escape
from backend.figures.transitions import (
    alignment_points,
    matched_streams,
    transition_points,
    y_title,
)
from backend.measures.registry import MEASURES
from backend.pairing import Pair
from backend.remarks import merged
from backend.types import StreamSpec, matched_layers

_CELL = [
    *("measure", "stream_a", "layer_a", "site_a", "stream_b", "layer_b", "site_b"),
    *("pooling", "estimator"),
]
_COLUMNS = [*_CELL, "series", "seed", "value", "n", "reason"]
_UNKNOWN = ("ci_low", "ci_high", "null_mean", "null_sd", "p_value", "p_corrected")
MEANS = -1
"""The "seed" of a difference of means over unpaired seeds."""


def paired_seeds(frame: pd.DataFrame, a: str, b: str) -> tuple[int, ...]:
    """Seeds that both series have, in order."""
    return tuple(sorted(_seeds(frame, a) & _seeds(frame, b)))


def _seeds(frame: pd.DataFrame, key: str) -> set[int]:
    """A run without a seed has none in common with any other."""
    return {int(seed) for seed in frame.loc[frame["series"].eq(key), "seed"].dropna().unique()}


def differences(frame: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Rows like those of ``frame`` whose ``value`` is each other series' minus the reference's.

    One row a series, pair of layers (or layer) and common seed; layers that only one of the two
    has are left out. Undefined on either side is undefined, with both reasons.
    """
    rows = _oriented(frame)
    theirs = rows[rows["series"].eq(reference)]
    seeds = _seeds(frame, reference)
    parts = []
    mine = rows[rows["series"].ne(reference)]
    alone = {key for key in mine["series"].unique() if not seeds & _seeds(mine, key)}
    for unpaired in (False, True):
        part = mine[mine["series"].isin(alone)] if unpaired else mine[~mine["series"].isin(alone)]
        if len(part):
            sides = (_means(part), _means(theirs)) if unpaired else (part, theirs)
            parts.append(sides[0].merge(sides[1], on=[*_CELL, "seed"], suffixes=("", "_ref")))
    if not parts:
        return pd.DataFrame(columns=[*_COLUMNS, *_UNKNOWN, "warnings", "difference"])
    both = pd.concat(parts, ignore_index=True)
    reasons = [*map(merged, both["reason"], both["reason_ref"])]
    out = both.assign(
        value=both["value"] - both["value_ref"],
        n=np.minimum(both["n"], both["n_ref"]),
        reason=reasons,
        warnings="",
    )
    unknown = dict.fromkeys(_UNKNOWN, np.nan)
    return out[[*_COLUMNS, "warnings"]].assign(**unknown, difference=True)


def transition_differences(
    frame: pd.DataFrame,
    series: Sequence[Series],
    reference: Series,
    stream: str,
    *,
    scale: Scale = SCALES["cka"],
    estimator: str = "",
    height: int = 330,
) -> go.Figure:
    """A measure of layers k-1 and k of ``stream``, each series minus ``reference``.

    ``frame`` holds the :func:`differences` of rows of one pooling and estimator. Only series whose
    stream is as deep as the reference's are drawn: transitions are compared by their number.
    """
    return _curves(
        transition_points(frame, stream, scale.measure),
        [one for one in series if same_depth(one, reference, stream)],
        reference,
        stream,
        x_title=f"{stream} transition k (layer k-1 to layer k)",
        y_title=f"{y_title(scale, estimator)}: minus {reference.label}",
        where=lambda k: f"{stream} {k - 1} to {k}",
        first=1,
        height=height,
    )


def dimension_differences(
    frame: pd.DataFrame,
    series: Sequence[Series],
    reference: Series,
    stream: str,
    measure: str = "effective_dimension",
    *,
    height: int = 330,
) -> go.Figure:
    """A one-layer measure of ``stream``, each series minus ``reference``; depths as above."""
    return _curves(
        dimension_points(frame, stream, measure),
        [one for one in series if same_depth(one, reference, stream)],
        reference,
        stream,
        x_title=f"{stream} layer (0 = embeddings)",
        y_title=f"{axis_words(measure)}: minus {reference.label}",
        where=lambda k: f"{stream} layer {k}",
        first=0,
        digits=1,
        height=height,
    )


def alignment_differences(
    frame: pd.DataFrame,
    series: Sequence[Series],
    reference: Series,
    *,
    pair: Pair | None = None,
    scale: Scale = SCALES["cka"],
    estimator: str = "",
    height: int = 330,
) -> go.Figure:
    """A measure of matching layers of two streams, each series minus ``reference``.

    ``pair`` names the two; without one it is the reference's default pair. Only series whose
    streams are as deep as the reference's are drawn; see :func:`backend.figures.alignment_curves`
    for which layers match.
    """
    matched = matched_streams(reference, pair)
    if matched is None:
        return base_figure(height=height)
    deep, other = matched
    partner = {a.layer: b.layer for a, b in matched_layers(deep, other)}
    alike = [
        one
        for one in series
        if same_depth(one, reference, deep.name) and same_depth(one, reference, other.name)
    ]
    return _curves(
        alignment_points(frame, deep, other, scale.measure),
        alike,
        reference,
        deep.name,
        x_title=f"{deep.name} layer, with its matching {other.name} layer (0 = embeddings)",
        y_title=f"{y_title(scale, estimator)}: minus {reference.label}",
        where=lambda k: f"{deep.name} layer {k} and {other.name} layer {partner.get(k, k)}",
        first=0,
        height=height,
    )


def difference_heatmap(
    frame: pd.DataFrame,
    a: Series,
    b: Series,
    rows: Sequence[StreamSpec],
    columns: Sequence[StreamSpec],
    *,
    scale: Scale = SCALES["cka"],
    show_text: bool = False,
    height: int = 560,
) -> go.Figure:
    """A measure between every layer of ``rows`` and of ``columns`` in ``a``, minus the same in
    ``b``.

    ``frame`` holds the :func:`differences` from ``b`` of rows of one pooling and estimator. Blue is
    where ``a`` has the higher value, red where ``b`` has it, white where they agree; the scale is
    symmetric. Both must have the streams at the same depth; ◆ marks fusion in either.
    """
    frame = frame[frame["series"].eq(a.key)]
    span = span_of(frame.groupby(_CELL, observed=True)["value"].mean())
    return layer_heatmap(
        frame,
        [_fused_in_either(spec, a, b) for spec in rows],
        [_fused_in_either(spec, a, b) for spec in columns],
        scale=difference_scale(scale, span),
        model=f"{a.label} − {b.label}",
        show_text=show_text,
        height=height,
    )


def same_depth(one: Series, other: Series, stream: str) -> bool:
    """Whether both have the stream, with the same number of layers."""
    mine, theirs = one.stream(stream), other.stream(stream)
    return mine is not None and theirs is not None and mine.depth == theirs.depth


def span_of(values: pd.Series) -> float:
    """The largest absolute value, raised to a round number: 1, 2 or 5 times a power of ten."""
    largest = float(values.abs().max()) if len(values) else math.nan
    if not largest > 0:  # NaN, or no difference at all
        return 0.1
    power = 10.0 ** math.floor(math.log10(largest))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= largest * (1 - 1e-9))


def _curves(
    points: pd.DataFrame,
    series: Sequence[Series],
    reference: Series,
    stream: str,
    *,
    x_title: str,
    y_title: str,
    where: Callable[[int], str],
    first: int,
    digits: int = 3,
    height: int,
) -> go.Figure:
    """Every series' difference and the reference as the line at 0, so that its fusion is shown."""
    spec = reference.stream(stream)
    others = [one for one in series if one.key != reference.key]
    drawn = points[points["series"].isin([one.key for one in others])]
    if spec is None or drawn.empty:
        return base_figure(height=height)
    extent = _extent(drawn)
    several = drawn["seeds"].gt(1)
    drawn = drawn.assign(
        low=drawn["ci_low"].where(several, drawn["mean"]),
        high=drawn["ci_high"].where(several, drawn["mean"]),
    )
    figure = curve_figure(
        pd.concat([drawn, _zero(drawn, reference, spec, first)], ignore_index=True),
        [*others, replace(reference, label=f"{reference.label} (reference)")],
        stream,
        x_title=x_title,
        y_title=y_title,
        y_range=(-extent, extent),
        where=where,
        first=first,
        digits=digits,
        height=height,
        band=INTERVAL_BAND,
    )
    for trace in figure.data:
        if trace.legendgroup == reference.key and trace.mode == "lines+markers":
            trace.hovertext = [
                f"<b>{escape(reference.label)}</b>, {escape(where(int(x)))}: the reference, 0"
                for x in trace.x
            ]
    return figure


def _extent(points: pd.DataFrame) -> float:
    """Half of the y axis: holds every seed's difference, and the intervals unless they are huge."""
    seen, interval = (
        max((abs(v) for name in names for v in points[name].tolist() if v == v), default=0.0)
        for names in (("low", "high", "mean"), ("ci_low", "ci_high"))
    )
    return 1.06 * max(seen, min(interval, 2.5 * seen)) or 0.1


def _zero(drawn: pd.DataFrame, reference: Series, spec: StreamSpec, first: int) -> pd.DataFrame:
    x = np.arange(first, spec.depth + 1)
    known = {"series": reference.key, "x": x, "mean": 0.0, "low": 0.0, "high": 0.0, "seeds": 1}
    rest: dict[str, object] = {"n": int(drawn["n"].max()), "tested": 0, "above": 0, "reason": ""}
    return pd.DataFrame({**known, **rest}).reindex(columns=drawn.columns)


def _oriented(rows: pd.DataFrame) -> pd.DataFrame:
    """Each pair once a seed, written the same way where its order does not matter."""
    out = rows.copy()
    same = rows["stream_a"].eq(rows["stream_b"])
    two_ways = rows["measure"].isin([n for n, m in MEASURES.items() if not m.symmetric])
    swap = (same & turned(rows)) | (rows["stream_a"] > rows["stream_b"])
    swap &= rows["stream_b"].ne("") & ~two_ways
    for name in ("stream", "layer", "site"):
        first, second = rows[f"{name}_a"], rows[f"{name}_b"]
        out[f"{name}_a"] = first.where(~swap, second)
        out[f"{name}_b"] = second.where(~swap, first)
    return out[_COLUMNS].drop_duplicates([*_CELL, "series", "seed"])


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    grouped = rows.groupby([*_CELL, "series"], observed=True)
    means = grouped.agg(value=("value", "mean"), n=("n", "min"), reason=("reason", "max"))
    means = means.reset_index().assign(seed=MEANS)
    return means.assign(reason=means["reason"].where(means["value"].isna(), ""))


def _fused_in_either(spec: StreamSpec, a: Series, b: Series) -> StreamSpec:
    """The stream with the meets of both runs, each at its layer itself."""
    meets = {
        meet.layer: replace(meet, site=str(meet.layer))
        for one in (a, b)
        if (own := one.stream(spec.name))
        for meet in own.meets
        if meet.how != "loss" and meet.layer <= spec.depth
    }
    return replace(spec, meets=tuple(meets.values()))
