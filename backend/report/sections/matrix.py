"""The layer by layer matrix and the small table of means, which several sections show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from backend.figures import layer_heatmap
from backend.figures.heatmap import cell_mark
from backend.figures.marks import marked
from backend.report.asked import Asked, Picked, figure, reading
from backend.report.document import Item, Table, Words
from backend.views.cells import Block
from backend.views.groups import RunGroup, noun


def matrix(
    asked: Asked, picked: Picked, blocks: Mapping[str, Block], focus: RunGroup
) -> tuple[tuple[Item, ...], dict[str, Any]]:
    """Every layer with every other of one group, and the settings shown; nothing without rows."""
    name = asked.state.block if asked.state.block in blocks else next(iter(blocks), "")
    mine = picked.rows[picked.rows["series"].eq(focus.key)]
    if not name or mine.empty:
        return (), {}
    block = blocks[name]
    streams = [spec.name for spec in (*block.rows, *block.columns)]
    if not (mine["stream_a"].isin(streams) & mine["stream_b"].isin(streams)).any():
        return (Words(f"Nothing of {block.title} is stored for {picked.pooling} vectors."),), {}
    above = asked.state.above and bool(mine["p_corrected"].notna().any())
    drawn = layer_heatmap(
        mine,
        block.rows,
        block.columns,
        scale=picked.scale,
        model=focus.label,
        above_chance=above,
        show_text=asked.state.numbers,
    )
    drawn = marked(drawn, cell_mark(block.rows, block.columns, asked.state.cell))
    caption = f"Mean over the runs of {focus.label}, {picked.words}; {reading(mine, [])}"
    directed = picked.scale.directed("the row's layer", "the column's")
    if directed:
        caption = f"{caption} {directed.capitalize()}."
    if above:
        caption += " A dot: not above chance in every run (5 %, corrected for all layers)."
    alt = f"{picked.scale.label} of {block.title} layers of {focus.label}"
    shown = {"focus": focus.key} | ({"block": name} if len(blocks) > 1 else {})
    return (figure(f"{focus.label}, layer by layer", drawn, alt, caption),), shown


def means_table(title: str, points: pd.DataFrame, groups: Sequence[RunGroup]) -> Table:
    """``points`` of curves (``series``, ``x``, ``mean``) as a row a group, a column a position."""
    wide = points.pivot_table(index="series", columns="x", values="mean", dropna=False)
    wide = wide.reindex([group.key for group in groups if group.key in wide.index])
    wide.columns = [str(int(x)) for x in wide.columns]
    labels = {group.key: group.label for group in groups}
    wide.insert(0, noun(groups), [labels[key] for key in wide.index])
    return Table(title, wide.reset_index(drop=True))
