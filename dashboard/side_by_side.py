"""Columns of the Compare page: one a run or placement, the same scale in each of a row's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.figures import (
    alignment_panels,
    dimension_panels,
    placement_drawing,
    transition_panels,
)
from backend.figures.dimensionality import shared_top
from backend.figures.pairing import Pair
from backend.figures.placement import describe
from backend.figures.scales import Scale
from backend.figures.theme import FUSION_MARK
from backend.views.dimensions import MEASURES
from backend.views.groups import RunGroup, noun, nouns
from backend.views.scores import score_rows, score_table
from backend.views.words import counted, listed, literal
from dashboard import cache, session
from dashboard.page import (
    Context,
    chart,
    holds_points,
    identity,
    problems,
    say_missing,
    say_notes,
)

MIN_COLUMN_PX = 220
"""Four columns fit a window of 1,440 pixels beside the sidebar."""

Figures = dict[str, go.Figure]


def show_heads(view: Context, groups: Sequence[RunGroup]) -> pd.DataFrame:
    """Where each column's streams meet, and the rows of the table of scores, which it returns."""
    with st.grid(len(groups), min_column_width=MIN_COLUMN_PX):
        for group in groups:
            with st.container(border=True):
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.subheader(literal(group.label), anchor=False)
                    if group.seeds:
                        st.badge(group.seeds_in_words, color="gray")
                drawn = cache.figure(
                    view.store,
                    "placement",
                    group.series.streams,
                    partial(placement_drawing, group.series.streams),
                )
                chart(
                    drawn,
                    key=f"placement-{group.key}",
                    alt=f"{noun([group]).capitalize()} {group.label}: "
                    f"{describe(group.series.streams)}",
                )
                say_notes([group], *(spec.name for spec in group.series.streams))
                data = group.manifest.dataset
                st.caption(
                    f"{literal(group.manifest.model.name)} · {literal(data.name)} "
                    f"({literal(data.split)}), n = {data.n:,}"
                )
    scores = score_rows(groups)
    if scores.empty and any(group.placed for group in groups):
        st.caption("No scores were stored for these runs.")
    elif len(scores):
        st.dataframe(
            score_table(scores, groups),
            hide_index=True,
            width="stretch",
            alt=f"Scores of the compared {nouns(groups)}, mean ± sd over seeds",
        )
    return scores


def show_transitions(
    view: Context,
    groups: Sequence[RunGroup],
    rows: pd.DataFrame,
    scale: Scale,
    estimator: str,
    streams: Sequence[str],
) -> Figures:
    """A row a stream, a column a run, one y axis a row."""
    figures: Figures = {}
    for stream in streams:
        st.markdown(f"**{literal(stream)}**")
        figures |= _row(
            view,
            groups,
            f"transitions-{stream}",
            kind_of(view, rows),
            stream,
            f"{scale.label} of consecutive {stream} layers",
            partial(
                transition_panels,
                *(rows, [group.series for group in groups], stream),
                scale=scale,
                estimator=estimator,
            ),
        )
    return figures


def show_alignment(
    view: Context,
    groups: Sequence[RunGroup],
    rows: pd.DataFrame,
    scale: Scale,
    estimator: str,
    pair: Pair | None,
) -> Figures:
    """Matching layers of the two compared streams, a column a run; nothing without a pair."""
    if pair is None:
        return {}
    st.header("Alignment")
    st.caption(f"Matching layers of {literal(listed(pair))} in each run.")
    return _row(
        view,
        groups,
        "alignment",
        (*kind_of(view, rows), *pair),
        listed(pair),
        f"{scale.label} of matching layers of {listed(pair)}",
        partial(
            alignment_panels,
            *(rows, [group.series for group in groups]),
            pair=pair,
            scale=scale,
            estimator=estimator,
        ),
    )


def dimension_rows(
    view: Context, groups: tuple[RunGroup, ...], pooling: str
) -> tuple[pd.DataFrame, str]:
    """The rows of the chosen one-layer measure, and its name; says what is missing."""
    measured = cache.measure_names(view.store, groups).get(view.state.preset, ())
    preset = view.state.preset if set(measured) & set(MEASURES) else "default"
    table = cache.measures(view.store, groups, tuple(MEASURES), preset)
    problems(table)
    frame = table.frame
    rows = frame[frame["pooling"].eq(pooling)] if len(frame) else frame
    held = [name for name in MEASURES if len(rows) and rows["measure"].eq(name).any()]
    if not held:
        say_missing("measures of dimension", view, "measure")
        return pd.DataFrame(), ""
    measure = next((name for name in view.state.dims if name in held), held[0])
    if len(held) > 1:
        st.segmented_control(
            "Show",
            held,
            format_func=lambda name: MEASURES[name][0],
            required=True,
            **session.bind("dims", measure, lambda name: (name,)),
        )
    st.caption(MEASURES[measure][1])
    return rows[rows["measure"].eq(measure)], measure


def show_dimensions(
    view: Context,
    groups: Sequence[RunGroup],
    rows: pd.DataFrame,
    measure: str,
    streams: Sequence[str],
) -> Figures:
    """A row a stream, a column a run, one y axis for all of them."""
    title, _, words = MEASURES[measure]
    top = shared_top(rows, streams, measure)
    figures: Figures = {}
    for stream in streams:
        st.markdown(f"**{literal(stream)}**")
        figures |= _row(
            view,
            groups,
            f"dimension-{stream}",
            (*kind_of(view, rows), str(top)),
            stream,
            f"{title} of the {stream} layers",
            partial(
                dimension_panels,
                *(rows, [group.series for group in groups], stream, measure),
                y_max=top,
                name=words,
            ),
        )
    return figures


def legend_in_words(groups: Sequence[RunGroup]) -> str:
    """What line, band and shading of the small figures are."""
    seeds = max(len(group.runs) for group in groups)
    band = f"line: mean of {counted(seeds, 'seed')}, band: min to max; " if seeds > 1 else ""
    return f"{band}shaded and larger marks ({FUSION_MARK}): fusion layers; one y axis a row."


def kind_of(view: Context, rows: pd.DataFrame) -> tuple[str, ...]:
    """What rows of one measure, pooling and estimator are, for the key of a figure."""
    first = [str(rows[name].iloc[0]) for name in ("measure", "pooling", "estimator")]
    return (*first, view.state.preset)


def _row(
    view: Context,
    groups: Sequence[RunGroup],
    name: str,
    kind: tuple[str, ...],
    streams: str,
    what: str,
    draw: Callable[[], Figures],
) -> Figures:
    """One figure a column; a run without the streams, or vectors of them, gets a sentence."""
    panels = cache.figure(view.store, f"compare-{name}", (identity(groups), kind), draw)
    with st.grid(len(groups), min_column_width=MIN_COLUMN_PX):
        for group in groups:
            with st.container(border=True):
                if group.key in panels and holds_points(panels[group.key]):
                    chart(
                        panels[group.key],
                        key=f"{name}-{group.key}",
                        alt=f"{what} of {group.label}",
                    )
                else:
                    st.caption(f"{literal(group.label)}: nothing of {literal(streams)} here.")
    return {f"{name} {group.label}": panels[group.key] for group in groups if group.key in panels}
