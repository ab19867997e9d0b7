"""The layer x layer matrix as the page needs it: its blocks, a clicked cell, the cell in detail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from backend.figures.heatmap import axis_refs, pair_in_words
from backend.figures.scales import Scale
from backend.figures.seeds import in_order, over_seeds, pairs, points_of
from backend.pairing import Pair, paired
from backend.remarks import merged, sentences
from backend.types import LayerRef, StreamSpec
from backend.views.groups import RunGroup
from backend.words import literal

ALL = "all"


@dataclass(frozen=True)
class Block:
    """A part of the matrix: which streams stand on the rows and on the columns."""

    title: str
    rows: tuple[StreamSpec, ...]
    columns: tuple[StreamSpec, ...]


def blocks_of(group: RunGroup, pair: Pair | None = None) -> dict[str, Block]:
    """The whole matrix of the compared streams, the two with each other, every stream with itself.

    ``pair`` names the two; a model that lacks one of them has only the last kind.
    """
    streams = group.series.streams
    both = paired(streams, pair)
    out = {}
    if both is not None:
        a, b = both
        title = "all" if len(streams) == 2 else f"{a.name} and {b.name}"
        out = {ALL: Block(title, both, both)} | cross_blocks_of(group, pair)
    for spec in streams:
        out[f"{spec.name}~{spec.name}"] = Block(f"{spec.name} × {spec.name}", (spec,), (spec,))
    return out


def cross_blocks_of(group: RunGroup, pair: Pair | None = None) -> dict[str, Block]:
    """Only the block of the two compared streams; none for a model that lacks one of them."""
    both = paired(group.series.streams, pair)
    if both is None:
        return {}
    a, b = both
    return {f"{a.name}~{b.name}": Block(f"{a.name} × {b.name}", (a,), (b,))}


def cell_at(block: Block, x: object, y: object) -> tuple[LayerRef, LayerRef] | None:
    """The pair of layers at an axis position (row, column); None where there is no cell."""
    rows, columns = axis_refs(block.rows), axis_refs(block.columns)
    try:
        at_x, at_y = round(float(x)), round(float(y))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if 0 <= at_x < len(columns) and 0 <= at_y < len(rows):
        return rows[at_y], columns[at_x]
    return None


def default_cell(
    frame: pd.DataFrame, block: Block, scale: Scale
) -> tuple[LayerRef, LayerRef] | None:
    """Where the block's first and last stream are most alike; None where nothing is defined."""
    first, second = block.rows[0], block.columns[-1]
    cells = pairs(frame, first.name, second.name, scale.measure)
    cells = cells[cells["site_a"].eq("block") & cells["site_b"].eq("block")]
    if first == second:
        cells = cells[cells["layer_a"].ne(cells["layer_b"])]
    means = over_seeds(cells, ["layer_a", "layer_b"])
    if not means["mean"].notna().any():
        return None
    best = np.nanargmax if scale.alike_is_high else np.nanargmin
    at = int(best(means["mean"].to_numpy(dtype=np.float64)))
    row, column = int(means["layer_a"].iloc[at]), int(means["layer_b"].iloc[at])
    return LayerRef(first.name, row), LayerRef(second.name, column)


@dataclass(frozen=True)
class CellView:
    """One pair of layers: its values by seed and their summary (NaN where undefined)."""

    title: str
    values: pd.DataFrame
    mean: float
    low: float
    high: float
    sd: float
    ci_low: float
    ci_high: float
    null_mean: float
    z: float
    tested: int
    above: int
    seeds: int
    n: int
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


def cell_view(
    frame: pd.DataFrame, cell: tuple[LayerRef, LayerRef], scale: Scale
) -> CellView | None:
    """A pair of layers in detail; None where nothing is stored for it.

    ``frame`` holds the measure's rows of one group, pooling and estimator. z is the mean distance
    from the null in the null's standard deviations; the interval is that of
    :func:`backend.figures.seeds.over_seeds`.
    """
    a, b = cell
    if a.stream == b.stream and scale.symmetric:
        a, b = in_order(a, b)
    rows = pairs(frame, a.stream, b.stream, scale.measure)
    here = rows[
        rows["layer_a"].eq(a.layer)
        & rows["site_a"].eq(a.site)
        & rows["layer_b"].eq(b.layer)
        & rows["site_b"].eq(b.site)
    ].sort_values("seed")
    if here.empty:
        return None
    z = (here["value"] - here["null_mean"]) / here["null_sd"].where(here["null_sd"] > 0)
    values = pd.DataFrame(
        {
            "seed": here["seed"].to_numpy(),
            scale.label: here["value"].to_numpy(),
            "low": here["ci_low"].to_numpy(),
            "high": here["ci_high"].to_numpy(),
            "chance": here["null_mean"].to_numpy(),
            "z": z.to_numpy(),
            "p": here["p_corrected"].to_numpy(),
            "n": here["n"].to_numpy(),
        }
    )
    value = here["value"]
    summary = points_of(over_seeds(here.assign(x=0), ["x"]))[0]
    defined = values.columns[values.notna().any()]
    return CellView(
        pair_in_words(*cell),
        values[defined],
        mean=float(value.mean()),
        low=float(value.min()),
        high=float(value.max()),
        sd=float(value.std()),
        ci_low=summary.ci_low,
        ci_high=summary.ci_high,
        null_mean=float(here["null_mean"].mean()),
        z=float(z.mean()),
        tested=summary.tested,
        above=summary.above,
        seeds=int(summary.seeds),
        n=int(here["n"].min()),
        reasons=sentences(merged(*here["reason"])),
        warnings=sentences(merged(*here["warnings"])),
    )


def values_in_words(values: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The values of :class:`CellView` as they are read; ``measure`` names their column."""
    forms: dict[str, Callable[[Any], str]] = {
        measure: "{:.4f}".format,
        "low": "{:.3f}".format,
        "high": "{:.3f}".format,
        "chance": "{:.4f}".format,
        "z": "{:.1f}".format,
        "p": p_in_words,
        "seed": "{:.0f}".format,
        "n": "{:,.0f}".format,
    }
    return pd.DataFrame(
        {
            literal(name): ["" if pd.isna(one) else forms[name](one) for one in values[name]]
            for name in map(str, values.columns)
        }
    )


def p_in_words(p: float) -> str:
    """A p-value for people: its far tail is an extrapolation and is not spelled out."""
    return "<\u00a00.0001" if p < 1e-4 else f"{p:.4f}"
