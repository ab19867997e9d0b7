"""Training: a measure's curve over the layers, played over the epochs, and all epochs at once."""

from functools import partial

import streamlit as st

from backend.figures import training_curves, training_heatmap
from backend.figures.dimensionality import shared_span
from backend.figures.training import ALIGNMENT
from backend.views import leads, questions
from backend.views.choices import poolings_in
from backend.views.exports import for_people
from backend.views.training import quantity_figure, quantity_rows, remarks
from backend.words import listed, literal
from dashboard import cache
from dashboard.chart import chart
from dashboard.context import Context, averaged, context, series_of
from dashboard.downloads import Part, downloads
from dashboard.pick import pick_focus, pick_pooling, pick_streams
from dashboard.say import problems, say_ignored, say_notes
from dashboard.training import (
    WORDS,
    nothing_measured,
    pick_quantity,
    pick_stream,
    pick_variant,
    say_lacking,
)

view = context()
st.title("Training")
st.caption(f"{leads.TRAINING} Press Play, or drag the slider.")
chosen = averaged(view)
table = cache.training(view.store, chosen)
problems(table)
if table.frame.empty:
    nothing_measured(view, chosen, table)
say_lacking(view, chosen)
pooling = pick_pooling(view, poolings_in(table.frame))
frame = table.frame[table.frame["pooling"].eq(pooling)]
groups = tuple(group for group in chosen if frame["series"].eq(group.key).any())

quantity = pick_quantity(view, frame)
pair = pick_streams(view, groups) if quantity == ALIGNMENT else None
title, meaning = WORDS[quantity]
st.caption(literal(meaning))
estimator = pick_variant(view, quantity_rows(frame, quantity, pooling), quantity)
rows = quantity_rows(frame, quantity, pooling, estimator)
how = {
    "pooling": pooling,
    "pair": pair,
    "estimator": estimator,
    "span": shared_span(rows, view.stream_names, quantity),
}


@st.fragment
def show(view: Context, part: Part) -> None:
    """The stream that is shown, its curves to play, and the whole training of one model."""
    view = view.now()
    part.begin()
    stream = "" if quantity == ALIGNMENT else pick_stream(view, groups)
    focus = view.focus(groups)
    part.shown.update(stream=stream or None, focus=focus.key)
    of = f" of the {stream} stream" if stream else ""
    with st.container(border=True):
        part.figures[f"{title}{of}, played"] = drawn = cache.figure(
            quantity_figure,
            training_curves,
            questions.training(view.store, groups),
            series_of(groups),
            quantity,
            stream,
            **how,
        )
        names = listed(group.label for group in groups)
        chart(
            drawn,
            key="played",
            alt=f"{title}{of} by layer at the last step of the training for {names}; Play shows "
            "all steps, and the heatmap below holds the same values",
        )
        said = cache.value(
            remarks, questions.training(view.store, groups), groups, quantity, pooling, estimator
        )
        st.caption(literal(said))
        say_notes(groups, *(pair or (stream,)))

    st.header("The whole training at once")
    pick_focus(groups, focus)
    with st.container(border=True):
        part.figures[f"{title}{of}, {focus.label}"] = drawn = cache.figure(
            quantity_figure,
            training_heatmap,
            questions.training(view.store, (focus,)),
            focus.series,
            quantity,
            stream,
            **how,
        )
        chart(
            drawn,
            key="whole",
            alt=f"{title}{of} of {focus.label}: layers on the rows, steps of the training on the "
            "columns",
        )


part = Part()
show(view, part)
say_ignored(view, **{name: value for name, value in part.shown.items() if value})
downloads(
    view,
    f"training-{quantity}",
    partial(for_people, rows, groups),
    {},
    groups=groups,
    shown={
        "played": quantity,
        "pooling": pooling,
        "pair": pair,
        **({"estimator": estimator} if estimator else {}),
    },
    parts=[part],
)
