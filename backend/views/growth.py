"""The platonic question over many runs: does what two streams have in common grow with size?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from backend.figures.growth import growth_figure
from backend.figures.scales import Scale
from backend.figures.transitions import alignment_points, matched_streams
from backend.measures.chance.trend import LEAST, Trend, rank_trend
from backend.pairing import Pair
from backend.types import StreamSpec
from backend.views.groups import RunGroup

COLUMNS = ["series", "label", "size", "value", "low", "high", "null_mean", "n", "where"]


def block_parameters(spec: StreamSpec) -> float:
    """About how many parameters the blocks of a stream have: 12 d² each (Kaplan et al. 2020)."""
    return float(sum(12 * spec.width_of(ref) ** 2 for ref in spec.layers[1:]))


def growth_points(rows: pd.DataFrame, groups: Sequence[RunGroup], pair: Pair) -> pd.DataFrame:
    """A row a group: its size and the mean over matching layers of one measure of two streams.

    ``rows`` are of one measure, pooling and estimator. ``size`` are the parameters of both streams'
    blocks, ``null_mean`` what chance gives in the mean over the same layers, and ``low`` and
    ``high`` the range over seeds. The mean, unlike the best pair of layers, has the chance of a
    single pair: nothing was chosen.
    """
    measure = str(rows["measure"].iloc[0]) if len(rows) else ""
    points = []
    for group in groups:
        both = matched_streams(group.series, pair)
        if both is None:
            continue
        mine = rows[rows["series"].eq(group.key)]
        cells = alignment_points(mine, *both, measure, by=["seed"] if group.seeds else ["series"])
        if cells.empty or cells["mean"].isna().all():
            continue
        by_seed = cells.groupby("seed" if group.seeds else "series")["mean"].mean()
        points.append(
            {
                "series": group.key,
                "label": group.label,
                "size": sum(map(block_parameters, both)),
                "value": float(by_seed.mean()),
                "low": float(by_seed.min()),
                "high": float(by_seed.max()),
                "null_mean": float(cells["null_mean"].mean()),
                "n": int(cells["n"].min()),
                "where": f"{both[0].name} {both[0].depth} layers of {both[0].width}, "
                f"{both[1].name} {both[1].depth} layers of {both[1].width}",
            }
        )
    return pd.DataFrame(points, columns=COLUMNS)


def growth_drawing(
    rows: pd.DataFrame, groups: Sequence[RunGroup], pair: Pair, scale: Scale, estimator: str
) -> go.Figure:
    """The same as a figure."""
    points = growth_points(rows, groups, pair)
    series = [group.series for group in groups]
    return growth_figure(points, series, scale=scale, estimator=estimator)


def trend_of(points: pd.DataFrame) -> Trend:
    """Whether the value goes up with size, over the groups."""
    sizes, values = (points[name].to_numpy(dtype=np.float64) for name in ("size", "value"))
    return rank_trend(sizes, values)


def trend_in_words(points: pd.DataFrame) -> str:
    """The same for readers."""
    trend = trend_of(points)
    if trend.rho != trend.rho:
        return (
            f"Whether it grows with size is not said: that takes {LEAST} models or more of "
            f"different sizes, and there are {points['size'].nunique()} sizes of {len(points)} "
            "models."
        )
    verdict = "goes up with size" if trend.p_value < 0.05 else "cannot be told to go up with size"
    return (
        f"Over {trend.n} models it {verdict}: Spearman's ρ = {trend.rho:.2f}, p = "
        f"{trend.p_value:.3f} (share of the orders of these models with a ρ as high). Models that "
        "differ in size differ in more than that: data, objective, resolution."
    )
