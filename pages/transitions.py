"""Transitions: a measure of consecutive layers, and of every layer with every other."""

import streamlit as st

from backend.figures import transition_curves
from backend.views.cells import blocks_of
from backend.views.words import listed, literal
from dashboard import cache, session
from dashboard.matrix import show_matrix
from dashboard.page import (
    averaged,
    context,
    downloads,
    for_people,
    identity,
    panel,
    pick_measure,
    pick_streams,
    say_notes,
    say_pooling,
)

view = context()
st.title("Transitions")
st.caption(
    "How much each block changes its stream: the samples at layer k-1 against the same samples at "
    "layer k. Transition k crosses a fusion where block k, or what comes before it, takes another "
    "stream in."
)
groups = averaged(view)
pair = pick_streams(view, groups)
rows, scale, estimator = pick_measure(view, groups, view.stream_names)
st.caption(literal(scale.meaning))
st.toggle(
    "Split fusion transitions",
    help="At a fusion layer k, also show what taking the other stream in did (k-1 to k.fusion) and "
    "what the rest of the block did (k.fusion to k).",
    **session.bind("split", view.state.split),
)
figures = {}
shown_runs = identity(groups)
names = listed(group.label for group in groups)
pooling = str(rows["pooling"].iloc[0])
say_pooling(groups, view.stream_names, pooling)
with st.grid(2, min_column_width=420):
    for stream in view.stream_names:
        with st.container(border=True):
            st.markdown(f"**{literal(stream)}**, consecutive layers")
            figures[f"{stream} transitions"] = figure = cache.figure(
                view.store,
                "transitions",
                (
                    *(shown_runs, stream, pooling, estimator, scale.measure),
                    *(view.state.preset, view.state.split),
                ),
                lambda stream=stream: transition_curves(
                    rows,
                    [group.series for group in groups],
                    stream,
                    scale=scale,
                    split_fusion=view.state.split,
                    estimator=estimator,
                ),
            )
            panel(
                figure,
                key=f"curve-{stream}",
                alt=f"{scale.label} of consecutive layers of the {stream} stream for {names}",
                what=stream,
            )
            say_notes(groups, stream)

st.header("Every layer with every other")
focus = view.focus(groups)
figures |= show_matrix(view, groups, rows, scale, blocks_of(focus, pair), focus)
downloads(f"{scale.measure}-transitions", for_people(rows, groups), figures)
