"""How a stream reads another one, in words."""

from __future__ import annotations

from collections.abc import Iterable

from backend.figures.theme import FUSION_MARK
from backend.types import How, Meet, StreamSpec

_WITH: dict[How, str] = {
    "co": "co-attention with {}",
    "cross": "cross-attention to {}",
    "gated": "gated cross-attention to {}",
    "joint": "joint self-attention with {}",
    "add": "{} added",
    "modulated": "scaled and shifted by {}",
    "loss": "compared with {} in the training loss",
}
_ALONE: dict[How, str] = {
    "co": "co-attention",
    "cross": "cross-attention",
    "gated": "gated cross-attention",
    "joint": "joint self-attention",
    "add": "features added",
    "modulated": "scaled and shifted by features",
    "loss": "compared in the training loss",
}


def meet_in_words(meet: Meet) -> str:
    """``gated cross-attention to vision``; without a name where a store does not say which."""
    return _WITH[meet.how].format(meet.reads) if meet.reads else _ALONE[meet.how]


def fusion_at(spec: StreamSpec, layer: int) -> str:
    """How others come in at a layer, ``fusion: co-attention with text``; "" where none does."""
    return _fusion(meet for meet in spec.meets if meet.layer == layer)


def fusion_of(spec: StreamSpec) -> str:
    """The same over all layers of a stream; "" for one that takes nothing in."""
    return _fusion(spec.meets)


def losses_of(spec: StreamSpec) -> str:
    """What the training loss alone compares a stream with; "" for nothing."""
    meets = (meet for meet in spec.meets if meet.how == "loss")
    return ", ".join(dict.fromkeys(map(meet_in_words, meets)))


def marked(words: str) -> str:
    """``◆ fusion: ...`` after a hover's head; "" for no words."""
    return f" {FUSION_MARK} {words}" if words else ""


def _fusion(meets: Iterable[Meet]) -> str:
    words = dict.fromkeys(meet_in_words(meet) for meet in meets if meet.how != "loss")
    return f"fusion: {', '.join(words)}" if words else ""
