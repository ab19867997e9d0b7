"""The Study page's card on what a fusion needs: its figure, or how to ask."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from backend.views.groups import RunInfo
from backend.views.interventions import (
    Interventions,
    condition_drawing,
    conditions_of,
    intervene_command,
)
from backend.views.store_access import StoreView
from dashboard import cache
from dashboard.cache import Drawn
from dashboard.chart import chart

TITLE = "CKA across a fusion, by partner"


def show_partners(
    store: StoreView, runs: Sequence[RunInfo], dataset: str, asked: Interventions, pooling: str
) -> dict[str, Drawn]:
    """CKA across fusions with each partner, trained and not; the command that asks where none was.

    Returns the figure.
    """
    shown = cache.value(conditions_of, tuple(runs), dataset, asked, pooling)
    if shown.empty:
        st.info(
            "These runs were not asked with other partners yet. This asks every run that keeps "
            "its checkpoint (`--models DIR` finds others):",
            icon=":material/build:",
        )
        own = [run for run in runs if run.manifest.placement is not None]
        st.code(intervene_command(store.path, own), language="bash", wrap_lines=True)
        return {}
    drawn = cache.figure(condition_drawing, tuple(runs), dataset, asked, pooling)
    st.caption(
        "A small mark is a run, a large one the mean over seeds with its 95 % interval. A fusion "
        "that needs a partner that varies stands apart from “one partner for all”; one that needs "
        "the right partner stands apart from “another sample's partner”."
    )
    chart(drawn, key="partners", alt=f"{TITLE}, with the mean over seeds")
    return {TITLE: drawn}
