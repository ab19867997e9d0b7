"""Transitions: a measure of consecutive layers, and of every layer with every other."""

from functools import partial

import streamlit as st

from backend.figures import transition_curves
from backend.views import leads
from backend.views.cells import blocks_of
from backend.views.tables import taken_away
from backend.words import listed, literal
from dashboard import cache, session
from dashboard.chart import panel
from dashboard.context import averaged, context, series_of
from dashboard.downloads import Part, downloads
from dashboard.matrix import show_matrix
from dashboard.pick import pick_measure, pick_streams
from dashboard.say import say_notes, say_pooling

view = context()
st.title("Transitions")
st.caption(leads.TRANSITIONS)
groups = averaged(view)
pair = pick_streams(view, groups)
picked = pick_measure(view, groups, view.stream_names)
scale = picked.scale
direction = scale.directed("layer k-1", "layer k")
st.caption(literal(f"{scale.meaning} {f'Here {direction}.' if direction else ''}"))
st.toggle(
    "Split fusion transitions",
    help="At a fusion layer k, also show what taking the other stream in did (k-1 to k.fusion) and "
    "what the rest of the block did (k.fusion to k).",
    **session.bind("split", view.state.split),
)
figures = {}
names = listed(group.label for group in groups)
say_pooling(groups, view.stream_names, picked.pooling)
with st.grid(2, min_column_width=420):
    for stream in view.stream_names:
        with st.container(border=True):
            st.markdown(f"**{literal(stream)}**, consecutive layers")
            figures[f"{stream} transitions"] = drawn = cache.figure(
                transition_curves,
                picked.ask(view),
                series_of(groups),
                stream,
                scale=scale,
                split_fusion=view.state.split,
                estimator=picked.estimator,
            )
            panel(
                drawn,
                key=f"curve-{stream}",
                alt=f"{scale.label} of consecutive layers of the {stream} stream for {names}",
                what=stream,
            )
            say_notes(groups, stream)

st.header("Every layer with every other")
matrix = Part()
show_matrix(view, picked, pair, blocks_of, matrix)
downloads(
    view,
    f"{scale.measure}-transitions",
    partial(cache.value, taken_away, (picked.ask(view),), groups),
    figures,
    groups=groups,
    shown=picked.shown,
    parts=[matrix],
)
