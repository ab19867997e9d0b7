"""Training: a measure's curve over the layers, played over the epochs, and all epochs at once."""

import streamlit as st

from backend.figures import training_curves, training_heatmap
from backend.figures.dimensionality import shared_top
from backend.figures.training import ALIGNMENT
from backend.views.words import listed, literal
from dashboard import cache
from dashboard.page import (
    averaged,
    chart,
    context,
    downloads,
    for_people,
    identity,
    pick_focus,
    pick_pooling,
    pick_streams,
    problems,
    say_ignored,
    say_notes,
)
from dashboard.training import (
    WORDS,
    nothing_measured,
    pick_quantity,
    pick_stream,
    remarks,
    rows_of,
    say_lacking,
)

view = context()
st.title("Training")
st.caption(
    "How the layers change while a model is trained: measured before training and then after "
    "every epoch, or every few steps. Press Play, or drag the slider."
)
chosen = averaged(view)
table = cache.training(view.store, chosen)
problems(table)
if table.frame.empty:
    nothing_measured(view, chosen)
say_lacking(chosen, table.frame)
pooling = pick_pooling(view, list(dict.fromkeys(table.frame["pooling"])))
frame = table.frame[table.frame["pooling"].eq(pooling)]
groups = tuple(group for group in chosen if frame["series"].eq(group.key).any())

with st.container(horizontal=True, vertical_alignment="bottom"):
    quantity = pick_quantity(view, frame)
    stream = "" if quantity == ALIGNMENT else pick_stream(view, groups)
pair = pick_streams(view, groups) if quantity == ALIGNMENT else None
if stream:
    say_ignored(view, stream=stream)
title, meaning = WORDS[quantity]
st.caption(literal(meaning))
rows, estimator = rows_of(view, frame, quantity)
top = shared_top(rows, view.stream_names, quantity)
what = (quantity, stream, pair, pooling, estimator, top)
of = f" of the {stream} stream" if stream else ""

figures = {}
with st.container(border=True):
    figures[f"{title}{of}, played"] = figure = cache.figure(
        view.store,
        "training",
        (identity(groups), what),
        lambda: training_curves(
            rows,
            [group.series for group in groups],
            quantity,
            stream,
            pair=pair,
            estimator=estimator,
            y_max=top,
        ),
    )
    names = listed(group.label for group in groups)
    chart(
        figure,
        key="played",
        alt=f"{title}{of} by layer at the last step of the training for {names}; Play shows all "
        "steps, and the heatmap below holds the same values",
    )
    st.caption(literal(" ".join(remarks(groups, rows))))
    say_notes(groups, *(pair or (stream,)))

st.header("The whole training at once")
focus = view.focus(groups)
say_ignored(view, focus=focus.key)
pick_focus(groups, focus)
with st.container(border=True):
    figures[f"{title}{of}, {focus.label}"] = figure = cache.figure(
        view.store,
        "training-heatmap",
        (identity([focus]), what),
        lambda: training_heatmap(
            rows, focus.series, quantity, stream, pair=pair, estimator=estimator, y_max=top
        ),
    )
    chart(
        figure,
        key="whole",
        alt=f"{title}{of} of {focus.label}: layers on the rows, steps of the training on the "
        "columns",
    )
downloads(f"training-{quantity}", for_people(rows, groups), figures)
