"""Gemma 3: a SigLIP tower, sixteen patches averaged into a token (Gemma Team 2025).

Facts are from transformers 5.23: ``Gemma3MultiModalProjector.forward`` (means of squares of
patches, row by row), ``create_masks_for_vision_model`` (tokens of one image see each other both
ways, all else only what stands before it), ``Gemma3Processor`` (the mark in a prompt is another
token than the placeholders). Crops beside the image (pan and scan) are left out, as by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
from torch import Tensor

from backend.models.families.image_tokens import SquareImages
from backend.models.families.pictures import Picture, merged
from backend.models.families.prompting import Images
from backend.models.points import Point
from backend.models.roles import Role
from backend.models.texts import Prompted
from backend.types import LayerRef, Site


class Gemma3(SquareImages):
    """Some blocks of the language model see only so many tokens back."""

    family = "gemma3"
    model_class = "Gemma3ForConditionalGeneration"

    def tower_sites(self) -> tuple[Site, ...]:
        """The language model reads the tower after its final norm."""
        return (Site(self.tower.depth, self.tower.width, "norm"),)

    def tower_named(self) -> dict[LayerRef, Point]:
        """The final norm."""
        return self.tower_norm()

    def row(self, tower: Sequence[Role], boxes: np.ndarray) -> tuple[list[Role], np.ndarray | None]:
        """As many tokens whatever the number of patches is."""
        side, across = isqrt(len(boxes)), isqrt(self.model.config.mm_tokens_per_image)
        places = merged(boxes, side, side, side // across)
        return [Role.CONTENT] * len(places), places

    def look(self, images: Sequence[Images]) -> tuple[dict[str, Tensor], list[Picture]]:
        """What the processor writes for an image, placeholders and words around them."""
        pixels, pictures = super().look(images)
        words = self.processor.full_image_sequence
        return pixels, [
            Picture(own.tower, own.boxes, words, own.row, own.places) for own in pictures
        ]

    def positions(self, tokens: Prompted) -> dict[str, Tensor]:
        """The model is told which tokens are an image's."""
        return {
            **super().positions(tokens),
            "token_type_ids": (tokens.ids == self.image_id).long(),
        }
