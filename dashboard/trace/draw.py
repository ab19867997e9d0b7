"""How a panel of Trace shows something: on the page, and in the file that can be taken away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import pandas as pd
import streamlit as st

from backend.figures.parts import Parts
from backend.report.trace import Cards, Plot, Remark, Rows
from backend.views.queries import Sample
from backend.views.strip import CardRow
from backend.words import literal
from dashboard.cache import Drawn
from dashboard.chart import Point, Step, chart
from dashboard.rows import rows
from dashboard.strip import sample_cards
from dashboard.trace.side import GROUP, Side


def draw(
    side: Side,
    title: str,
    figure: Parts,
    *,
    alt: str,
    steps: Mapping[str, Step] = MappingProxyType({}),
    on_click: Callable[[Point], None] | None = None,
    least_px: int = 0,
) -> None:
    """A figure of a side, which follows the strip by its ``steps``; ``title`` names its file.

    ``on_click`` gets a clicked point; narrower than ``least_px`` it scrolls sideways.
    """
    drawn = Drawn(figure.json)
    named = side.titled(title)
    side.part.figures[named] = drawn
    side.part.panels[named] = Plot(named, drawn.json, alt, steps)
    chart(
        drawn, key=side.key(title), alt=alt, steps=steps, group=GROUP, on_click=on_click,
        least_px=least_px,
    )  # fmt: skip


def let_go(side: Side, title: str) -> None:
    """What was drawn of that name before is not on the page any more."""
    named = side.titled(title)
    for shown in (side.part.figures, side.part.panels, side.part.rows):
        shown.pop(named, None)


def deal(
    side: Side,
    title: str,
    samples: Mapping[str, Sample],
    steps: Mapping[str, Sequence[CardRow]],
) -> None:
    """Rows of reference samples of a side, those of the layer that the strip stands at."""
    named = side.titled(title)
    side.part.panels[named] = Cards(named, samples, steps)
    sample_cards(samples, steps, group=GROUP, key=side.key(title))


def tabulate(side: Side, title: str, table: pd.DataFrame) -> None:
    """A short table of a side, as people read it; its cells and columns may be text of anybody."""
    named = side.titled(title)
    side.part.panels[named] = Rows(named, table)
    rows(table, key=side.key(title), alt=named)


def say(side: Side, title: str, text: str) -> None:
    """A sentence of a side; ``title`` says what it is about, and is shown in the file alone."""
    named = side.titled(title)
    side.part.panels[named] = Remark(named, text)
    st.caption(literal(text))
