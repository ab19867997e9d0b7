"""Dimensionality: how many dimensions each layer of each stream uses."""

import streamlit as st

from backend.figures import dimension_curves
from backend.figures.dimensionality import shared_top
from backend.views.dimensions import MEASURES, SHOWN_FIRST
from backend.views.tables import by_layer
from backend.views.words import listed, literal
from dashboard import cache, session
from dashboard.page import (
    averaged,
    context,
    downloads,
    for_people,
    identity,
    nothing_yet,
    panel,
    pick_pooling,
    problems,
    say_notes,
    say_pooling,
)

view = context()
st.title("Dimensionality")
st.caption(
    "How many directions the samples of a layer spread over. Where it falls, the layer compresses "
    "or one direction takes over."
)
groups = averaged(view)
measured = cache.measure_names(view.store, groups).get(view.state.preset, ())
preset = view.state.preset if set(measured) & set(MEASURES) else "default"
table = cache.measures(view.store, groups, tuple(MEASURES), preset)
problems(table)
if table.frame.empty or not table.frame["measure"].isin(list(MEASURES)).any():
    nothing_yet("measures of dimension", view, "measure")
rows = table.frame[table.frame["measure"].isin(list(MEASURES))]
pooling = pick_pooling(view, list(dict.fromkeys(rows["pooling"])), groups, view.stream_names)
rows = rows[rows["pooling"].eq(pooling)]
held = [name for name in MEASURES if rows["measure"].eq(name).any()]
chosen = [name for name in view.state.dims or SHOWN_FIRST if name in held] or held[:1]
if len(held) > 1:
    st.pills(
        "Show",
        held,
        selection_mode="multi",
        format_func=lambda name: MEASURES[name][0],
        **session.bind("dims", chosen, tuple),
    )
rows = rows[rows["measure"].isin(chosen)]
say_pooling(groups, view.stream_names, pooling)

figures = {}
names = listed(group.label for group in groups)
series = [group.series for group in groups]
for measure, (title, meaning, y_title) in MEASURES.items():
    if measure not in chosen:
        continue
    st.subheader(title)
    st.caption(meaning)
    top = shared_top(rows, view.stream_names, measure)
    with st.grid(2, min_column_width=420):
        for stream in view.stream_names:
            with st.container(border=True):
                st.markdown(f"**{literal(stream)}**")
                figures[f"{stream} {measure}"] = figure = cache.figure(
                    view.store,
                    "dimension",
                    (identity(groups), stream, measure, pooling, preset, top),
                    lambda stream=stream, measure=measure, top=top, y_title=y_title: (
                        dimension_curves(
                            rows, series, stream, measure, y_max=top, y_title=y_title, height=300
                        )
                    ),
                )
                panel(
                    figure,
                    key=f"{measure}-{stream}",
                    alt=f"{title} of the {stream} stream over its layers for {names}",
                    what=stream,
                )
                say_notes(groups, stream)
with st.expander("Means over seeds by layer", icon=":material/table:"):
    st.dataframe(by_layer(rows, groups), hide_index=True, width="stretch", alt="Means by layer")
downloads("dimensionality", for_people(rows, groups), figures)
