"""The layer strip of a page, and rows of samples that follow it; see ``element/strip.js``."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import streamlit as st

from backend.figures.theme import FUSION_MARK
from backend.types import BLOCK, LayerRef, StreamSpec
from backend.views.queries import Sample
from dashboard import assets

_strip = st.components.v2.component(
    "fusionscope_strip", js=assets.loader("strip.js"), isolate_styles=False
)
_cards = st.components.v2.component(
    "fusionscope_cards", js=assets.loader("cards.js"), isolate_styles=False
)


class Card(TypedDict):
    """A sample in a row, ``note`` beside it; ``fresh`` where it was not there a layer before."""

    id: str
    note: str
    fresh: bool


class CardRow(TypedDict):
    """A row of samples."""

    title: str
    cards: list[Card]


def layer_strip(
    spec: StreamSpec,
    refs: Sequence[LayerRef],
    at: LayerRef,
    *,
    group: str,
    key: str,
    on_move: Callable[[str], None],
) -> None:
    """The sites ``refs`` of a stream, standing at ``at``; ``on_move`` gets the label of another.

    Figures and cards of the same ``group`` follow it in the browser; the server hears of a move
    once it is over.
    """
    sites = [
        {
            "label": ref.label,
            "short": _short(spec, ref),
            "title": f"{spec.name} layer {ref.label}"
            + (f" ({FUSION_MARK} fusion)" if _fused(spec, ref) else ""),
            "fused": _fused(spec, ref),
            "beside": ref.site != BLOCK,
        }
        for ref in refs
    ]

    def moved() -> None:
        on_move(str(st.session_state[key].layer))

    _strip(
        key=key,
        data={
            "sites": sites,
            "value": at.label,
            "group": group,
            "alt": f"Layer of the {spec.name} stream; arrow keys move it",
        },
        on_layer_change=moved,
    )


def sample_cards(
    samples: Mapping[str, Sample],
    steps: Mapping[str, Sequence[CardRow]],
    *,
    group: str,
    key: str,
) -> None:
    """Rows of samples at each layer of the strip of ``group``."""
    held = {
        name: {
            "image": base64.b64encode(one.thumbnail).decode() if one.thumbnail else "",
            "text": one.text,
            "missing": one.picture_note,
        }
        for name, one in samples.items()
    }
    data = {"samples": held, "steps": {label: list(rows) for label, rows in steps.items()}}
    _cards(key=key, data={**data, "group": group})


def _fused(spec: StreamSpec, ref: LayerRef) -> bool:
    return ref.layer in spec.fusion_layers


def _short(spec: StreamSpec, ref: LayerRef) -> str:
    if ref.site == BLOCK:
        return str(ref.layer)
    return FUSION_MARK if any(meet.site == ref.label for meet in spec.meets) else f".{ref.site[0]}"
