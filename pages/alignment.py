"""Alignment: how alike the two streams are, layer by layer, and which samples make them so."""

import streamlit as st

from backend.figures import alignment_curves
from backend.view import cache
from backend.view.cells import cross_blocks_of
from backend.view.matrix import show_matrix
from backend.view.page import (
    averaged,
    chart,
    context,
    downloads,
    for_people,
    identity,
    pick_measure,
)
from backend.view.retrieval import show_retrieval
from backend.view.words import listed, literal

view = context()
st.title("Alignment")
st.caption(
    "How alike the two modalities have become: the same samples in a layer of one stream and in a "
    "layer of the other."
)
groups = tuple(group for group in averaged(view) if len(group.series.streams) > 1)
if not groups:
    st.info("The chosen runs have one stream; alignment compares two.", icon=":material/info:")
    st.stop()
rows, scale, estimator = pick_measure(view, groups)
names = listed(group.label for group in groups)
pooling = str(rows["pooling"].iloc[0])

st.header("Matching layers")
st.caption(literal(scale.meaning))
figures = {}
with st.container(border=True):
    figures["matching layers"] = figure = cache.figure(
        view.store,
        "alignment",
        (identity(groups), pooling, estimator, scale.measure, view.state.preset),
        lambda: alignment_curves(
            rows, [group.series for group in groups], scale=scale, estimator=estimator
        ),
    )
    chart(figure, key="matching", alt=f"{scale.label} of matching layers for {names}")
figures |= show_retrieval(view, groups, pooling)

st.header("Every layer with every other")
focus = view.focus(groups)
# The samples are those that drive debiased CKA under the default conventions.
drivers = (scale.measure, estimator, view.state.preset) == ("cka", "debiased", "default")
figures |= show_matrix(view, groups, rows, scale, cross_blocks_of(focus), focus, drivers=drivers)
downloads(f"{scale.measure}-alignment", for_people(rows), figures)
