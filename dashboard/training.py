"""The Training page's questions: what was measured while training, what to play, what is held."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from backend.figures.training import ALIGNMENT, TRANSITIONS
from backend.measures.registry import one_layer
from backend.store.commands import measured_commands
from backend.store.kinds import TRAINING_MEASURES
from backend.views import questions
from backend.views.groups import RunGroup
from backend.views.questions import Table
from backend.views.training import held_quantities
from backend.words import listed, literal
from dashboard import session
from dashboard.context import Context
from dashboard.pick import pick_estimator
from dashboard.say import say_commands

WORDS: dict[str, tuple[str, str]] = {
    TRANSITIONS: (
        "Transitions",
        "CKA of each layer with the one before it: the lower, the more the block between them "
        "changes its stream.",
    ),
    ALIGNMENT: (
        "Matching layers",
        "CKA of matching layers of two streams: how alike they are.",
    ),
    **{name: (one.label, one.meaning) for name, one in one_layer().items()},
}


def nothing_measured(view: Context, groups: Sequence[RunGroup], table: Table) -> None:
    """Say how a model is measured while it is trained, with the first run's own commands."""
    runs = [run for group in groups if group.placed for run in group.runs]
    if not runs:
        names = literal(listed(group.label for group in groups))
        st.info(
            f"{names}: released, not trained here. This page shows how the layers move while a "
            "model is trained, which takes models of fusionscope train.",
            icon=":material/info:",
        )
        st.stop()
    run = next((run for run in runs if run.manifest.origin.train), runs[0])
    lines = measured_commands(run.manifest, view.store.origin)
    say_commands("training measures", view.store, lines, table)
    if table.problems:
        st.stop()
    st.caption(
        f"These make {literal(run.run_id)} anew, and alike for the others; in a sweep, "
        '`measure_every = "epoch"` under `[train]`. A model is measured while it is trained, and '
        "not afterwards: the weights of its epochs are not kept. Measuring does not change what "
        "is trained."
    )
    st.stop()


def say_lacking(view: Context, groups: Sequence[RunGroup]) -> None:
    """Name the runs that were not measured while they were trained, if any."""
    trained = [run.run_id for group in groups if group.placed for run in group.runs]
    lacking = [
        run_id for run_id in trained if not questions.keys_of(view.store, TRAINING_MEASURES, run_id)
    ]
    if lacking:
        named = listed([*lacking[:8], *([f"{len(lacking) - 8} more"] if len(lacking) > 8 else [])])
        st.caption(
            f"Without training measures: {literal(named)}. "
            "`fusionscope train --measure-every epoch` makes them."
        )


def pick_quantity(view: Context, frame: pd.DataFrame) -> str:
    """What is played: the state's choice where the rows hold it, else the first that they hold."""
    held = held_quantities(frame)
    quantity = view.state.played if view.state.played in held else held[0]
    st.segmented_control(
        "Measure",
        held,
        format_func=lambda name: WORDS[name][0],
        required=True,
        **session.bind("played", quantity),
    )
    return quantity


def pick_stream(view: Context, groups: Sequence[RunGroup]) -> str:
    """The stream whose layers are shown: the state's where a run has it, else the first one."""
    names = list(dict.fromkeys(spec.name for group in groups for spec in group.series.streams))
    stream = view.state.stream if view.state.stream in names else names[0]
    if len(names) > 1:
        st.segmented_control(
            "Stream", names, format_func=literal, required=True, **session.bind("stream", stream)
        )
    return stream


def pick_variant(view: Context, rows: pd.DataFrame, quantity: str) -> str:
    """The estimator of CKA; "" for a measure of one layer."""
    if quantity in one_layer():
        return ""
    return pick_estimator(view, sorted(rows["estimator"].unique(), reverse=True))
