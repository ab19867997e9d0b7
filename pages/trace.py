"""Trace: one image-text pair on its way through the layers of a model."""

import streamlit as st

from dashboard.context import Context, context
from dashboard.downloads import Part, downloads
from dashboard.trace import jobs, live
from dashboard.trace.form import show_form
from dashboard.trace.results import show_results
from dashboard.trace.take_away import whole

view = context()
st.title("Trace")
st.caption(
    "Drop in an image with its text and watch the pair move through the layers, among the pairs "
    "of the store. What you upload is not stored and not in the link."
)
offers = live.usable(jobs.catalogue(view.store).offers())
if not offers:
    st.stop()
jobs.prepare()


@st.fragment
def results(view: Context) -> None:
    """What came of it. It runs again by itself."""
    traced = live.shown()
    if traced is None:
        return
    view = view.now()
    part = Part()
    sides = show_results(view, traced, part)
    runs = {side.traced.offer.run_id for side in sides}
    downloads(
        view,
        "trace",
        {},
        {},
        groups=[
            group for group in view.overview.groups if runs & {run.run_id for run in group.runs}
        ],
        shown={},
        parts=[part],
        wholes=whole(sides),
    )
    st.button("Forget my pictures", on_click=live.forget, icon=":material/delete:")


show_form(view, offers)
jobs.wait()
results(view)
