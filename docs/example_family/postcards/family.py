"""Postcards: words that look at a picture through one gated bridge."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fusionscope.data import Sample
from fusionscope.models import (
    AttentionKey,
    AttentionPoint,
    Inputs,
    Point,
    Released,
    Rewrite,
    block_points,
    block_sites,
    fusion_sites,
    item,
    meets,
    patch_roles,
    self_attention,
    silenced,
    special_ids,
    text_roles,
    tokenize,
)
from fusionscope.types import LayerRef, Meet, Site, StreamSpec
from postcards.model import PostcardModel


class Postcards(Released):
    """Text is read at its first token; the picture has no summary token, only patches."""

    family = "postcards"
    model_class = PostcardModel

    def describe(self) -> None:
        """Two towers of one depth and width; text takes the picture in at the bridge."""
        config = self.model.config
        depth, width = config.num_hidden_layers, config.hidden_size
        self.bridge = config.bridge_layer
        self.streams = (
            StreamSpec("vision", "vision", block_sites(depth, width), poolings=("mean",)),
            StreamSpec(
                "text",
                "text",
                fusion_sites(depth, width, [self.bridge], Site(depth, width, "norm")),
                meets("gated", "vision", [self.bridge], "fusion"),
            ),
        )

    def points(self) -> dict[LayerRef, Point]:
        """The blocks of both towers, the bridge and the final norm, in the streams' order."""
        model = self.model
        places = {
            **block_points("vision", model.vision_blocks),
            **block_points("text", model.text_blocks),
            LayerRef("text", self.bridge, "fusion"): Point(model.bridge),
            LayerRef("text", len(model.text_blocks), "norm"): Point(model.norm),
        }
        return {ref: places[ref] for spec in self.streams for ref in spec.refs}

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Token ids and pixels; what each token is, and where it comes from."""
        self.require(samples)
        config, tokenizer = self.model.config, self.processor.tokenizer
        texts = tokenize(tokenizer, [s.text for s in samples], config.max_position_embeddings)
        processor = self.processor.image_processor
        pixels = processor([s.images[0] for s in samples], return_tensors="pt")["pixel_values"]
        side = config.image_size // config.patch_size
        return Inputs(
            {"input_ids": texts.ids, "attention_mask": texts.mask, "pixel_values": pixels},
            {
                "vision": patch_roles(len(samples), side * side),
                "text": text_roles(texts.ids, texts.mask, special_ids(tokenizer), "first"),
            },
            {
                "vision": self.image_boxes(samples, processor, side, side, prefix=0),
                "text": texts.spans,
            },
            {"text": texts.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Whether the text belongs to the picture."""
        return {"logits": self.model(**inputs.tensors).logits}

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention of both towers, and what the words look at."""
        model = self.model
        return {
            **self_attention("vision", [block.attention for block in model.vision_blocks]),
            **self_attention("text", [block.attention for block in model.text_blocks]),
            AttentionKey(LayerRef("text", self.bridge, "fusion"), "vision"): AttentionPoint(
                model.bridge.attention, ("text",), ("vision",), item(1)
            ),
        }

    def gates(self) -> dict[LayerRef, Tensor]:
        """The hyperbolic tangent that multiplies what comes over the bridge."""
        gate = self.model.bridge.gate.detach().tanh()
        return {LayerRef("text", self.bridge, "fusion"): gate}

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What the words see of the picture becomes zero; they themselves go over the bridge."""
        return (silenced(self.model.bridge.attention),)
