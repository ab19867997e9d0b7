"""Alignment: how alike the two streams are, layer by layer, and which samples make them so."""

from functools import partial

import streamlit as st

from backend.figures import alignment_curves
from backend.figures.transitions import directed
from backend.pairing import paired
from backend.views import leads
from backend.views.cells import cross_blocks_of
from backend.views.choices import ALIGNING
from backend.views.tables import taken_away
from backend.words import listed, literal
from dashboard import cache
from dashboard.chart import panel
from dashboard.context import averaged, context, series_of
from dashboard.downloads import Part, downloads
from dashboard.matrix import show_matrix
from dashboard.pick import pick_measure, pick_streams
from dashboard.retrieval import show_retrieval
from dashboard.say import say_notes, say_pooling, say_together
from dashboard.shared_space import show_shared_space

view = context()
st.title("Alignment")
st.caption(leads.ALIGNMENT)
chosen = averaged(view)
pair = pick_streams(view, chosen)
groups = tuple(group for group in chosen if pair and paired(group.series.streams, pair))
if pair is None:
    st.info(leads.NO_PAIR, icon=":material/info:")
    st.stop()
picked = pick_measure(view, groups, pair, ALIGNING, pair)
scale, pooling = picked.scale, picked.pooling
names = listed(group.label for group in groups)
streams = listed(pair)

st.header("Matching layers")
direction = directed(scale, [group.series for group in groups], pair)
st.caption(literal(f"{streams}. {scale.meaning} {f'Here {direction}.' if direction else ''}"))
say_together(view, groups)
say_pooling(groups, pair, pooling)
figures = {}
with st.container(border=True):
    figures["matching layers"] = drawn = cache.figure(
        alignment_curves,
        picked.ask(view),
        series_of(groups),
        pair=pair,
        scale=scale,
        estimator=picked.estimator,
    )
    panel(
        drawn,
        key="matching",
        alt=f"{scale.label} of matching {streams} layers for {names}",
        what=streams,
    )
    say_notes(groups, *pair)
retrieval = Part()
show_retrieval(view, groups, pooling, pair, retrieval)
shared = Part()
show_shared_space(view, groups, pair, shared)

st.header("Every layer with every other")
matrix = Part()
# The samples are those that drive debiased CKA under the default conventions.
drivers = (scale.measure, picked.estimator, picked.preset) == ("cka", "debiased", "default")
show_matrix(view, picked, pair, cross_blocks_of, matrix, drivers=drivers)
downloads(
    view,
    f"{scale.measure}-alignment",
    partial(cache.value, taken_away, (picked.ask(view),), groups),
    figures,
    groups=groups,
    shown=picked.shown | {"pair": pair},
    parts=[retrieval, shared, matrix],
)
