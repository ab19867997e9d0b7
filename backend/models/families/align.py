"""ALIGN: a convolutional tower and a BERT that meet in the loss alone (Jia et al. 2021).

Facts are from transformers 5.23: ``AlignVisionEncoder`` (an EfficientNet: its blocks give maps that
shrink on the way), ``AlignVisionModel.forward`` (the last map's mean is the image's vector, without
a projection), ``AlignModel.forward`` (the text's first token goes through a projection).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from backend.data.sample import Sample
from backend.models.adapter import Inputs
from backend.models.families.dual_encoder import DualEncoder, Encoded, Tower
from backend.models.families.maps import Cells
from backend.models.images import patch_roles
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import Point, Pooled
from backend.types import LayerRef, Site

_SHRINKS = 32  # pixels of the input along a side of the last map's cells


class Align(DualEncoder):
    """Every map is read as the same grid of cells, each the mean of what lies in it.

    A cell sees more of the image than its box: convolutions overlap.
    """

    family = "align"
    model_class = "AlignModel"

    def towers(self) -> dict[str, Tower]:
        """Maps of different widths; the text's first token in the shared space."""
        model, config = self.model, self.model.config
        blocks, words = model.vision_model.encoder.blocks, model.text_model.encoder.layer
        self.unsupported = {"attention of vision": "A convolutional tower has no attention."}
        size, shared = config.text_config.hidden_size, config.projection_dim
        width = blocks[-1].projection.project_conv.out_channels
        pooled = Point(model.vision_model.pooler, select=Pooled(_Flat()))
        return {
            "vision": Tower(
                blocks,
                (),
                width,
                {Site(len(blocks), width, "pooled", pooled=True): pooled},
                ("mean",),
            ),
            "text": Tower(
                words,
                [layer.attention.self for layer in words],
                size,
                {
                    Site(len(words), shared, "projected", pooled=True): Point(
                        model.text_projection, select=Pooled()
                    )
                },
                note=AFTER_OWN_NORM,
            ),
        }

    def describe(self) -> None:
        """Each block of the vision tower has a width of its own."""
        super().describe()
        vision, text = self.streams
        model = self.model.vision_model
        widths = [model.embeddings.out_dim]
        widths += [block.projection.project_conv.out_channels for block in model.encoder.blocks]
        plain = tuple(Site(k, width) for k, width in enumerate(widths))
        self.streams = (replace(vision, sites=(*plain, *vision.sites[len(plain) :])), text)

    def points(self) -> dict[LayerRef, Point]:
        """Maps as cells."""
        return {
            ref: replace(point, select=Cells(point.selection))
            if ref.stream == "vision" and ref.site == "block"
            else point
            for ref, point in super().points().items()
        }

    def encode_vision(self, samples: Sequence[Sample]) -> Encoded:
        """As many cells as the last map has; smaller maps do not come before it."""
        images = self.processor.image_processor
        pixels = images([s.images[0] for s in samples], return_tensors="pt")["pixel_values"]
        side = max(1, min(pixels.shape[2:]) // _SHRINKS)
        return Encoded(
            {"pixel_values": pixels},
            patch_roles(len(samples), side * side),
            self.image_boxes(samples, images, side, side, prefix=0),
        )


@dataclass(frozen=True)
class _Flat:
    """A map of one cell, (B, d, 1, 1), as (B, d)."""

    def read(self, value: Any, inputs: Inputs) -> Tensor:
        tokens: Tensor = value.flatten(1)
        return tokens

    def write(self, value: Any, tokens: Tensor, inputs: Inputs) -> Any:
        return tokens.reshape(value.shape)
