"""One palette for every figure, readable on a light and on a dark page.

Colours are mid-tones that keep at least 3:1 contrast on white and on the dark background, taken
from the family that Okabe and Ito chose for colour-blind readers. A stream is told three times: by
colour, by marker and by dash. Backgrounds are transparent and font colours are left to the page.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import plotly.graph_objects as go

from backend.types import StreamSpec

Shape = dict[str, object]
"""One of a layout's shapes, as Plotly's settings."""


@dataclass(frozen=True)
class StreamStyle:
    """How a stream looks wherever it is drawn."""

    colour: str
    marker: str
    dash: str


STYLES: dict[str, StreamStyle] = {
    "vision": StreamStyle("#2F7FC1", "circle", "solid"),
    "text": StreamStyle("#D97706", "square", "dash"),
    "fused": StreamStyle("#8B6CC9", "triangle-up", "dot"),
    "image": StreamStyle("#0F9D76", "diamond", "dashdot"),
    "query": StreamStyle("#C9619B", "cross", "longdash"),
    "audio": StreamStyle("#2E9DB5", "pentagon", "longdashdot"),
    "text_decoder": StreamStyle("#C2453D", "triangle-down", "6px,2px"),
}
"""By a stream's name, else by its modality; any other word gets a style of the fallback ones."""

_FALLBACK_COLOURS = ("#A88B00", "#A0623D", "#7A7F87", *(one.colour for one in STYLES.values()))
_FALLBACK_MARKERS = ("star", "hexagon", "bowtie", "hourglass", "x", "triangle-left", "star-square")
_FALLBACK_DASHES = ("12px,3px", "2px,6px", "9px,3px,2px,3px")
# 10 colours, 7 markers and 3 dashes: 210 steps before a style comes again.
_FALLBACKS = tuple(
    StreamStyle(
        _FALLBACK_COLOURS[at % len(_FALLBACK_COLOURS)],
        _FALLBACK_MARKERS[at % len(_FALLBACK_MARKERS)],
        _FALLBACK_DASHES[at % len(_FALLBACK_DASHES)],
    )
    for at in range(210)
)

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

    @cached_property
    def styles(self) -> dict[str, StreamStyle]:
        """{stream: its style} among this model's streams."""
        return styles_of(self.streams)


def escape(text: object) -> str:
    """Text for a hover label or a legend: Plotly renders a subset of HTML, users' text must not."""
    return html.escape(str(text), quote=False)


def rgba(colour: str, alpha: float) -> str:
    """``#rrggbb`` with an opacity."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def styles_of(streams: Sequence[StreamSpec]) -> dict[str, StreamStyle]:
    """{stream name: style}, no two of them alike, whatever the streams' modalities.

    A stream has the style of its name, else that of its modality if no other stream has it, else
    the first free one of the fallback styles, counted from a place that its name decides. So a
    name looks the same in every model that has no other claim to its style.
    """
    styles = {spec.name: STYLES[spec.name] for spec in streams if spec.name in STYLES}
    for spec in streams:
        if spec.name in styles:
            continue
        own = STYLES.get(spec.modality)
        styles[spec.name] = own if own and own not in styles.values() else _free(spec.name, styles)
    return styles


def _free(name: str, styles: dict[str, StreamStyle]) -> StreamStyle:
    start = crc32(name.encode()) % len(_FALLBACKS)
    ordered = [*_FALLBACKS[start:], *_FALLBACKS[:start]]
    taken = list(styles.values())
    colours, markers = {one.colour for one in taken}, {one.marker for one in taken}
    apart = (one for one in ordered if one.colour not in colours and one.marker not in markers)
    return next(apart, None) or next(one for one in ordered if one not in taken)


def marker_of(series: Series, stream: StreamSpec) -> str:
    """The stream's marker in the series' variant, so that colour is never the only cue."""
    marker = series.styles[stream.name].marker
    variants = _VARIANTS if marker in ("circle", "square", "diamond") else _VARIANTS[:3]
    return marker + variants[series.variant % len(variants)]


def point_look(series: Series) -> tuple[str, str]:
    """Colour and symbol of the one point of a series among those of a whole store.

    Its own colour; a look comes again after 160 series, where eight have one colour each.
    """
    at, step = series.variant, len(SERIES_COLOURS)
    symbol = CLASS_MARKERS[(at + at // step) % len(CLASS_MARKERS)]
    filled = at // (step * len(CLASS_MARKERS)) % 2 == 0
    return series.colour, symbol if filled else f"{symbol}-open"


def base_figure(*, height: int, legend: bool = True) -> go.Figure:
    """An empty figure with the project's layout: transparent, no title, quiet grid."""
    figure = go.Figure()
    figure.update_layout(**layout(height=height, legend=legend))
    return figure


def layout(*, height: int, legend: bool = True) -> dict[str, object]:
    """Layout settings that every figure shares."""
    return {
        "height": height,
        # Plotly's own template would add 6 kB to every figure.
        "template": "none",
        "autotypenumbers": "strict",
        "margin": {"l": 60, "r": 10, "t": 10, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "showlegend": legend,
        "legend": LEGEND,
        "hoverlabel": {"align": "left"},
        "uirevision": "keep",
        "dragmode": False,
    }


def boxes_shape(boxes: Iterable[tuple[float, float, float, float]], **settings: object) -> Shape:
    """Boxes (x0, x1, y0, y1) as one shape: a browser draws one path sooner than many rectangles."""
    return {
        "type": "path",
        "path": " ".join(f"M{x0:g},{y0:g}H{x1:g}V{y1:g}H{x0:g}Z" for x0, x1, y0, y1 in boxes),
        **settings,
    }


def axis(title: str, *, below_px: int = 0, **settings: object) -> dict[str, object]:
    """Axis settings: a title, ``below_px`` lower than it would be, and a quiet grid."""
    lowered = {"standoff": below_px + 8} if below_px else {}
    return {
        "title": {"text": escape(title), **lowered},
        "gridcolor": GRID,
        "zeroline": False,
        **settings,
    }


def number(value: float, digits: int = 3) -> str:
    """A number for people; NaN reads "undefined"."""
    return "undefined" if value != value else f"{value:.{digits}f}"
