"""The Study page's card on what a fusion needs: its figure, or how to ask."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from backend.views.groups import RunInfo
from backend.views.interventions import (
    condition_drawing,
    conditions_of,
    intervene_command,
)
from backend.views.kept import Kept
from backend.views.store_access import StoreView
from dashboard import cache
from dashboard.cache import Drawn
from dashboard.chart import chart
from dashboard.say import show_commands

TITLE = "CKA across a fusion, by partner"


def show_partners(
    store: StoreView, runs: Sequence[RunInfo], dataset: str, asked: Kept, pooling: str
) -> dict[str, Drawn]:
    """CKA across fusions with each partner, trained and not; the command that asks where none was.

    Returns the figure.
    """
    shown = cache.value(conditions_of, tuple(runs), dataset, asked, pooling)
    if shown.empty:
        if not cache.answer(asked).problems:
            asks = "This asks every run that keeps its checkpoint (`--models DIR` finds others)"
            st.info(
                f"These runs were not asked with other partners yet. {store.adding(asks)}",
                icon=":material/build:",
            )
            own = [run for run in runs if run.manifest.placement is not None]
            show_commands([intervene_command(store.origin, own)])
        return {}
    drawn = cache.figure(condition_drawing, tuple(runs), dataset, asked, pooling)
    st.caption(
        "A small mark is a run, a large one the mean over seeds with its 95 % interval. A fusion "
        "that needs a partner that varies stands apart from “one partner for all”; one that needs "
        "the right partner stands apart from “another sample's partner”."
    )
    chart(drawn, key="partners", alt=f"{TITLE}, with the mean over seeds")
    return {TITLE: drawn}
