"""A tiny Idefics without a resampler: the text reads the patches themselves."""

from __future__ import annotations

from tests.models.families import idefics
from tests.models.families.common import Case


def tiny() -> Case:
    return idefics.tiny(resampler=False)
