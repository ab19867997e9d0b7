"""A tiny CLIP as if nobody knew it."""

from __future__ import annotations

from typing import Any

from backend.models.families.generic import Generic
from tests.models.families import clip
from tests.models.families.common import Case


def tiny() -> Case:
    case = clip.tiny()
    known: Any = case.adapter
    states = {
        "text_model": "text_model_output.hidden_states",
        "vision_model": "vision_model_output.hidden_states",
    }
    return Case(Generic(known.model, known.processor, "tiny-generic"), case.samples, states)
