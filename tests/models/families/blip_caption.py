"""A tiny BLIP that writes captions: its text is causal."""

from __future__ import annotations

from tests.models.families import blip
from tests.models.families.common import Case


def tiny() -> Case:
    return blip.tiny("BlipForConditionalGeneration")
