"""Retrieval by layer on a page: does a sample find itself in the other stream?"""

from __future__ import annotations

import streamlit as st

from backend.figures import alignment_curves
from backend.figures.scales import scale_of
from backend.measures.registry import MEASURES
from backend.measures.suite.parts import gallery_names
from backend.pairing import Pair
from backend.views import questions
from backend.views.groups import RunGroup
from backend.words import listed, literal
from dashboard import cache
from dashboard.chart import chart
from dashboard.context import Context, series_of
from dashboard.downloads import Part
from dashboard.say import problems

RECALLS = tuple(one.name for one in MEASURES.values() if one.part == "retrieval")


@st.fragment
def show_retrieval(
    view: Context, groups: tuple[RunGroup, ...], pooling: str, pair: Pair, part: Part
) -> None:
    """Recall by matching layer in both directions; nothing where the runs hold none."""
    part.begin()
    held = cache.measure_names(view.store, groups).get("default", ())
    names = tuple(name for name in RECALLS if name in held)
    if not names:
        return
    table = cache.measures(view.store, groups, names)
    problems(table)
    if table.frame.empty:
        return
    st.header("Retrieval")
    st.caption(
        "After an orthogonal map that was fitted on one half of the samples, how often is a "
        "held-out sample's own partner among the nearest? Means something only where each belongs "
        "to its own partner alone, as an image to its caption."
    )
    measure = st.segmented_control(
        "Partner among the nearest",
        names,
        default=names[len(names) // 2],
        format_func=lambda name: name.rpartition("_")[2],
        required=True,
        key="retrieval-k",
    )
    labels = listed(group.label for group in groups)
    asked = gallery_names(*pair)
    with st.grid(2, min_column_width=420):
        for query, target in (asked, asked[::-1]):
            direction, words = f"{query}_to_{target}", f"{query} to {target}"
            with st.container(border=True):
                st.markdown(f"**{literal(words)}**")
                part.figures[f"retrieval {words}"] = drawn = cache.figure(
                    alignment_curves,
                    questions.measures(
                        view.store, groups, (str(measure),), pooling=pooling, estimator=direction
                    ),
                    series_of(groups),
                    pair=pair,
                    scale=scale_of(str(measure)),
                    estimator=words,
                    height=300,
                )
                chart(
                    drawn,
                    key=f"retrieval-{direction}",
                    alt=f"Retrieval, {words}, by matching layer for {labels}",
                )
