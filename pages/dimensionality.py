"""Dimensionality: how many dimensions each layer of each stream uses."""

from functools import partial

import streamlit as st

from backend.figures import dimension_curves
from backend.figures.dimensionality import shared_span
from backend.measures.registry import one_layer
from backend.views import leads, questions
from backend.views.choices import poolings_in
from backend.views.exports import for_people
from backend.views.tables import by_layer
from backend.words import listed, literal
from dashboard import cache, session
from dashboard.chart import panel
from dashboard.context import Context, averaged, context, series_of
from dashboard.downloads import Part, downloads
from dashboard.pick import pick_pooling
from dashboard.say import nothing_yet, problems, say_notes, say_pooling

view = context()
st.title("Dimensionality")
st.caption(leads.DIMENSIONALITY)
groups = averaged(view)
measures = one_layer()
measured = cache.measure_names(view.store, groups).get(view.state.preset, ())
preset = view.state.preset if set(measured) & set(measures) else "default"
table = cache.measures(view.store, groups, tuple(measures), preset)
problems(table)
if table.frame.empty or not table.frame["measure"].isin(list(measures)).any():
    nothing_yet("measures of dimension", view, "measure", table)
rows = table.frame[table.frame["measure"].isin(list(measures))]
pooling = pick_pooling(view, poolings_in(rows), groups, view.stream_names)
rows = rows[rows["pooling"].eq(pooling)]
held = [name for name in measures if rows["measure"].eq(name).any()]
say_pooling(groups, view.stream_names, pooling)


@st.fragment
def show(view: Context, part: Part) -> None:
    """The choice of measures, and a panel for each of them and each stream."""
    view = view.now()
    part.begin()
    chosen = [name for name in view.state.dims or held[:2] if name in held] or held[:1]
    part.shown["dims"] = tuple(chosen)
    if len(held) > 1:
        st.pills(
            "Show",
            held,
            selection_mode="multi",
            format_func=lambda name: measures[name].label,
            **session.bind("dims", chosen, tuple),
        )
    mine = rows[rows["measure"].isin(chosen)]
    part.rows["dimensionality"] = partial(for_people, mine, groups)
    names = listed(group.label for group in groups)
    for measure in (name for name in measures if name in chosen):
        one = measures[measure]
        st.subheader(one.label)
        st.caption(one.meaning)
        span = shared_span(mine, view.stream_names, measure)
        with st.grid(2, min_column_width=420):
            for stream in view.stream_names:
                with st.container(border=True):
                    st.markdown(f"**{literal(stream)}**")
                    part.figures[f"{stream} {measure}"] = drawn = cache.figure(
                        dimension_curves,
                        questions.measures(view.store, groups, (measure,), preset, pooling=pooling),
                        series_of(groups),
                        stream,
                        measure,
                        span=span,
                        height=300,
                    )
                    panel(
                        drawn,
                        key=f"{measure}-{stream}",
                        alt=f"{one.label} of the {stream} stream over its layers for {names}",
                        what=stream,
                    )
                    say_notes(groups, stream)
    with st.expander("Means over seeds by layer", icon=":material/table:"):
        means = by_layer(mine, groups)
        st.dataframe(means, hide_index=True, width="stretch", alt="Means by layer")


part = Part()
show(view, part)
downloads(
    view,
    "dimensionality",
    {},
    {},
    groups=groups,
    shown={"pooling": pooling, "preset": preset},
    parts=[part],
)
