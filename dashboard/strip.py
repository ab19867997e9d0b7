"""The layer strip of a page, and rows of samples that follow it; see ``element/strip.js``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from backend.types import LayerRef, StreamSpec
from backend.views import strip as views
from backend.views.queries import Sample
from backend.views.strip import CardRow
from dashboard import assets

_strip = st.components.v2.component(
    "fusionscope_strip", js=assets.loader("strip.js"), isolate_styles=False
)
_cards = st.components.v2.component(
    "fusionscope_cards", js=assets.loader("cards.js"), isolate_styles=False
)


def layer_strip(
    spec: StreamSpec,
    refs: Sequence[LayerRef],
    at: LayerRef,
    *,
    group: str,
    key: str,
    span: tuple[str, str] | None,
    on_move: Callable[[str, tuple[str, str] | None], None],
) -> None:
    """The sites ``refs`` of a stream, standing at ``at``, of which those of ``span`` are shown.

    ``on_move`` gets the label of another site and the labels of the range's ends, None for all.

    Figures and cards of the same ``group`` follow it in the browser; the server hears of a move
    once it is over.
    """

    def moved() -> None:
        standing = st.session_state[key].standing
        ends = standing["span"]
        on_move(str(standing["layer"]), (str(ends[0]), str(ends[1])) if ends else None)

    _strip(
        key=key,
        data={
            "sites": views.sites(spec, refs),
            "value": at.label,
            "span": span,
            "group": group,
            "alt": f"Layer of the {spec.name} stream; arrow keys move it, with Shift a range",
        },
        on_standing_change=moved,
    )


def sample_cards(
    samples: Mapping[str, Sample],
    steps: Mapping[str, Sequence[CardRow]],
    *,
    group: str,
    key: str,
) -> None:
    """Rows of samples at each layer of the strip of ``group``."""
    _cards(key=key, data={**views.cards(samples, steps), "group": group})
