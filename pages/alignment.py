"""Alignment: how alike the two streams are, layer by layer, and which samples make them so."""

import streamlit as st

from backend.figures import alignment_curves
from backend.figures.pairing import paired
from backend.views.cells import cross_blocks_of
from backend.views.words import listed, literal
from dashboard import cache
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
from dashboard.retrieval import show_retrieval

view = context()
st.title("Alignment")
st.caption(
    "How alike two streams have become: the same samples in a layer of one and in a layer of the "
    "other."
)
chosen = averaged(view)
pair = pick_streams(view, chosen)
groups = tuple(group for group in chosen if pair and paired(group.series.streams, pair))
if pair is None:
    st.info(
        "The chosen runs have one stream; alignment compares two: it takes a model that keeps two "
        "apart, such as vision and text.",
        icon=":material/info:",
    )
    st.stop()
rows, scale, estimator = pick_measure(view, groups, pair)
names = listed(group.label for group in groups)
pooling = str(rows["pooling"].iloc[0])
streams = listed(pair)

st.header("Matching layers")
st.caption(literal(f"{streams}. {scale.meaning}"))
say_pooling(groups, pair, pooling)
figures = {}
with st.container(border=True):
    figures["matching layers"] = figure = cache.figure(
        view.store,
        "alignment",
        (identity(groups), pair, pooling, estimator, scale.measure, view.state.preset),
        lambda: alignment_curves(
            rows, [group.series for group in groups], pair=pair, scale=scale, estimator=estimator
        ),
    )
    panel(
        figure,
        key="matching",
        alt=f"{scale.label} of matching {streams} layers for {names}",
        what=streams,
    )
    say_notes(groups, *pair)
figures |= show_retrieval(view, groups, pooling, pair)

st.header("Every layer with every other")
focus = view.focus(groups)
# The samples are those that drive debiased CKA under the default conventions.
drivers = (scale.measure, estimator, view.state.preset) == ("cka", "debiased", "default")
blocks = cross_blocks_of(focus, pair)
figures |= show_matrix(view, groups, rows, scale, blocks, focus, drivers=drivers)
downloads(f"{scale.measure}-alignment", for_people(rows, groups), figures)
