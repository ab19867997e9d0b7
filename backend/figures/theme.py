"""One palette for every figure, readable on a light and on a dark page.

Colours are mid-tones that keep at least 3:1 contrast on white and on the dark background, taken
from the family that Okabe and Ito chose for colour-blind readers. A modality is told three times:
by colour, by marker and by dash. Backgrounds are transparent and font colours are left to the page.
"""

from __future__ import annotations

import html
from dataclasses import dataclass

import plotly.graph_objects as go

from backend.types import Modality, StreamSpec


@dataclass(frozen=True)
class ModalityStyle:
    """How a modality looks wherever it is drawn."""

    colour: str
    marker: str
    dash: str


MODALITY: dict[Modality, ModalityStyle] = {
    "vision": ModalityStyle("#2F7FC1", "circle", "solid"),
    "text": ModalityStyle("#D97706", "square", "dash"),
    "fused": ModalityStyle("#8B6CC9", "triangle-up", "dot"),
}

# None of them is blue or orange: those are vision's and text's.
SERIES_COLOURS: tuple[str, ...] = (
    "#858585",
    "#0F9D76",
    "#C9619B",
    "#A88B00",
    "#8B6CC9",
    "#A0623D",
    "#2E9DB5",
    "#C2453D",
)
_VARIANTS = ("", "-open", "-dot", "-x", "-cross", "-open-dot", "-x-open", "-cross-open")

CLASS_COLOURS: tuple[str, ...] = (
    "#2F7FC1",
    "#D97706",
    "#0F9D76",
    "#C9619B",
    "#8B6CC9",
    "#A88B00",
    "#3AA9C9",
    "#D1495B",
    "#7A8B3C",
    "#858585",
)
CLASS_MARKERS: tuple[str, ...] = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "cross",
    "x",
    "triangle-down",
    "pentagon",
    "star",
    "hexagon",
)

SIMILARITY_SCALE = "Viridis"
DIFFERENCE_SCALE = "RdBu"
NEUTRAL = "#858585"
GRID = "rgba(128,128,128,0.18)"
FUSION_MARK = "◆"
LEGEND: dict[str, object] = {
    "orientation": "h",
    "yanchor": "bottom",
    "y": 1.0,
    "xanchor": "left",
    "x": 0.0,
    "title": {"text": ""},
    "bgcolor": "rgba(0,0,0,0)",
}


@dataclass(frozen=True)
class Series:
    """What a curve belongs to: runs that differ only in their seed."""

    key: str
    label: str
    streams: tuple[StreamSpec, ...]
    colour: str = SERIES_COLOURS[0]
    model: str = ""
    variant: int = 0

    def stream(self, name: str) -> StreamSpec | None:
        """The stream of that name, or None where this model has none."""
        return next((spec for spec in self.streams if spec.name == name), None)


def escape(text: object) -> str:
    """Text for a hover label or a legend: Plotly renders a subset of HTML, users' text must not."""
    return html.escape(str(text), quote=False)


def rgba(colour: str, alpha: float) -> str:
    """``#rrggbb`` with an opacity."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def style_of(stream: StreamSpec) -> ModalityStyle:
    """The style of a stream's modality."""
    return MODALITY[stream.modality]


def marker_of(series: Series, stream: StreamSpec) -> str:
    """The modality's marker in the series' variant, so that colour is never the only cue."""
    style = style_of(stream)
    variants = _VARIANTS if style.marker in ("circle", "square") else _VARIANTS[:3]
    return style.marker + variants[series.variant % len(variants)]


def base_figure(*, height: int, legend: bool = True) -> go.Figure:
    """An empty figure with the project's layout: transparent, no title, quiet grid."""
    figure = go.Figure()
    figure.update_layout(**layout(height=height, legend=legend))
    return figure


def layout(*, height: int, legend: bool = True) -> dict[str, object]:
    """Layout settings that every figure shares."""
    return {
        "height": height,
        "margin": {"l": 60, "r": 10, "t": 10, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": legend,
        "legend": LEGEND,
        "hoverlabel": {"align": "left"},
        "uirevision": "keep",
        "dragmode": False,
    }


def axis(title: str, **settings: object) -> dict[str, object]:
    """Axis settings: a title, a quiet grid."""
    return {
        "title": {"text": escape(title)},
        "gridcolor": GRID,
        "zeroline": False,
        **settings,
    }


def number(value: float, digits: int = 3) -> str:
    """A number for people; NaN reads "undefined"."""
    return "undefined" if value != value else f"{value:.{digits}f}"
