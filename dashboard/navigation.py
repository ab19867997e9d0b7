"""The dashboard's pages: one line each."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import streamlit as st
from streamlit.navigation.page import StreamlitPage


class Entry(NamedTuple):
    """A page: its file in pages/ without the ending, its title, a Material icon, what it is for."""

    file: str
    title: str
    icon: str
    help: str


# fmt: off
PAGES: tuple[Entry, ...] = (
    Entry("runs", "Runs", "view_agenda", "Every run with its drawing, scores over seeds, and what is missing."),  # noqa: E501
    Entry("transitions", "Transitions", "timeline", "What each block changes: consecutive layers, and every layer with every other."),  # noqa: E501
    Entry("alignment", "Alignment", "join_inner", "How alike two streams are, layer by layer, and which samples make them so."),  # noqa: E501
    Entry("dimensionality", "Dimensionality", "stacked_line_chart", "How many dimensions each layer uses."),  # noqa: E501
    Entry("probes", "Probes", "quiz", "How much of a label a linear classifier reads from each layer."),  # noqa: E501
    Entry("sae", "SAE", "grain", "Layers read through sparse autoencoders: where image tokens become like text."),  # noqa: E501
    Entry("training", "Training", "play_circle", "How the curves over layers move while a model is trained."),  # noqa: E501
    Entry("projection", "Projection", "scatter_plot", "The samples of one layer on the plane; step through the layers."),  # noqa: E501
    Entry("trace", "Trace", "route", "Drop in an image with its text and watch it move through the layers."),  # noqa: E501
    Entry("tokens", "Tokens", "translate", "What the patches of an image are inside a language model, in words by layer."),  # noqa: E501
    Entry("compare", "Compare", "compare", "Two to four runs side by side, and one minus the other."),  # noqa: E501
    Entry("study", "Study", "science", "Who wins and by how much, and what the runs say of the claims."),  # noqa: E501
)
# fmt: on


def pages(folder: Path) -> list[StreamlitPage]:
    """The pages in ``folder`` in the order of the menu; the first one is the landing page."""
    return [
        st.Page(
            folder / f"{entry.file}.py",
            title=entry.title,
            icon=f":material/{entry.icon}:",
            default=at == 0,
            help=entry.help,
        )
        for at, entry in enumerate(PAGES)
    ]
