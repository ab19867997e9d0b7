"""The page that is shown where there is nothing to show yet."""

from __future__ import annotations

import shlex

import streamlit as st

from backend.views.groups import Overview
from backend.views.store_access import StoreView
from backend.words import counted, literal

_HEADS = {
    "unnamed": "No store is open",
    "missing": "This store cannot be opened",
    "empty": "This store is empty",
    "broken": "No run of this store can be read",
}


def explain(store: StoreView, overview: Overview) -> None:
    """What a store is, what is wrong with this one, and the commands that make one."""
    st.title("Fusionscope")
    st.subheader(_HEADS[store.status])
    if store.message:
        st.text(store.message)
    list_broken(overview)
    with st.container(border=True):
        st.markdown(
            "A **store** is a directory of runs. A run is one model checkpoint on one set of "
            "samples: its layers' vectors, the measures and projections made from them, and its "
            "scores. Fusionscope reads stores; these commands make them."
        )
        where = shlex.quote(store.path) if store.path and not store.is_packed else "DIR"
        for what, command in (
            ("The demo: five placements, three seeds, no download", "fusionscope demo"),
            (
                "Your own data: train a placement",
                "fusionscope train --data LAYOUT:PATH --placement late --seeds 0,1,2 --out DIR",
            ),
            (
                "Capture its layers",
                f"fusionscope capture --model DIR/seed-0 --data LAYOUT:PATH --store {where}",
            ),
            (
                "Measure and project",
                f"fusionscope measure --store {where}\nfusionscope project --store {where}",
            ),
            ("Open it", f"fusionscope serve --store {where}"),
        ):
            st.markdown(what)
            st.code(command, language="bash", wrap_lines=True)


def list_broken(overview: Overview) -> None:
    """Runs that cannot be read, each with its reason."""
    if not overview.broken:
        return
    with st.expander(
        f"{counted(len(overview.broken), 'run')} cannot be read",
        icon=":material/warning:",
        expanded=True,
    ):
        for item in overview.broken:
            st.markdown(f"**{literal(item.run_id)}**")
            st.code(item.reason, language=None, wrap_lines=True)
