"""Small tables for people."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from backend.views.exports import for_people
from backend.views.groups import RunGroup, noun


def by_layer(frame: pd.DataFrame, groups: Sequence[RunGroup]) -> pd.DataFrame:
    """Means over seeds of one-layer measures: a row a group, stream and measure."""
    rows = frame[frame["site_a"].eq("block")]
    wide = rows.pivot_table(
        index=["series", "stream_a", "measure"], columns="layer_a", values="value", aggfunc="mean"
    ).round(2)
    wide.columns = [str(column) for column in wide.columns]
    wide = wide.reset_index()
    labels = {group.key: group.label for group in groups}
    order = {group.key: at for at, group in enumerate(groups)}
    wide = wide.sort_values(
        ["measure", "stream_a", "series"],
        key=lambda column: column.map(order) if column.name == "series" else column,
    )
    wide.insert(0, noun(groups), wide.pop("series").map(labels))
    return wide.rename(columns={"stream_a": "stream"})


def taken_away(frames: tuple[pd.DataFrame, ...], groups: tuple[RunGroup, ...]) -> pd.DataFrame:
    """Measure rows of several questions as one table for people."""
    return for_people(pd.concat(frames), groups)
