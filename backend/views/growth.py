"""The platonic question over many runs: does what two streams have in common grow with size?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from backend.figures.growth import growth_figure
from backend.figures.scales import Scale, scale_of
from backend.figures.transitions import alignment_points, matched_streams
from backend.measures.chance.trend import LEAST, Trend, rank_trend
from backend.pairing import Pair
from backend.types import StreamSpec
from backend.views.groups import RunGroup
from backend.words import counted

COLUMNS = [
    *("series", "label", "size", "value", "low", "high", "null_mean", "above_chance", "n", "where")
]


def block_parameters(spec: StreamSpec) -> float:
    """About how many parameters the blocks of a stream have: 12 d² each (Kaplan et al. 2020)."""
    return float(sum(12 * spec.width_of(ref) ** 2 for ref in spec.layers[1:]))


def pair_parameters(both: Sequence[StreamSpec]) -> float:
    """The same of two streams; blocks that write both, as those of one space do, count once."""
    sizes = [block_parameters(spec) for spec in both]
    spaces = {spec.space for spec in both}
    return max(sizes) if len(spaces) == 1 and "" not in spaces else sum(sizes)


def growth_points(rows: pd.DataFrame, groups: Sequence[RunGroup], pair: Pair) -> pd.DataFrame:
    """A row a group: its size and the mean over matching layers of one measure of two streams.

    ``rows`` are of one measure, pooling and estimator. ``size`` are the parameters of both streams'
    blocks, ``null_mean`` what chance gives in the mean over the same layers, and ``low`` and
    ``high`` the range over seeds. ``above_chance`` is by how much the streams are more alike than
    chance has them: of a distance, how far the value lies below. NaN where chance is not known. The
    mean, unlike the best pair of layers, has the chance of a single pair: nothing was chosen.
    """
    measure = str(rows["measure"].iloc[0]) if len(rows) else ""
    sign = 1.0 if scale_of(measure).alike_is_high else -1.0
    points = []
    for group in groups:
        both = matched_streams(group.series, pair)
        if both is None:
            continue
        mine = rows[rows["series"].eq(group.key)]
        cells = alignment_points(mine, *both, measure, by=["seed"] if group.seeds else ["series"])
        cells = cells[cells["mean"].notna()]
        if cells.empty:
            continue
        by_seed = cells.groupby("seed" if group.seeds else "series")["mean"].mean()
        value, chance = float(by_seed.mean()), float(cells["null_mean"].mean(skipna=False))
        points.append(
            {
                "series": group.key,
                "label": group.label,
                "size": pair_parameters(both),
                "value": value,
                "low": float(by_seed.min()),
                "high": float(by_seed.max()),
                "null_mean": chance,
                "above_chance": sign * (value - chance),
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
    """Whether likeness above chance goes up with size, over the groups of which chance is known.

    The value alone would not do: by chance many measures go up with the widths.
    """
    known = points[points["above_chance"].notna()]
    sizes, above = (known[name].to_numpy(dtype=np.float64) for name in ("size", "above_chance"))
    return rank_trend(sizes, above)


def trend_in_words(points: pd.DataFrame) -> str:
    """The same for readers."""
    trend, known = trend_of(points), points[points["above_chance"].notna()]
    without = len(points) - len(known)
    left_out = f" Left out: {counted(without, 'model')} whose chance is not known." * bool(without)
    if trend.rho != trend.rho:
        return (
            f"Whether likeness above chance grows with size is not said: that takes {LEAST} models "
            f"or more of different sizes, and there are {known['size'].nunique()} sizes of "
            f"{len(known)} models.{left_out}"
        )
    verdict = "goes up with size" if trend.p_value < 0.05 else "cannot be told to go up with size"
    return (
        f"Over {trend.n} models likeness above chance {verdict}: Spearman's ρ = {trend.rho:.2f}, "
        f"p = {trend.p_value:.3f} (share of the orders of these models with a ρ as high). Models "
        f"that differ in size differ in more than that: data, objective, resolution.{left_out}"
    )
