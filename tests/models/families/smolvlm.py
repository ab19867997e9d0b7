"""A tiny SmolVLM, with Idefics 3's processor around its own image processor."""

from __future__ import annotations

from transformers import Idefics3Processor, SmolVLMImageProcessor

from backend.models.families.shuffled import SmolVLM
from tests.models.families.common import Case
from tests.models.families.idefics3 import idefics3


def tiny() -> Case:
    images = SmolVLMImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    return idefics3("SmolVLM", SmolVLM, images, Idefics3Processor)
