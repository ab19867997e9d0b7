"""A figure on a page, as an element of our own: ``element/figure.js`` says what it does and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypedDict

import streamlit as st

from backend.figures.marks import Marks
from backend.words import literal
from dashboard import assets
from dashboard.cache import Drawn

Point = dict[str, Any]
"""A clicked point: ``x``, ``y``, ``customdata`` (None without any) and ``curve``, its trace."""

_element = st.components.v2.component(
    "fusionscope_figure",
    js=assets.loader("figure.js"),
    isolate_styles=False,  # Plotly's own styles lie in the page's head
)


class Step(TypedDict, total=False):
    """What a figure shows at one layer: marks over it, and the name of its frame."""

    marks: Marks
    frame: str


def chart(
    drawn: Drawn,
    *,
    key: str,
    alt: str,
    marks: Marks = (),
    steps: Mapping[str, Step] = MappingProxyType({}),
    group: str = "",
    on_click: Callable[[Point], None] | None = None,
    least_px: int = 0,
) -> None:
    """A figure over the full width, named for screen readers; ``on_click`` gets a clicked point.

    ``marks`` are drawn over it; when nothing else changes, the figure itself is not drawn again.
    ``steps`` are what it shows at each layer of the strip of ``group``, which it follows.

    In a place that is narrower than ``least_px`` the figure scrolls sideways.
    """
    head = {
        "digest": drawn.digest,
        "alt": alt,
        "file": key,
        "clicks": on_click is not None,
        "least": least_px,
        "marks": marks,
        "steps": dict(steps),
        "group": group,
    }
    # A line of ours, then the figure as it lies in the cache: nothing is encoded again.
    data = b"\n".join((json.dumps(head).encode(), drawn.json.encode()))
    if on_click is None:
        _element(key=key, data=data)
        return

    def clicked() -> None:
        on_click(st.session_state[key].click)

    _element(key=key, data=data, on_click_change=clicked)


def panel(drawn: Drawn, *, key: str, alt: str, what: str, least_px: int = 0) -> None:
    """A figure of curves, or a sentence where it holds no point of ``what``."""
    if drawn.holds_points:
        chart(drawn, key=key, alt=alt, least_px=least_px)
    else:
        st.caption(f"Nothing of {literal(what)} is stored for these runs and this pooling.")
