"""What changes from the layer before: how far the map moves, and whose neighbours change."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from backend.store.commands import project_command
from backend.store.kinds import NEIGHBOURS
from backend.types import LayerRef
from backend.views import neighbourhoods as views
from backend.views import questions
from backend.views.groups import RunInfo
from backend.views.layers import Colouring
from backend.views.questions import Neighbours
from backend.words import literal
from dashboard import cache
from dashboard.context import Context
from dashboard.downloads import Part
from dashboard.rows import rows
from dashboard.say import problems

LISTED = 8
"""Samples that the table holds."""

CHANGED = Colouring(views.NEIGHBOUR_COLOUR, "neighbours changed", ())
"""The choice of colour that shows whose neighbours changed."""


def keeps_neighbours(view: Context, run: RunInfo) -> bool:
    """Whether the run's neighbours are stored."""
    return bool(questions.keys_of(view.store, NEIGHBOURS, run.run_id))


def sides(
    view: Context, run: RunInfo, pooling: str, before: LayerRef | None, ref: LayerRef
) -> tuple[Neighbours | None, Neighbours]:
    """The questions for the neighbours before and after; None for before a first site."""
    return (
        None if before is None else questions.neighbours(view.store, run.run_id, pooling, before),
        questions.neighbours(view.store, run.run_id, pooling, ref),
    )


def show_changes(
    view: Context,
    run: RunInfo,
    frame: pd.DataFrame,
    refs: Sequence[LayerRef],
    ref: LayerRef,
    part: Part,
) -> None:
    """The movement on the map beside that of a second fit, and the samples that changed most.

    ``frame`` holds the coordinates of one pooling and method.
    """
    st.header("What changed from the layer before")
    before = views.site_before(refs, ref)
    if before is None:
        st.caption(f"Layer {literal(ref.label)} is the first: there is no layer before it.")
        return
    pooling, method = str(frame["pooling"].iloc[0]), str(frame["method"].iloc[0])
    again = cache.answer(questions.refits(view.store, run.run_id))
    problems(again)
    own = again.frame
    if len(own):
        own = own[own["pooling"].eq(pooling) & own["method"].eq(method)]
    if moved := views.map_movement(frame, own, before, ref):
        st.markdown(literal(views.movement_in_words(moved, before, ref)))
    if not keeps_neighbours(view, run):
        st.caption("Whose neighbours changed is not stored for this run. This adds it:")
        st.code(project_command(view.store.path, [run.run_id]), language="bash", wrap_lines=True)
        return
    asked = sides(view, run, pooling, before, ref)
    for question in asked:
        if question:
            problems(cache.answer(question))
    found = cache.value(views.changes, *asked)
    if found is None:
        st.caption(
            f"Layers {literal(before.label)} and {literal(ref.label)} cannot be compared: in one "
            "of them all samples have the same vector, or its neighbours are not stored."
        )
        return
    st.markdown(literal(views.changes_in_words(found, before, ref)))
    _table(view, run, found, before, ref)
    part.rows["neighbours changed"] = found.frame


def _table(
    view: Context, run: RunInfo, found: views.Changes, before: LayerRef, ref: LayerRef
) -> None:
    most = views.most_changed(found, LISTED)
    texts = [cache.sample(view.store, run.run_id, str(name)).text for name in most["sample_id"]]
    table = pd.DataFrame(
        {
            "sample": most["sample_id"],
            "text": [text if len(text) <= 80 else f"{text[:79]}…" for text in texts],
            "changed": [f"{round(found.k * share)} of {found.k}" for share in most["changed"]],
            f"nearest in layer {before.label}": most["before"],
            f"nearest in layer {ref.label}": most["after"],
        }
    )
    rows(
        table,
        key="neighbours-changed",
        alt=f"The samples whose neighbours changed most from layer {before.label} to {ref.label}",
    )
    st.caption(
        "The samples whose neighbours changed most, the nearest first. A sample id, typed above, "
        "shows its picture."
    )
