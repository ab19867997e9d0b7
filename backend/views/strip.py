"""A layer strip and the rows of samples that follow it, as a browser draws them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from backend.figures.sites import NORM, site_in_words
from backend.figures.theme import FUSION_MARK
from backend.types import BLOCK, LayerRef, StreamSpec
from backend.views.queries import Sample


class Site(TypedDict):
    """A site on a strip: its ``label``, what stands on it, and its name in full.

    ``fused`` where another stream has come in, ``beside`` where it is no layer of its own.
    """

    label: str
    short: str
    title: str
    fused: bool
    beside: bool


class Card(TypedDict):
    """A sample in a row, ``note`` beside it; ``fresh`` where it was not there a layer before."""

    id: str
    note: str
    fresh: bool


class CardRow(TypedDict):
    """A row of samples."""

    title: str
    cards: list[Card]


def sites(spec: StreamSpec, refs: Sequence[LayerRef]) -> list[Site]:
    """The sites ``refs`` of a stream on a strip."""
    return [
        {
            "label": ref.label,
            "short": _short(spec, ref),
            "title": f"{spec.name} layer {site_in_words(ref)}"
            + (f" ({FUSION_MARK} fusion)" if _fused(spec, ref) else ""),
            "fused": _fused(spec, ref),
            "beside": ref.site != BLOCK,
        }
        for ref in refs
    ]


def cards(samples: Mapping[str, Sample], steps: Mapping[str, Sequence[CardRow]]) -> dict[str, Any]:
    """Rows of samples at each label of a strip, every sample once: ``samples`` and ``steps``."""
    held = {
        name: {
            "image": base64.b64encode(one.thumbnail).decode() if one.thumbnail else "",
            "text": one.text,
            "missing": one.picture_note,
        }
        for name, one in samples.items()
    }
    return {"samples": held, "steps": {label: list(rows) for label, rows in steps.items()}}


def _fused(spec: StreamSpec, ref: LayerRef) -> bool:
    """A fusion layer or what brings the other stream in; not the norm that comes after."""
    return ref.layer in spec.fusion_layers and (ref.site == BLOCK or _meets(spec, ref))


def _meets(spec: StreamSpec, ref: LayerRef) -> bool:
    return any(meet.site == ref.label for meet in spec.meets)


def _short(spec: StreamSpec, ref: LayerRef) -> str:
    if ref.site == BLOCK:
        return str(ref.layer)
    if _meets(spec, ref):
        return FUSION_MARK
    return NORM if ref.site == NORM else f".{ref.site[0]}"
