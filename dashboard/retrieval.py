"""Retrieval by layer on a page: does a sample find itself in the other stream?"""

from __future__ import annotations

from functools import partial

import plotly.graph_objects as go
import streamlit as st

from backend.figures import alignment_curves
from backend.figures.pairing import Pair
from backend.figures.scales import scale_of
from backend.measures.suite.parts import gallery_names
from backend.views.groups import RunGroup
from backend.views.words import listed, literal
from dashboard import cache
from dashboard.page import Context, chart, identity, problems

MEASURES = ("recall_at_1", "recall_at_5", "recall_at_10")


def show_retrieval(
    view: Context, groups: tuple[RunGroup, ...], pooling: str, pair: Pair
) -> dict[str, go.Figure]:
    """Recall by matching layer in both directions; nothing where the runs hold none."""
    if not set(MEASURES) & set(cache.measure_names(view.store, groups).get("default", ())):
        return {}
    table = cache.measures(view.store, groups, MEASURES)
    problems(table)
    if table.frame.empty:
        return {}
    st.header("Retrieval")
    st.caption(
        "After an orthogonal map that was fitted on one half of the samples, how often is a "
        "held-out sample's own partner among the nearest? Means something only where each belongs "
        "to its own partner alone, as an image to its caption."
    )
    measure = st.segmented_control(
        "Partner among the nearest",
        MEASURES,
        default=MEASURES[1],
        format_func=lambda name: name.rpartition("_")[2],
        required=True,
        key="retrieval-k",
    )
    rows = table.frame[table.frame["pooling"].eq(pooling) & table.frame["measure"].eq(measure)]
    figures = {}
    names = listed(group.label for group in groups)
    asked = gallery_names(*pair)
    with st.grid(2, min_column_width=420):
        for query, target in (asked, asked[::-1]):
            direction, words = f"{query}_to_{target}", f"{query} to {target}"
            with st.container(border=True):
                st.markdown(f"**{literal(words)}**")
                draw = partial(
                    alignment_curves,
                    rows[rows["estimator"].eq(direction)],
                    [group.series for group in groups],
                    pair=pair,
                    scale=scale_of(str(measure)),
                    estimator=words,
                    height=300,
                )
                figures[f"retrieval {words}"] = figure = cache.figure(
                    view.store,
                    "retrieval",
                    (identity(groups), pooling, measure, direction, pair),
                    draw,
                )
                chart(
                    figure,
                    key=f"retrieval-{direction}",
                    alt=f"Retrieval, {words}, by matching layer for {names}",
                )
    return figures
