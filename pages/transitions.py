"""Transitions: CKA of consecutive layers, and of every layer with every other."""

import streamlit as st

from backend.figures import layer_heatmap, transition_curves
from backend.view import cache, session
from backend.view.cells import blocks_of, cell_at, cell_view, default_cell
from backend.view.details import pick_cell, show_cell
from backend.view.page import (
    averaged,
    chart,
    context,
    downloads,
    for_people,
    identity,
    nothing_yet,
    pick_focus,
    pick_pooling,
    problems,
    say_ignored,
)
from backend.view.state import ESTIMATORS
from backend.view.words import listed, literal

view = context()
st.title("Transitions")
st.caption(
    "How much each block changes its stream: linear CKA between the samples at layer k-1 and at "
    "layer k. 1 means the same geometry, chance is near 0. Transition k crosses a fusion where the "
    "streams exchange information on entry to block k."
)

groups = averaged(view)
table = cache.measures(view.store, groups)
problems(table)
if table.frame.empty or not table.frame["measure"].eq("cka").any():
    nothing_yet("CKA", view, "measure")
rows = table.frame[table.frame["measure"].eq("cka")]
pooling = pick_pooling(view, list(dict.fromkeys(rows["pooling"])))
with st.sidebar:
    st.segmented_control(
        "Estimator",
        ESTIMATORS,
        required=True,
        help="Biased CKA rises when there are few samples for many dimensions; the debiased one "
        "does not, and may fall slightly below 0.",
        **session.bind("estimator", view.state.estimator),
    )
rows = rows[rows["pooling"].eq(pooling) & rows["estimator"].eq(view.state.estimator)]
if rows.empty:
    nothing_yet(f"{view.state.estimator} CKA with {pooling} pooling", view, "measure")

st.toggle(
    "Split fusion transitions",
    help="At a fusion layer k, also show what the co-attention did (k-1 to k.fusion) and what the "
    "rest of the block did after it (k.fusion to k).",
    **session.bind("split", view.state.split),
)
figures = {}
shown_runs = identity(groups)
names = listed(group.label for group in groups)
with st.grid(2, min_column_width=420):
    for stream in view.stream_names:
        with st.container(border=True):
            st.markdown(f"**{literal(stream)}**, consecutive layers")
            figures[f"{stream} transitions"] = figure = cache.figure(
                view.store,
                "transitions",
                (shown_runs, stream, pooling, view.state.estimator, view.state.split),
                lambda stream=stream: transition_curves(
                    rows,
                    [group.series for group in groups],
                    stream,
                    split_fusion=view.state.split,
                    estimator=view.state.estimator,
                ),
            )
            chart(
                figure,
                key=f"curve-{stream}",
                alt=f"CKA of consecutive layers of the {stream} stream for {names}",
            )

st.header("Every layer with every other")
focus = view.focus(groups)
blocks = blocks_of(focus)
block = view.state.block if view.state.block in blocks else next(iter(blocks))
say_ignored(view, focus=focus.key, block=block)
with st.container(horizontal=True, vertical_alignment="bottom"):
    pick_focus(groups, focus)
    st.segmented_control(
        "Layers",
        list(blocks),
        format_func=lambda name: literal(blocks[name].title),
        required=True,
        **session.bind("block", block),
    )
    st.toggle("Numbers", **session.bind("numbers", view.state.numbers))

mine = rows[rows["series"].eq(focus.key)]
shown = blocks[block]
cell = view.state.cell or default_cell(mine, focus)


def clicked() -> None:
    """A click on a cell of the heatmap."""
    points = st.session_state["heatmap"]["selection"]["points"]
    if points:
        session.change(cell=cell_at(shown, points[0]["x"], points[0]["y"]))


grid = st.grid(5, min_column_width=170)
with grid.cell(column_span=3), st.container(border=True):
    figures[f"{focus.label} layer by layer"] = figure = cache.figure(
        view.store,
        "heatmap",
        (identity([focus]), pooling, view.state.estimator, block, cell, view.state.numbers),
        lambda: layer_heatmap(
            mine,
            shown.rows,
            shown.columns,
            model=focus.label,
            selected=cell,
            show_text=view.state.numbers,
        ),
    )
    chart(
        figure,
        key="heatmap",
        alt=f"CKA of {shown.title} layers of {focus.label}; click a cell for its values",
        on_click=clicked,
    )
with grid.cell(column_span=2), st.container(border=True):
    detail = cell_view(mine, cell) if cell else None
    if detail is None:
        st.markdown("**No such cell**")
        st.text("Nothing is stored for this pair of layers. Click another cell.")
    else:
        show_cell(detail, focus.label, chosen=view.state.cell is not None)
    pick_cell(shown, cell)
downloads("cka", for_people(rows), figures)
