"""BLIP: a text transformer that reads an image tower in every block (Li et al. 2022).

Facts are from transformers 5.23: ``BlipForImageTextRetrieval.forward`` (matching: words see each
other both ways, the first token is judged), ``BlipForConditionalGeneration.forward`` (captions: a
causal text), ``BlipTextLayer.forward`` (cross-attention behind self-attention, each with a norm),
``BlipVisionModel.forward`` (the final norm runs twice, the second time over the class token),
``BlipForConditionalGeneration.generate`` (a caption begins with the configuration's BOS, which
stands where the tokenizer puts its class token).
To search, the same retrieval model compares class token and first word, the text read by itself
(``forward`` with ``use_itm_head=False``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import AttentionKey, Embedder, Inputs
from backend.models.families.base import (
    Released,
    block_points,
    block_sites,
    fusion_sites,
    item,
    meets,
    self_attention,
    silenced,
)
from backend.models.images import patch_roles
from backend.models.loading import Checkpoint
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import Argument, AttentionPoint, Point, Rewrite
from backend.models.roles import Role
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import LayerRef, Meet, Site, StreamSpec

_RETRIEVAL, _CAPTION = "BlipForImageTextRetrieval", "BlipForConditionalGeneration"


class Blip(Released):
    """Matching reads a text at its first token, captioning goes on after its last.

    Which of them a checkpoint is for is what its configuration says under ``architectures``.
    """

    family = "blip"
    model_class = _RETRIEVAL

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> Self:
        """InputError for a checkpoint that is for something else, such as answering questions."""
        named = checkpoint.config.get("architectures")
        known = [name for name in (_RETRIEVAL, _CAPTION) if named == [name]]
        if not known:
            raise InputError(
                f"this BLIP is neither for matching nor for captions (architectures: {named})",
                where=checkpoint.where,
                hint=f"Supported: {_RETRIEVAL}, {_CAPTION}.",
            )
        model = checkpoint.weights(known[0], ignored_keys=cls.ignored_keys)
        return cls(model, cls.processor_of(checkpoint), checkpoint.name)

    def describe(self) -> None:
        """``k.fusion`` is what the cross-attention gives, with its norm, in block k."""
        model, config = self.model, self.model.config
        self.causal = hasattr(model, "text_decoder")
        self.trunk: Any = model.text_decoder.bert if self.causal else model.text_encoder
        self.patches = model.vision_model.encoder.layers
        self.words = self.trunk.encoder.layer
        seen, depth = config.vision_config.hidden_size, len(self.patches)
        reading = range(1, len(self.words) + 1)
        self.streams = (
            StreamSpec("vision", "vision", block_sites(depth, seen, Site(depth, seen, "norm"))),
            StreamSpec(
                "text",
                "text",
                fusion_sites(len(self.words), config.text_config.hidden_size, reading),
                meets("cross", "vision", reading, "fusion"),
                note=AFTER_OWN_NORM,
            ),
        )

    def points(self) -> dict[LayerRef, Point]:
        """The tower's final norm is read where it enters the text's part."""
        places = block_points("vision", self.patches) | block_points("text", self.words)
        entering = Argument(4, "encoder_hidden_states")
        norm = Point(self.trunk, "input", select=entering)
        places[LayerRef("vision", len(self.patches), "norm")] = norm
        for k, layer in enumerate(self.words, start=1):
            places[LayerRef("text", k, "fusion")] = Point(layer.crossattention)
        return {ref: places[ref] for spec in self.streams for ref in spec.refs}

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention of both, and what every word sees of the image."""
        maps = self_attention("vision", [block.self_attn for block in self.patches])
        maps |= self_attention("text", [layer.attention.self for layer in self.words])
        for k, layer in enumerate(self.words, start=1):
            maps[AttentionKey(LayerRef("text", k, "fusion"), "vision")] = AttentionPoint(
                layer.crossattention.self, ("text",), ("vision",), item(1)
            )
        return maps

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What the cross-attention adds becomes zero."""
        return (silenced(self.words[meet.layer - 1].crossattention.output.dense),)

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """The head that writes captions, which begins with a layer of its own."""
        if not self.causal:
            return None
        head: Callable[[Tensor], Tensor] = self.model.text_decoder.cls
        return head

    def embedders(self) -> Mapping[str, Embedder]:
        """Image and text apart, each through a projection; a model for captions has none."""
        if self.causal:
            return {}
        model = self.model

        def seen(inputs: Inputs) -> Tensor:
            tokens = model.vision_model(**inputs.tensors).last_hidden_state
            vectors: Tensor = model.vision_proj(tokens[:, 0])
            return vectors

        def read(inputs: Inputs) -> Tensor:
            tokens = model.text_encoder(**inputs.tensors).last_hidden_state
            vectors: Tensor = model.text_proj(tokens[:, 0])
            return vectors

        return {
            "vision": Embedder(self._encode_vision, seen),
            "text": Embedder(self._encode_text, read),
        }

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """A square of patches after a class token; the text, for captions without its end."""
        self.require(samples)
        vision, text = self._encode_vision(samples), self._encode_text(samples)
        return Inputs(
            text.tensors | vision.tensors,
            vision.roles | text.roles,
            vision.origins | text.origins,
            text.cut,
        )

    def _encode_vision(self, samples: Sequence[Sample]) -> Inputs:
        config, processor = self.model.config, self.processor.image_processor
        pixels = processor([s.images[0] for s in samples], return_tensors="pt")["pixel_values"]
        rows, columns = (size // config.vision_config.patch_size for size in pixels.shape[2:])
        prefix = (Role.SUMMARY,)
        return Inputs(
            {"pixel_values": pixels},
            {"vision": patch_roles(len(samples), rows * columns, prefix)},
            {"vision": self.image_boxes(samples, processor, rows, columns, len(prefix))},
        )

    def _encode_text(self, samples: Sequence[Sample]) -> Inputs:
        config, tokenizer = self.model.config, self.processor.tokenizer
        texts = tokenize(
            tokenizer, [s.text for s in samples], config.text_config.max_position_embeddings
        )
        ids, mask, special = texts.ids, texts.mask, special_ids(tokenizer)
        if self.causal:
            ends = (ids == tokenizer.sep_token_id) & mask.bool()
            mask = mask * ~ends
            begin = config.text_config.bos_token_id
            special = [*special, begin]
            ids = ids.clone()
            ids[torch.arange(len(ids)), mask.argmax(dim=1)] = begin
        summary: Literal["first", "last"] = "last" if self.causal else "first"
        return Inputs(
            {"input_ids": ids, "attention_mask": mask},
            {"text": text_roles(ids, mask, special, summary)},
            {"text": texts.spans},
            {"text": texts.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Whether image and text match (no, yes), or the logits of the caption's next word."""
        if not self.causal:
            return {"match_logits": self.model(**inputs.tensors).itm_score}
        mask = inputs.tensors["attention_mask"]
        last = torch.where(mask.bool(), torch.arange(mask.shape[1], device=mask.device), -1).amax(
            dim=1
        )
        logits = self.model(**inputs.tensors).logits
        return {"next_token_logits": logits[torch.arange(len(last), device=last.device), last]}
