"""The dashboard: ``fusionscope serve --store DIR``, or ``streamlit run app.py -- --store DIR``."""

from pathlib import Path

import streamlit as st

from backend.views.groups import counted_groups
from backend.views.words import counted, literal
from dashboard.brand import LOGO
from dashboard.empty import explain
from dashboard.navigation import pages
from dashboard.page import configure, pick_runs, prepare, provide

configure()
st.logo(LOGO, size="large")

page = st.navigation(pages(Path(__file__).resolve().parent / "pages"))

view = prepare(page.url_path)
if view.store.status != "fine":
    explain(view.store, view.overview)
    st.stop()

with st.sidebar:
    st.caption("Store")
    st.code(view.store.name, language=None, wrap_lines=True)
    st.caption(
        f"{counted(len(view.overview.runs), 'run')} of {counted_groups(view.overview.groups)}",
        help=literal(view.store.path),
    )
    pick_runs(view)

if view.note:
    st.caption(f":material/link_off: {literal(view.note)}")

provide(view)
page.run()
