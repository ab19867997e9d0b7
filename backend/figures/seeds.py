"""Means and bands over seeds, and the orientation of pairs of layers."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pandas as pd

from backend.measures.chance.seeds import UNBOUNDED, Bounds, t_intervals
from backend.measures.registry import MEASURES
from backend.remarks import in_words
from backend.types import BLOCK, LayerRef

BAND = "band min to max"
INTERVAL_BAND = "band 95 % interval"
SIGNIFICANT = 0.05
"""Level of "above chance", after correction for looking at all layers."""


class Point(NamedTuple):
    """One position of a curve; see :func:`over_seeds`."""

    x: int
    mean: float
    low: float
    high: float
    seeds: int
    ci_low: float
    ci_high: float
    null_mean: float
    null_sd: float
    tested: int
    above: int
    n: int
    reason: str

    @property
    def z(self) -> float:
        """Distance of the mean from chance in standard deviations of the null; NaN without one."""
        return (self.mean - self.null_mean) / self.null_sd if self.null_sd > 0 else float("nan")


def points_of(rows: pd.DataFrame) -> list[Point]:
    """Rows of :func:`over_seeds` with a column ``x`` as plain values, the reason in words."""
    columns = [rows[name].tolist() for name in Point._fields[:-1]]
    columns.append([in_words(text) for text in rows["reason"]])
    return [Point(*values) for values in zip(*columns, strict=True)]


def in_order(a: LayerRef, b: LayerRef) -> tuple[LayerRef, LayerRef]:
    """Two sites of one stream in the order of :func:`pairs`: by layer, named sites first."""
    first, second = sorted((a, b), key=lambda ref: (ref.layer, ref.site == BLOCK, ref.site))
    return first, second


def turned(frame: pd.DataFrame) -> pd.Series:
    """Rows of two sites of one stream that are not :func:`in_order`."""
    plain = {side: frame[f"site_{side}"].eq(BLOCK) for side in ("a", "b")}
    late = (plain["a"] & ~plain["b"]) | (
        plain["a"].eq(plain["b"]) & (frame["site_a"] > frame["site_b"])
    )
    return frame["layer_a"].gt(frame["layer_b"]) | (frame["layer_a"].eq(frame["layer_b"]) & late)


def pairs(frame: pd.DataFrame, stream_a: str, stream_b: str, measure: str = "cka") -> pd.DataFrame:
    """Rows of a measure between two streams, ``stream_a`` first.

    Of a symmetric measure the store keeps each unordered pair once; within one stream the sites are
    :func:`in_order`. Of another one it keeps both directions, and these are the rows from
    ``stream_a`` to ``stream_b``.
    """
    rows = frame[frame["measure"].eq(measure)]
    forward = rows["stream_a"].eq(stream_a) & rows["stream_b"].eq(stream_b)
    backward = rows["stream_a"].eq(stream_b) & rows["stream_b"].eq(stream_a)
    if measure in MEASURES and not MEASURES[measure].symmetric:
        means = _means_of_directions(rows[backward])
        return pd.concat([rows[forward], _sides_swapped(means, means["layer_a"].notna())])
    out = rows[forward | backward]
    return _sides_swapped(
        out, turned(out) if stream_a == stream_b else out["stream_a"].ne(stream_a)
    )


def _means_of_directions(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of older stores, which kept the mean of both directions under one of them."""
    if "params" not in rows:
        return rows.iloc[:0]
    means = [text for text in rows["params"].unique() if "directions" in json.loads(text)]
    layers = rows["layer_a"].ne(rows["layer_b"]) | rows["site_a"].ne(rows["site_b"])
    apart = layers | rows["stream_a"].ne(rows["stream_b"])
    return rows[rows["params"].isin(means) & apart]


def _sides_swapped(rows: pd.DataFrame, swap: pd.Series) -> pd.DataFrame:
    out = rows.copy()
    for name in ("layer", "site", "stream"):
        a, b = f"{name}_a", f"{name}_b"
        first, second = rows[a], rows[b]
        out[a] = first.where(~swap, second)
        out[b] = second.where(~swap, first)
    return out


def over_seeds(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One row for every value of ``by``: mean, low, high and sd over runs, how many, and why not.

    Undefined values do not count; where every run is undefined the mean is NaN and ``reason`` says
    why. ``null_mean`` and ``null_sd`` are averaged, ``n`` is the smallest. ``ci_low`` and
    ``ci_high`` are the run's own interval over samples where there is one run, and the 95 % t
    interval of the mean over seeds, within the measure's range, where there are several. The rows
    are those of one measure and estimator. ``tested`` runs have a p-value,
    ``above`` of them are above chance after correction (p < :data:`SIGNIFICANT`).
    """
    columns = [*by, *Point._fields[1:4], "sd", *Point._fields[4:]]
    if frame.empty:
        return pd.DataFrame(columns=columns)
    p = frame["p_corrected"]
    grouped = frame.assign(above=p.lt(SIGNIFICANT)).groupby(by, sort=True, observed=True)
    # Several columns at a time: a named aggregation of each takes twice as long.
    means = grouped[["value", "ci_low", "ci_high", "null_mean", "null_sd"]].mean()
    lows, highs = grouped[["value", "n"]].min(), grouped[["value", "reason"]].max()
    counts = grouped[["value", "p_corrected"]].count()
    out = means.assign(
        mean=means["value"],
        low=lows["value"],
        high=highs["value"],
        sd=grouped["value"].std(),
        seeds=counts["value"],
        tested=counts["p_corrected"],
        above=grouped["above"].sum(),
        n=lows["n"],
        reason=highs["reason"],
    ).reset_index()
    several = out["seeds"] > 1
    mean, sd, seeds = (out[name].to_numpy(dtype=np.float64) for name in ("mean", "sd", "seeds"))
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = t_intervals(mean, sd, seeds, bounds=_bounds(frame))
    out["ci_low"] = out["ci_low"].where(~several, low)
    out["ci_high"] = out["ci_high"].where(~several, high)
    return out[columns]


def _bounds(frame: pd.DataFrame) -> Bounds:
    """The range of the measure whose rows these are; none for differences and unknown measures."""
    if "difference" in frame:
        return UNBOUNDED
    measure, estimator = (str(frame[name].iat[0]) for name in ("measure", "estimator"))
    return MEASURES[measure].bounds(estimator) if measure in MEASURES else UNBOUNDED


def spread_in_words(point: Point, digits: int = 3) -> list[str]:
    """The hover lines on uncertainty and chance of one point; none for what is not known."""
    lines = []
    if point.seeds > 1:
        lines.append(f"{point.seeds} seeds, {point.low:.{digits}f} to {point.high:.{digits}f}")
    if point.ci_low == point.ci_low:
        over = "mean over seeds" if point.seeds > 1 else "over samples"
        lines.append(
            f"95 % interval ({over}) {point.ci_low:.{digits}f} to {point.ci_high:.{digits}f}"
        )
    if point.null_mean == point.null_mean:
        z = f", z = {point.z:.1f}" if point.z == point.z else ""
        lines.append(f"chance (null mean) {point.null_mean:.{digits}f}{z}")
    if point.tested:
        if point.tested == 1:
            lines.append("above chance" if point.above else "not above chance")
        else:
            lines.append(f"above chance in {point.above} of {point.tested} runs")
    return lines
