"""Tokens: what the patches of an image are inside a language model, in words, layer by layer."""

import streamlit as st

from dashboard import tokens
from dashboard.context import Context, context
from dashboard.downloads import Part, downloads
from dashboard.trace import jobs, live

view = context()
st.title("Tokens")
st.caption(
    "What the tokens of an image are inside a language model: the words that are nearest to each, "
    "layer by layer. What you upload is not stored and not in the link."
)
offers = live.usable(jobs.catalogue(view.store).offers())
if not offers:
    st.stop()
jobs.prepare()


@st.fragment
def results(view: Context) -> None:
    """What came of it. It runs again by itself."""
    read = tokens.shown()
    if read is None:
        return
    part = Part()
    tokens.show_words(read, part)
    downloads(
        view.now(),
        "tokens",
        {},
        {},
        groups=[
            group
            for group in view.overview.groups
            if read.offer.run_id in {run.run_id for run in group.runs}
        ],
        shown={},
        parts=[part],
    )
    st.button("Forget my picture", on_click=tokens.forget, icon=":material/delete:")


tokens.show_form(view, offers)
jobs.wait()
results(view)
