"""Compare: two to four runs side by side, and one minus the other."""

from functools import partial

import pandas as pd
import streamlit as st

from backend.views.choices import PAIRWISE, poolings_in
from backend.views.compare import columns_of, depths_differ, stream_names
from backend.views.groups import noun
from backend.views.tables import taken_away
from backend.words import listed, literal
from dashboard import cache
from dashboard.across_models import show_growth
from dashboard.context import averaged, context
from dashboard.contrast import Measured, show_contrast
from dashboard.downloads import Part, downloads
from dashboard.maps import maps_of, of_pooling, show_maps
from dashboard.pick import Picked, pick_measure, pick_pooling, pick_streams
from dashboard.say import problems, say_ignored, say_missing, say_pooling
from dashboard.side_by_side import (
    legend_in_words,
    pick_dimension,
    show_alignment,
    show_dimensions,
    show_heads,
    show_transitions,
)

view = context()
st.title("Compare")
columns = columns_of(averaged(view))
groups = columns.groups
averaging = " (its seeds averaged)" if any(group.placed for group in groups) else ""
st.caption(
    f"One column a {noun(groups)}{averaging}, the same scales in each. The sidebar chooses them; "
    "run ids after `runs=` in the address choose single runs."
)
pair = pick_streams(view, groups)
streams = stream_names(groups, pair)
if columns.left_out:
    st.caption(
        "Four stand side by side at most; left out: "
        + listed(f"**{literal(group.label)}**" for group in columns.left_out)
    )
if len(groups) < 2:
    st.info(
        f"Choose a second {noun(view.overview.groups)} in the sidebar to compare with.",
        icon=":material/compare:",
    )
show_heads(groups)
if differing := depths_differ(groups, pair):
    st.caption(
        f"The runs have different numbers of {literal(listed(differing))} layers: each curve keeps "
        "its own layer axis, and the maps show layers at the same relative depth."
    )

figures = {}
same, curves, matrices = Part(), Part(), Part()
growth, moved = Part(), Part()
picked: Picked | None = None
dims, dimension = pd.DataFrame(), None
pooling = ""
held = {name for names in cache.measure_names(view.store, groups).values() for name in names}
if held & set(PAIRWISE):
    picked = pick_measure(view, groups, streams)
    pooling = picked.pooling
    say_pooling(groups, streams, pooling)
    st.header("Transitions")
    st.caption(f"{literal(picked.scale.meaning)} {legend_in_words(groups)}")
    figures |= show_transitions(view, picked, streams)
    figures |= show_alignment(view, picked, pair)
    if pair is not None:
        show_growth(view, picked, pair, growth)
    st.header("Dimensionality")
    dims, dimension = pick_dimension(view, groups, pooling)
    if dimension:
        figures |= show_dimensions(groups, dims, dimension, streams)
else:
    table = cache.measures(view.store, groups, PAIRWISE)
    problems(table)
    say_missing("measures", view, "measure", table)

st.header("The same samples")
st.caption(
    "A click on a point marks its sample in every map. Compare which samples lie together, not "
    "where: each map is a fit of its own. All maps have the same axes at every layer."
)
maps = maps_of(view, groups)
if maps:
    if not pooling:
        pooling = pick_pooling(view, poolings_in(maps[0].frame), groups, streams)
    maps = of_pooling(maps, pooling)
if maps:
    show_maps(view, maps, pair, same)

if len(groups) > 1:
    st.header("One minus the other")
    measured = Measured(picked, dimension, pair) if picked else None
    show_contrast(view, groups, pair, pooling or "cls", measured, curves, matrices, moved)
parts = [growth, same, curves, matrices, moved]
say_ignored(view, **{name: value for part in parts for name, value in part.shown.items()})
if picked:
    downloads(
        view,
        "compare",
        partial(
            cache.value, taken_away, (picked.ask(view), *([dimension] if dimension else [])), groups
        ),
        figures,
        groups=groups,
        shown=picked.shown | {"pair": pair},
        parts=parts,
    )
