"""CKA between the layers of one run and the layers of another, as a heatmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import plotly.graph_objects as go

from backend.figures.heatmap import layer_heatmap
from backend.figures.scales import SCALES, Scale
from backend.figures.theme import Series
from backend.types import LayerRef, StreamSpec

Cell = tuple[LayerRef, LayerRef]


def cross_heatmap(
    frame: pd.DataFrame,
    a: Series,
    b: Series,
    rows: Sequence[StreamSpec],
    columns: Sequence[StreamSpec],
    *,
    scale: Scale = SCALES["cka"],
    above_chance: bool = False,
    show_text: bool = False,
    height: int = 560,
) -> go.Figure:
    """A measure's mean over pairs of runs between layers of ``a`` (rows) and of ``b`` (columns).

    ``frame``: the rows of :meth:`backend.store.RunPair.measures` of one pooling and estimator, with
    the pair's ``seed``. Clickable cells and the rest as in
    :func:`backend.figures.layer_heatmap`.
    """
    return layer_heatmap(
        named_streams(frame, a, b),
        [named_stream(spec, a) for spec in rows],
        [named_stream(spec, b) for spec in columns],
        scale=scale,
        above_chance=above_chance,
        show_text=show_text,
        height=height,
    )


def named_streams(frame: pd.DataFrame, a: Series, b: Series) -> pd.DataFrame:
    """The rows with each stream named after its run: both runs have a stream "vision"."""
    return frame.assign(
        stream_a=a.label + " " + frame["stream_a"], stream_b=b.label + " " + frame["stream_b"]
    )


def named_stream(spec: StreamSpec, one: Series) -> StreamSpec:
    """A stream named after its run."""
    return replace(spec, name=f"{one.label} {spec.name}")


def named_cell(cell: Cell, a: Series, b: Series) -> Cell:
    """A pair of layers, each named after its run."""
    first, second = (
        replace(ref, stream=f"{one.label} {ref.stream}")
        for ref, one in zip(cell, (a, b), strict=True)
    )
    return first, second
