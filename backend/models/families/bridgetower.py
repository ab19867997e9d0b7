"""BridgeTower: two towers whose last blocks feed cross-modal ones over bridges (Xu et al. 2023).

Facts are from transformers 5.23: ``BridgeTowerModel.forward`` (the first cross-modal blocks begin
with what both towers give after their first blocks; on entry to every later one, what a further
block of the tower gives is added, and both sides read each other as they enter),
``BridgeTowerVisionTransformer.forward_post`` (one norm for all layers of the image tower that are
bridged), ``BridgeTowerImageProcessor.resize`` (sides are cut to multiples of a number).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.models.bridgetower.image_processing_bridgetower import (
    get_resize_output_image_size,
)

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import AttentionKey, Inputs
from backend.models.families.base import (
    Released,
    block_points,
    block_sites,
    item,
    self_attention,
    silenced,
)
from backend.models.images import centre_region, patch_roles
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import (
    FIRST,
    Argument,
    Arguments,
    AttentionPoint,
    Point,
    Pooled,
    Rewrite,
    Select,
)
from backend.models.roles import Box, Origins, Role, box_origins, grid_boxes
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import LayerRef, Meet, Site, StreamSpec


class Side(NamedTuple):
    """The cross-modal blocks of one modality, and what goes into them."""

    name: str
    tower: str
    reads: str
    blocks: Sequence[Any]
    entry: nn.Module
    bridges: Sequence[Any]
    pooler: nn.Module


class BridgeTower(Released):
    """``vision`` and ``text`` are the towers, ``crossed_vision`` and ``crossed_text`` lie above.

    A tower itself never sees the other modality.
    """

    family = "bridgetower"
    model_class = "BridgeTowerModel"
    ignored_keys = (r"^mlm_score\.", r"^itm_score\.", r"^itc_\w+\.", r"^logit_scale$")

    def describe(self) -> None:
        """InputError for towers of two depths, and for bridges that the model cannot use."""
        model, config = self.model, self.model.config
        self.patches = list(model.vision_model.visual.transformer.resblocks)
        self.words = list(model.text_model.encoder.layer)
        if len(self.patches) != len(self.words):
            raise InputError(
                f"its towers have {len(self.patches)} and {len(self.words)} blocks, "
                "which the bridges need to be the same",
                where=f"model {self.name}",
            )
        if config.share_link_tower_layers:
            raise InputError(
                "a BridgeTower with one bridge for all blocks is not supported",
                where=f"model {self.name}",
            )
        self.sides = tuple(
            Side(
                f"crossed_{tower}",
                tower,
                f"crossed_{other}",
                getattr(model, f"cross_modal_{part}_layers"),
                getattr(model, f"cross_modal_{part}_layernorm"),
                getattr(model, f"cross_modal_{part}_link_tower"),
                getattr(model, f"cross_modal_{part}_pooler"),
            )
            for tower, other, part in (("vision", "text", "image"), ("text", "vision", "text"))
        )
        depth = len(self.words)
        seen, read = config.vision_config.hidden_size, config.text_config.hidden_size
        self.bridged = range(depth - config.num_hidden_layers + 1, depth + 1)
        sites = list(block_sites(depth, seen))
        for k in reversed(self.bridged):
            sites.insert(k + 1, Site(k, seen, "norm"))
        self.streams = (
            StreamSpec("vision", "vision", tuple(sites)),
            StreamSpec("text", "text", block_sites(depth, read), note=AFTER_OWN_NORM),
            *map(self._crossed, self.sides),
        )

    def _crossed(self, side: Side) -> StreamSpec:
        """``k.bridge`` is what enters block k, ``k.fusion`` what it has read of the other side."""
        width = self.model.config.hidden_size
        sites: list[Site] = [Site(0, width)]
        meets: list[Meet] = []
        for k in range(1, len(side.blocks) + 1):
            if k > 1:
                sites.append(Site(k, width, "bridge"))
                meets.append(Meet(k, "add", side.tower, f"{k}.bridge"))
            sites += [Site(k, width, "fusion"), Site(k, width)]
            meets.append(Meet(k, "cross", side.reads, f"{k}.fusion"))
        sites.append(Site(k, width, "pooled", pooled=True))
        return StreamSpec(side.name, side.tower, tuple(sites), tuple(meets), note=AFTER_OWN_NORM)

    def points(self) -> dict[LayerRef, Point]:
        """The image tower has its tokens before its samples; one norm runs for every bridge."""
        norm = self.model.vision_model.visual.ln_post
        entering = TokensFirst(Argument(0, "hidden_state"))
        places = {LayerRef("vision", 0): Point(self.patches[0], "input", select=entering)}
        for k, block in enumerate(self.patches, start=1):
            places[LayerRef("vision", k)] = Point(block, select=TokensFirst())
            if k in self.bridged:
                places[LayerRef("vision", k, "norm")] = Point(norm, call=k - self.bridged[0])
        places |= block_points("text", self.words)
        for side in self.sides:
            places[LayerRef(side.name, 0)] = Point(side.entry)
            for k, block in enumerate(side.blocks, start=1):
                if k > 1:
                    places[LayerRef(side.name, k, "bridge")] = Point(side.bridges[k - 2])
                places[LayerRef(side.name, k, "fusion")] = Point(block.crossattention)
                places[LayerRef(side.name, k)] = Point(block)
            places[LayerRef(side.name, k, "pooled")] = Point(side.pooler, select=Pooled())
        return places

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """The image tower asks for no maps, so that they are computed once more."""
        maps = {
            AttentionKey(LayerRef("vision", k), "vision"): AttentionPoint(
                block.attn, ("vision",), ("vision",), partial(_weights, block.attn), "input"
            )
            for k, block in enumerate(self.patches, start=1)
        }
        maps |= self_attention("text", [layer.attention.self for layer in self.words])
        for side in self.sides:
            maps |= self_attention(side.name, [block.attention.self for block in side.blocks])
            for k, block in enumerate(side.blocks, start=1):
                maps[AttentionKey(LayerRef(side.name, k, "fusion"), side.reads)] = AttentionPoint(
                    block.crossattention.self, (side.name,), (side.reads,), item(1)
                )
        return maps

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What the tower or the cross-attention would add becomes zero."""
        (side,) = (side for side in self.sides if side.name == stream)
        if meet.how == "add":
            return (Rewrite(side.bridges[meet.layer - 2], _without_tower, "input"),)
        return (silenced(side.blocks[meet.layer - 1].crossattention.output.dense),)

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """A square of patches after a class token; positions count from the padding's id on."""
        self.require(samples)
        config, tokenizer = self.model.config, self.processor.tokenizer
        limit = config.text_config.max_position_embeddings - config.text_config.pad_token_id - 1
        texts = tokenize(tokenizer, [sample.text for sample in samples], limit)
        processor = self.processor.image_processor
        pixels = processor([s.images[0] for s in samples], return_tensors="pt")["pixel_values"]
        rows, columns = (size // config.vision_config.patch_size for size in pixels.shape[2:])
        vision = patch_roles(len(samples), rows * columns, (Role.SUMMARY,))
        text = text_roles(texts.ids, texts.mask, special_ids(tokenizer), "first")
        boxes = self._boxes(samples, rows, columns)
        return Inputs(
            {"input_ids": texts.ids, "attention_mask": texts.mask, "pixel_values": pixels},
            {"vision": vision, "text": text, "crossed_vision": vision, "crossed_text": text},
            {
                "vision": boxes,
                "crossed_vision": boxes,
                "text": texts.spans,
                "crossed_text": texts.spans,
            },
            {"text": texts.cut},
        )

    def _boxes(self, samples: Sequence[Sample], rows: int, columns: int) -> Origins:
        """Boxes of patches after a class token, through the processor's own resizing."""
        sizes = [sample.images[0].size for sample in samples]
        grids = [grid_boxes(self._seen(size), rows, columns, size) for size in sizes]
        return box_origins(grids, 1, 1 + rows * columns)

    def _seen(self, size: tuple[int, int]) -> Box:
        """What of an image of ``size`` (width, height) becomes the model's input."""
        processor = self.processor.image_processor
        shorter, crop = processor.size["shortest_edge"], processor.crop_size["shortest_edge"]
        down, across = get_resize_output_image_size(
            torch.empty(3, size[1], size[0], device="meta"),
            shorter=shorter,
            longer=int(1333 / 800 * shorter),
            size_divisor=processor.size_divisor,
        )
        return centre_region(size, (across, down), (crop, crop))

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Both summaries after one another, from which the heads of pretraining read."""
        return {"pooled_output": self.model(**inputs.tensors).pooler_output}


@dataclass(frozen=True)
class TokensFirst:
    """(T, B, d) as (B, T, d)."""

    inner: Select = FIRST

    def read(self, value: Any, inputs: Inputs) -> Tensor:
        """The samples' tokens."""
        return self.inner.read(value, inputs).transpose(0, 1)

    def write(self, value: Any, tokens: Tensor, inputs: Inputs) -> Any:
        """The tokens' samples."""
        return self.inner.write(value, tokens.transpose(0, 1), inputs)


def _weights(attention: Any, value: Arguments) -> Tensor:
    """(B, heads, T, T) of a ``MultiheadAttention`` that was called with (T, B, d)."""
    tokens = value[0][0]
    weights: Tensor
    _, weights = attention.forward(tokens, tokens, tokens, average_attn_weights=False)
    return weights


def _without_tower(value: Arguments, inputs: Inputs) -> Arguments:
    """The bridge's arguments with zeros in the tower's place."""
    args, kwargs = value
    return (torch.zeros_like(args[0]), *args[1:]), kwargs
