"""What changes from the layer before: how far the map moves, and whose neighbours change."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from backend.store.commands import project_command
from backend.types import LayerRef
from backend.views import neighbourhoods as views
from backend.views import questions
from backend.views.groups import RunInfo
from backend.words import literal
from dashboard import cache
from dashboard.context import Context
from dashboard.downloads import Part
from dashboard.rows import rows
from dashboard.say import offer, problems


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
    pooling, method = str(frame["pooling"].iloc[0]), str(frame["method"].iloc[0])
    again = cache.answer(questions.refits(view.store, run.run_id))
    problems(again)
    own = again.frame
    if len(own):
        own = own[own["pooling"].eq(pooling) & own["method"].eq(method)]
    if before and (moved := views.map_movement(frame, own, before, ref)):
        st.markdown(literal(views.movement_in_words(moved, before, ref)))
    found = say_changes(view, run, pooling, refs, ref)
    if found and before:
        _table(view, run, found, before, ref)
        part.rows["neighbours changed"] = found.frame


def say_changes(
    view: Context, run: RunInfo, pooling: str, refs: Sequence[LayerRef], ref: LayerRef
) -> views.Changes | None:
    """Whose neighbours change on the way to ``ref``, said and given; else why that is not known."""
    before = views.site_before(refs, ref)
    if before is None:
        st.caption(f"Layer {literal(ref.label)} is the first: there is no layer before it.")
        return None
    if not views.keeps_neighbours(view.store, run.run_id):
        command = project_command(view.store.origin, [run.run_id])
        lacking = "Whose neighbours changed is not stored for this run."
        offer(view.store, lacking, "This adds it", [command])
        return None
    asked = views.sides(view.store, run.run_id, pooling, before, ref)
    damaged = [table for one in filter(None, asked) if (table := cache.answer(one)).problems]
    if damaged:
        problems(damaged[0])
        return None
    found = cache.value(views.changes, *asked)
    words = views.changes_in_words(found, before, ref) if found else None
    st.caption(literal(words or views.no_changes_in_words(before, ref)))
    return found


def _table(
    view: Context, run: RunInfo, found: views.Changes, before: LayerRef, ref: LayerRef
) -> None:
    names = [str(name) for name in views.most_changed(found, views.MOST_LISTED)["sample_id"]]
    texts = {name: cache.sample(view.store, run.run_id, name).text for name in names}
    table = views.most_changed_table(found, texts, before, ref)
    rows(
        table,
        key="neighbours-changed",
        alt=f"The samples whose neighbours changed most from layer {before.label} to {ref.label}",
    )
    st.caption(
        "The samples whose neighbours changed most, the nearest first. A sample id, typed above, "
        "shows its picture."
    )
