"""Means and bands over seeds, and the orientation of pairs of layers."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

BAND = "band min to max"


class Point(NamedTuple):
    """One position of a curve; see :func:`over_seeds`."""

    x: int
    mean: float
    low: float
    high: float
    seeds: int
    null_mean: float
    n: int
    reason: str


def points_of(rows: pd.DataFrame) -> list[Point]:
    """Rows of :func:`over_seeds` with a column ``x`` as plain values."""
    columns = [rows[name].tolist() for name in Point._fields]
    return [Point(*values) for values in zip(*columns, strict=True)]


def position(layer: pd.Series, site: pd.Series) -> pd.Series:
    """Where a layer lies on the layer axis: 4 is 4.0, 4.fusion is 3.5."""
    return layer.astype("float64") - site.eq("fusion") * 0.5


def pairs(frame: pd.DataFrame, stream_a: str, stream_b: str) -> pd.DataFrame:
    """CKA rows between two streams with ``stream_a`` first, plus ``pos_a`` and ``pos_b``.

    The store keeps each unordered pair once. Within one stream the earlier layer comes first.
    """
    rows = frame[frame["measure"].eq("cka")]
    forward = rows["stream_a"].eq(stream_a) & rows["stream_b"].eq(stream_b)
    backward = rows["stream_a"].eq(stream_b) & rows["stream_b"].eq(stream_a)
    out = rows[forward | backward].copy()
    out["pos_a"] = position(out["layer_a"], out["site_a"])
    out["pos_b"] = position(out["layer_b"], out["site_b"])
    within = stream_a == stream_b
    swap = out["pos_a"] > out["pos_b"] if within else out["stream_a"].ne(stream_a)
    for left, right in (("layer", "layer"), ("site", "site"), ("stream", "stream"), ("pos", "pos")):
        a, b = f"{left}_a", f"{right}_b"
        first, second = out[a].copy(), out[b].copy()
        out[a] = first.where(~swap, second)
        out[b] = second.where(~swap, first)
    return out


def over_seeds(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One row for every value of ``by``: mean, low, high and sd over runs, how many, and why not.

    Undefined values do not count; where every run is undefined the mean is NaN and ``reason`` says
    why. ``null_mean`` and ``null_sd`` are averaged, ``n`` is the smallest.
    """
    columns = [*by, "mean", "low", "high", "sd", "seeds", "null_mean", "null_sd", "n", "reason"]
    if frame.empty:
        return pd.DataFrame(columns=columns)
    grouped = frame.groupby(by, sort=True, observed=True)
    out = grouped.agg(
        mean=("value", "mean"),
        low=("value", "min"),
        high=("value", "max"),
        sd=("value", "std"),
        seeds=("value", "count"),
        null_mean=("null_mean", "mean"),
        null_sd=("null_sd", "mean"),
        n=("n", "min"),
        reason=("reason", "max"),
    ).reset_index()
    return out[columns]
