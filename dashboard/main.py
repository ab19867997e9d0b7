"""What runs for every visitor: the frame around the pages, and then the page."""

from __future__ import annotations

import streamlit as st

from backend.paths import root
from backend.views.groups import counted_groups
from backend.words import counted, literal
from dashboard.brand import LOGO
from dashboard.context import configure, prepare, provide
from dashboard.empty import explain
from dashboard.navigation import pages
from dashboard.pick import pick_runs


def main() -> None:
    """The menu, the store and its runs in the sidebar, and the page that the address names."""
    configure()
    st.logo(LOGO, size="large")
    page = st.navigation(pages(root() / "pages"))
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
