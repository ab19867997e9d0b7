"""SigLIP and SigLIP 2: two towers and a sigmoid loss (Zhai et al. 2023; Tschannen et al. 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from backend.data.sample import Sample
from backend.models.families.dual_encoder import DualEncoder, Encoded, Tower
from backend.models.points import Point, Pooled
from backend.models.roles import Role, box_origins, grid_boxes
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import Site


class Siglip(DualEncoder):
    """Vision has no summary token: its head attends over the patches (site ``N.pooled``).

    Text is read at its last position. Every text is filled up to one length and the model was
    trained to attend to what fills it up, so those tokens are special tokens here, not padding, and
    the last position is mostly one of them.
    """

    family = "siglip"
    model_class = "SiglipModel"
    prefix = ()

    def towers(self) -> dict[str, Tower]:
        """``pooled`` is the shared space in both: there is no projection beside the heads."""
        vision, text = self.model.vision_model, self.model.text_model
        depth, width = vision.config.num_hidden_layers, vision.config.hidden_size
        layers, size = text.config.num_hidden_layers, text.config.hidden_size
        shared = text.config.projection_size
        return {
            "vision": Tower(
                vision.encoder.layers,
                [block.self_attn for block in vision.encoder.layers],
                width,
                {
                    Site(depth, width, "norm"): Point(vision.post_layernorm),
                    Site(depth, width, "pooled", pooled=True): Point(vision.head, select=Pooled()),
                },
                ("mean",),
            ),
            "text": Tower(
                text.encoder.layers,
                [block.self_attn for block in text.encoder.layers],
                size,
                {
                    Site(layers, size, "norm"): Point(text.final_layer_norm),
                    Site(layers, shared, "pooled", pooled=True): Point(text.head, select=Pooled()),
                },
                note="The model reads a text at its last position, which is mostly a filler.",
            ),
        }

    def encode_text(self, samples: Sequence[Sample]) -> Encoded:
        """Token ids, all of one length and all attended to: the model gets no mask."""
        tokenizer = self.processor.tokenizer
        tokens = tokenize(
            tokenizer, [s.text for s in samples], self.max_tokens, padding="max_length"
        )
        roles = text_roles(tokens.ids, torch.ones_like(tokens.ids), special_ids(tokenizer), "last")
        return Encoded({"input_ids": tokens.ids}, roles, tokens.spans, tokens.cut)


class Siglip2(Siglip):
    """With images of any shape: as many patches as fit, padded to one number of them."""

    family = "siglip2"
    model_class = "Siglip2Model"

    def encode_vision(self, samples: Sequence[Sample]) -> Encoded:
        """Patches row by row: the whole image, resized to a grid of its own shape."""
        images = [sample.images[0] for sample in samples]
        pixels = self.processor.image_processor(images, return_tensors="pt")
        mask, shapes = pixels["pixel_attention_mask"], pixels["spatial_shapes"]
        roles = torch.where(mask.bool(), int(Role.CONTENT), int(Role.PADDING)).to(torch.int8)
        boxes = [
            grid_boxes((0.0, 0.0, *image.size), rows, columns, image.size)
            for image, (rows, columns) in zip(images, shapes.tolist(), strict=True)
        ]
        return Encoded(
            {
                "pixel_values": pixels["pixel_values"],
                "pixel_attention_mask": mask,
                "spatial_shapes": shapes,
            },
            roles,
            box_origins(boxes, 0, mask.shape[1]),
        )
