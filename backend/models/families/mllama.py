"""Llama 3.2 Vision: gated cross-attention blocks of their own to tiles of an image (Meta 2024).

Facts are from transformers 5.23: ``MllamaTextModel.forward`` (``cross_attention_layers`` counts
from 0; those blocks are layers themselves, and are skipped where there is no image),
``MllamaCrossAttentionDecoderLayer.forward`` (both gates; a word before the image sees all of it
alike), ``MllamaVisionModel.forward`` (blocks over all tiles of an image together, a norm, gated
blocks; what fills up tiles is seen by the rest, so it is special, not padding),
``MllamaImageProcessor`` (an image fills its tiles from the top left).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers.models.mllama.image_processing_mllama import (
    get_image_size_fit_to_canvas,
    get_optimal_tiled_canvas,
)
from transformers.models.mllama.processing_mllama import (
    convert_sparse_cross_attention_mask_to_dense,
    get_cross_attention_token_mask,
)

from backend.data.sample import Sample
from backend.models.adapter import AttentionKey, Inputs
from backend.models.families.base import (
    block_points,
    block_sites,
    item,
    meets,
    self_attention,
    silenced,
)
from backend.models.families.pictures import Picture, in_the_tower, tiles_of
from backend.models.families.prompting import Prompting
from backend.models.families.stacks import next_token
from backend.models.points import AttentionPoint, Point, Rewrite
from backend.models.roles import Role, grid_boxes
from backend.models.texts import prompt_roles, special_ids
from backend.types import LayerRef, Meet, Site, StreamSpec

_FILL = 8  # the tower fills the tokens of a tile up to a multiple of this


class Mllama(Prompting):
    """The first image of a sample alone: among several, the model itself reads their padding.

    A sample without an image would skip the cross-attention blocks: every sample needs one.
    """

    family = "mllama"
    model_class = "MllamaForConditionalGeneration"
    most_images = 1

    def describe(self) -> None:
        """The tower's two parts are one stream; the text's fusion layers are blocks of it."""
        model, config = self.model.model, self.model.config
        self.local = model.vision_model.transformer.layers
        self.blocks = [*self.local, *model.vision_model.global_transformer.layers]
        self.layers = list(model.language_model.layers)
        self.crossed = sorted(k + 1 for k in config.text_config.cross_attention_layers)
        side = config.vision_config.image_size // config.vision_config.patch_size
        self.patches = int(side**2)
        width, depth = config.text_config.hidden_size, len(self.layers)
        seen = config.vision_config.hidden_size
        plain = block_sites(len(self.blocks), seen)
        norm = Site(len(self.local), seen, "norm")
        read = ", ".join(str(k + 1) for k in config.vision_config.intermediate_layers_indices)
        self.streams = (
            StreamSpec(
                "vision",
                "vision",
                (*plain[: norm.layer + 1], norm, *plain[norm.layer + 1 :]),
                poolings=("mean",),
                note=f"The text reads layers {read} and the last one together.",
            ),
            StreamSpec(
                "text",
                "text",
                block_sites(depth, width, Site(depth, width, "norm")),
                meets("gated", "vision", self.crossed),
            ),
        )

    def points(self) -> dict[LayerRef, Point]:
        """All tiles of an image are one sequence in the tower."""
        model = self.model.model
        places = block_points("vision", self.blocks) | block_points("text", self.layers)
        places[LayerRef("vision", len(self.local), "norm")] = Point(
            model.vision_model.layernorm_post
        )
        places[LayerRef("text", len(self.layers), "norm")] = Point(model.language_model.norm)
        return {ref: places[ref] for spec in self.streams for ref in spec.refs}

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention, in the text where a block has it, and cross-attention in the others."""
        maps = self_attention("vision", [block.self_attn for block in self.blocks])
        for k, layer in enumerate(self.layers, start=1):
            ref = LayerRef("text", k)
            if k in self.crossed:
                maps[AttentionKey(ref, "vision")] = AttentionPoint(
                    layer.cross_attn, ("text",), ("vision",), item(1), arrange=self._filled_up
                )
            else:
                maps[AttentionKey(ref, "text")] = AttentionPoint(
                    layer.self_attn, ("text",), ("text",), item(1)
                )
        return maps

    def gates(self) -> dict[LayerRef, Tensor]:
        """The hyperbolic tangent that multiplies what an image adds to the text."""
        return {
            LayerRef("text", k): self.layers[k - 1].cross_attn_attn_gate.detach().tanh().squeeze()
            for k in self.crossed
        }

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What the cross-attention gives becomes zero; the rest of its block works on."""
        return (silenced(self.layers[meet.layer - 1].cross_attn),)

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """The final norm and the output layer."""
        return nn.Sequential(self.model.model.language_model.norm, self.model.lm_head)

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """One mark in a prompt for the image; as many tiles for all as the model takes."""
        self.require(samples)
        processor, images = self.processor.image_processor, [self.images(s) for s in samples]
        seen = processor([list(own) for own in images], return_tensors="pt")
        pictures = [[self._picture(own[0], seen["pixel_values"].shape[2])] for own in images]
        tokens = self.tokens(samples, pictures)
        mask = convert_sparse_cross_attention_mask_to_dense(
            [get_cross_attention_token_mask(ids, self.image_id) for ids in tokens.ids.tolist()],
            num_tiles=seen["num_tiles"],
            max_num_tiles=processor.max_image_tiles,
            length=tokens.ids.shape[1],
        )
        roles, boxes = in_the_tower(pictures)
        special = [*special_ids(self.processor.tokenizer), self.image_id]
        elsewhere = torch.zeros_like(tokens.own)
        return Inputs(
            {
                "input_ids": tokens.ids,
                "attention_mask": tokens.mask,
                "position_ids": (tokens.mask.cumsum(dim=1) - 1).clamp(min=0),
                "cross_attention_mask": torch.from_numpy(mask),
                "pixel_values": seen["pixel_values"],
                "aspect_ratio_ids": seen["aspect_ratio_ids"],
                "aspect_ratio_mask": seen["aspect_ratio_mask"],
            },
            {"vision": roles, "text": prompt_roles(tokens, special, elsewhere)},
            {"vision": boxes, "text": tokens.spans},
            {"text": tokens.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits of the word that comes next, after each prompt."""
        return next_token(self.model, inputs)

    @property
    def _length(self) -> int:
        """Tokens of a tile in the tower: class token, patches, and what fills them up."""
        length = 1 + self.patches
        return length + -length % _FILL

    def _picture(self, image: Image.Image, most: int) -> Picture:
        """Patches of the tiles that an image fills; everything else is special."""
        config = self.model.config.vision_config
        size, side = config.image_size, config.image_size // config.patch_size
        processor = self.processor.image_processor
        down, across = get_optimal_tiled_canvas(
            image.height, image.width, processor.max_image_tiles, size
        )
        height, width = get_image_size_fit_to_canvas(image.height, image.width, down, across, size)
        region = (0.0, 0.0, across * image.width / width, down * image.height / height)
        tiles = tiles_of(region, down // size, across // size)
        roles = np.full((most, self._length), int(Role.SPECIAL), dtype=np.int8)
        boxes = np.full((most, self._length, 4), np.nan)
        patches = slice(1, 1 + self.patches)
        roles[: len(tiles), patches] = int(Role.CONTENT)
        for at, tile in enumerate(tiles):
            boxes[at, patches] = grid_boxes(tile, side, side, image.size)
        return Picture(
            [Role(int(r)) for r in roles.ravel()], boxes.reshape(-1, 4), self.mark, [], None
        )

    def _filled_up(self, weights: Tensor, inputs: Inputs) -> Tensor:
        """Keys are the tiles' tokens without what fills them up; those get zeros."""
        tiles = weights.unflatten(3, (-1, 1 + self.patches))
        return pad(tiles, (0, self._length - 1 - self.patches)).flatten(3)
