"""The Compare page's rows: a panel a run or placement, the same scale in each of a row's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from backend.figures import (
    alignment_panels,
    dimension_panels,
    placement_drawing,
    transition_panels,
)
from backend.figures.dimensionality import shared_span
from backend.figures.placement import describe
from backend.figures.small_multiples import LEAST_PANEL_PX
from backend.figures.theme import FUSION_MARK
from backend.figures.transitions import directed
from backend.measures.registry import MEASURES, one_layer
from backend.pairing import Pair
from backend.views import questions
from backend.views.compare import holding
from backend.views.groups import RunGroup, noun, nouns
from backend.views.questions import Measures
from backend.views.scores import scores_for_people
from backend.words import counted, listed, literal
from dashboard import cache, session
from dashboard.cache import Drawn
from dashboard.chart import chart
from dashboard.context import Context, series_of
from dashboard.pick import Picked
from dashboard.say import problems, say_missing, say_notes

MIN_COLUMN_PX = 220
"""Four columns fit a window of 1,440 pixels beside the sidebar."""

Figures = dict[str, Drawn]


def show_heads(groups: Sequence[RunGroup]) -> None:
    """Where each column's streams meet, and the table of scores."""
    with st.grid(len(groups), min_column_width=MIN_COLUMN_PX):
        for group in groups:
            with st.container(border=True):
                with st.container(horizontal=True, vertical_alignment="center"):
                    st.subheader(literal(group.label), anchor=False)
                    if group.seeds:
                        st.badge(group.seeds_in_words, color="gray")
                chart(
                    cache.figure(placement_drawing, group.series.streams),
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
    scores = cache.value(scores_for_people, tuple(groups))
    if scores.empty and any(group.placed for group in groups):
        st.caption("No scores were stored for these runs.")
    elif len(scores):
        st.table(
            scores.astype("string").fillna("").map(literal).rename(columns=literal),
            border="horizontal",
            alt=f"Scores of the compared {nouns(groups)}, mean ± sd over seeds",
        )


def show_transitions(view: Context, picked: Picked, streams: Sequence[str]) -> Figures:
    """A row a stream, a panel a run, one y axis a row."""
    figures: Figures = {}
    for stream in streams:
        st.markdown(f"**{literal(stream)}**")
        figures |= _row(
            picked.groups,
            picked.rows,
            (stream, stream),
            f"transitions-{stream}",
            f"{picked.scale.label} of consecutive {stream} layers",
            transition_panels,
            picked.ask(view),
            stream,
            scale=picked.scale,
            estimator=picked.estimator,
        )
    return figures


def show_alignment(view: Context, picked: Picked, pair: Pair | None) -> Figures:
    """Matching layers of the two compared streams, a panel a run; nothing without a pair."""
    if pair is None:
        return {}
    st.header("Alignment")
    direction = directed(picked.scale, [group.series for group in picked.groups], pair)
    here = f"Matching layers of {listed(pair)} in each run{f': {direction}' if direction else ''}."
    st.caption(literal(here))
    return _row(
        picked.groups,
        picked.rows,
        pair,
        "alignment",
        f"{picked.scale.label} of matching layers of {listed(pair)}",
        alignment_panels,
        picked.ask(view),
        pair=pair,
        scale=picked.scale,
        estimator=picked.estimator,
    )


def pick_dimension(
    view: Context, groups: tuple[RunGroup, ...], pooling: str
) -> tuple[pd.DataFrame, Measures | None]:
    """The rows of the chosen one-layer measure, and their question; says what is missing."""
    measured = cache.measure_names(view.store, groups).get(view.state.preset, ())
    preset = view.state.preset if set(measured) & set(one_layer()) else "default"
    table = cache.measures(view.store, groups, tuple(one_layer()), preset)
    problems(table)
    frame = table.frame
    rows = frame[frame["pooling"].eq(pooling)] if len(frame) else frame
    held = [name for name in one_layer() if len(rows) and rows["measure"].eq(name).any()]
    if not held:
        say_missing("measures of dimension", view, "measure", table)
        return pd.DataFrame(), None
    measure = next((name for name in view.state.dims if name in held), held[0])
    if len(held) > 1:
        st.segmented_control(
            "Show",
            held,
            format_func=lambda name: MEASURES[name].label,
            required=True,
            **session.bind("dims", measure, lambda name: (name,)),
        )
    st.caption(MEASURES[measure].meaning)
    ask = questions.measures(view.store, groups, (measure,), preset, pooling=pooling)
    return rows[rows["measure"].eq(measure)], ask


def show_dimensions(
    groups: Sequence[RunGroup], rows: pd.DataFrame, ask: Measures, streams: Sequence[str]
) -> Figures:
    """A row a stream, a panel a run, one y axis for all of them."""
    (measure,) = ask.names
    span = shared_span(rows, streams, measure)
    figures: Figures = {}
    for stream in streams:
        st.markdown(f"**{literal(stream)}**")
        figures |= _row(
            groups,
            rows,
            (stream, ""),
            f"dimension-{stream}",
            f"{MEASURES[measure].label} of the {stream} layers",
            dimension_panels,
            ask,
            stream,
            measure,
            span=span,
        )
    return figures


def legend_in_words(groups: Sequence[RunGroup]) -> str:
    """What line, band and shading of the panels are."""
    seeds = max(len(group.runs) for group in groups)
    line = f"the line is the mean of {counted(seeds, 'seed')}, the band min to max, and "
    return (
        f"In every panel {line if seeds > 1 else ''}fusion layers are shaded, with larger marks "
        f"({FUSION_MARK}). One y axis a row."
    )


def _row(
    groups: Sequence[RunGroup],
    rows: pd.DataFrame,
    streams: Pair,
    name: str,
    what: str,
    build: Callable[..., go.Figure],
    ask: Measures,
    *arguments: Any,
    **named: Any,
) -> Figures:
    """One figure with a panel a run; a run without the streams, or vectors of them, is named."""
    shown = holding(rows, groups, streams)
    lacking = [group.label for group in groups if group not in shown]
    figures: Figures = {}
    if shown:
        with st.container(border=True):
            drawn = cache.figure(build, ask, series_of(shown), *arguments, **named)
            names = listed(group.label for group in shown)
            least = LEAST_PANEL_PX * len(shown)
            chart(drawn, key=name, alt=f"{what} of {names}", least_px=least)
            figures[name] = drawn
    if lacking:
        of = listed(dict.fromkeys(filter(None, streams)))
        st.caption(f"{literal(listed(lacking))}: nothing of {literal(of)} here.")
    return figures
