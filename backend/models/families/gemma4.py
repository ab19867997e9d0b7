"""Gemma 4: images of their own shapes, squares of patches averaged into tokens (Gemma Team 2026).

Facts are from transformers 5.23: ``Gemma4ImageProcessor`` (patches row by row, then padding up to
one number), ``Gemma4VisionPooler.forward`` (means of squares, row by row; padding is dropped),
``create_masks_for_vision_model`` (where it is so, tokens of one image see each other both ways in
the blocks with a window), ``Gemma4Model.get_per_layer_inputs`` (every block is told a token's word
once more; an image's tokens count as padding there), ``Gemma4TextAttention`` (the last blocks may
use an earlier one's keys and values).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
from torch import Tensor

from backend.errors import InputError
from backend.models.families.image_tokens import ImageTokens, Parts
from backend.models.families.pictures import Picture, merged, whole
from backend.models.families.prompting import Images
from backend.models.families.stacks import bounded
from backend.models.roles import Role, grid_boxes
from backend.models.texts import Prompted


class Gemma4(ImageTokens):
    """As many patches of an image as fit, in its own shape; sounds and videos are left out."""

    family = "gemma4"
    model_class = "Gemma4ForConditionalGeneration"
    parts = Parts(between=("model.embed_vision",))

    def describe(self) -> None:
        """InputError for a model without a tower."""
        if self.model.config.vision_config is None:
            raise InputError("this Gemma 4 has no image tower", where=f"model {self.name}")
        super().describe()

    def look(self, images: Sequence[Images]) -> tuple[dict[str, Tensor], list[Picture]]:
        """Patches and where they are, of all images in a row."""
        flat = list(chain.from_iterable(images))
        seen = self.processor.image_processor(flat, return_tensors="pt")
        side = self.model.config.vision_config.pooling_kernel_size
        pictures = []
        for which, (image, places) in enumerate(zip(flat, seen["image_position_ids"], strict=True)):
            columns, rows = (places.amax(dim=0) + 1).tolist()
            patches = grid_boxes(whole(image), rows, columns, image.size)
            padding = len(places) - len(patches)
            pictures.append(
                Picture(
                    [*[Role.CONTENT] * len(patches), *[Role.PADDING] * padding],
                    np.pad(patches, ((0, padding), (0, 0)), constant_values=np.nan),
                    self.processor.replace_image_token(seen, which),
                    [Role.CONTENT] * (len(patches) // side**2),
                    merged(patches, rows, columns, side),
                )
            )
        return {name: seen[name] for name in ("pixel_values", "image_position_ids")}, pictures

    def positions(self, tokens: Prompted) -> dict[str, Tensor]:
        """The model is told which tokens are an image's."""
        return {
            **super().positions(tokens),
            "mm_token_type_ids": (tokens.ids == self.image_id).long(),
        }

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """The logits may be bounded softly."""
        return bounded(super().unembedding(), self.model.config.text_config.final_logit_softcapping)
