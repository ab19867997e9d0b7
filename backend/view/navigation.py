"""The dashboard's pages."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage


def pages(folder: Path) -> list[StreamlitPage]:
    """The pages in ``folder`` in the order of the menu; the first one is the landing page."""
    return [
        st.Page(
            folder / "runs.py",
            title="Runs",
            icon=":material/view_agenda:",
            default=True,
            help="Every placement with its drawing, scores over seeds, and what is missing.",
        ),
        st.Page(
            folder / "transitions.py",
            title="Transitions",
            icon=":material/timeline:",
            help="What each block changes: consecutive layers, and every layer with every other.",
        ),
        st.Page(
            folder / "alignment.py",
            title="Alignment",
            icon=":material/join_inner:",
            help="How alike vision and text are, layer by layer, and which samples make them so.",
        ),
        st.Page(
            folder / "dimensionality.py",
            title="Dimensionality",
            icon=":material/stacked_line_chart:",
            help="How many dimensions each layer uses.",
        ),
        st.Page(
            folder / "projection.py",
            title="Projection",
            icon=":material/scatter_plot:",
            help="The samples of one layer on the plane; step through the layers.",
        ),
        st.Page(
            folder / "compare.py",
            title="Compare",
            icon=":material/compare:",
            help="Two to four placements or runs side by side, and one minus the other.",
        ),
    ]
