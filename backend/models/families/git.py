"""GIT: an image's tokens before a text that is read and gone on with causally (Wang et al. 2022).

Facts are from transformers 5.23: ``GitModel.forward`` (the tower's tokens, its class token among
them, stand before the text's without placeholders; they see each other both ways and no text),
``GitVisionTransformer.forward`` (a norm after the last block), ``GitLayer`` (norms within).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from backend.data.sample import Sample
from backend.models.adapter import AttentionKey, Inputs
from backend.models.families.base import (
    Released,
    block_points,
    block_sites,
    meets,
    self_attention,
    unseen,
)
from backend.models.families.image_tokens import LANGUAGE_MODEL
from backend.models.families.pictures import unsummed
from backend.models.families.stacks import prefix_roles, stack
from backend.models.images import patch_roles
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import AttentionPoint, Point, Rewrite
from backend.models.roles import Origins, elsewhere
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import LayerRef, Meet, Site, StreamSpec


class Git(Released):
    """``vision`` is the tower, ``image`` and ``text`` are one sequence of the decoder."""

    family = "git"
    model_class = "GitForCausalLM"

    def describe(self) -> None:
        """The text reads the image in every block; the image never reads the text."""
        model, config = self.model.git, self.model.config
        self.tower = stack(model.image_encoder, config.vision_config)
        self.prefix = prefix_roles(model.image_encoder)
        self.layers = list(model.encoder.layer)
        depth, seen = self.tower.depth, self.tower.width
        sites = block_sites(len(self.layers), config.hidden_size)
        read = meets("joint", "image", range(1, len(self.layers) + 1))
        self.streams = (
            StreamSpec("vision", "vision", block_sites(depth, seen, Site(depth, seen, "norm"))),
            StreamSpec(
                "image",
                "image",
                sites,
                poolings=("mean",),
                note=AFTER_OWN_NORM,
                space=LANGUAGE_MODEL,
            ),
            StreamSpec("text", "text", sites, read, note=AFTER_OWN_NORM, space=LANGUAGE_MODEL),
        )

    def points(self) -> dict[LayerRef, Point]:
        """One hidden state of the decoder serves both of its streams."""
        norm = Point(self.model.git.image_encoder.vision_model.post_layernorm)
        return {
            **block_points("vision", self.tower.blocks),
            LayerRef("vision", self.tower.depth, "norm"): norm,
            **block_points("image", self.layers),
            **block_points("text", self.layers),
        }

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention of the tower, of both streams, and of the text to the image."""
        maps = self_attention("vision", self.tower.attention)
        shared = self_attention(("image", "text"), [layer.attention.self for layer in self.layers])
        for key, point in shared.items():
            if (key.ref.stream, key.reads) != ("image", "text"):
                maps[key] = point
        return maps

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """The words no longer see the image in this block."""
        return (unseen(self.layers[meet.layer - 1], stream, meet.reads),)

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """The output layer: the last block ends with a norm."""
        head: Callable[[Tensor], Tensor] = self.model.output
        return head

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """A square of patches after a class token; the text without its end."""
        self.require(samples)
        config, tokenizer = self.model.config, self.processor.tokenizer
        texts = tokenize(tokenizer, [s.text for s in samples], config.max_position_embeddings)
        mask = texts.mask * ~((texts.ids == tokenizer.sep_token_id) & texts.mask.bool())
        processor = self.processor.image_processor
        pixels = processor([s.images[0] for s in samples], return_tensors="pt")["pixel_values"]
        rows, columns = (size // config.vision_config.patch_size for size in pixels.shape[2:])
        first, count = len(self.prefix), rows * columns
        text = text_roles(texts.ids, mask, special_ids(tokenizer), "last")
        image = patch_roles(len(samples), count, unsummed(self.prefix))
        boxes, words = self.image_boxes(samples, processor, rows, columns, first), text.shape[1]
        places = np.pad(boxes.values, ((0, 0), (0, words), (0, 0)), constant_values=np.nan)
        spans = np.pad(texts.spans.values, ((0, 0), (first + count, 0), (0, 0)), constant_values=-1)
        return Inputs(
            {"input_ids": texts.ids, "attention_mask": mask, "pixel_values": pixels},
            {
                "vision": patch_roles(len(samples), count, self.prefix),
                "image": torch.cat([image, elsewhere(text)], dim=1),
                "text": pad(text, (first + count, 0)),
            },
            {
                "vision": boxes,
                "image": Origins("box", places, np.zeros(places.shape[:2], dtype=np.int32)),
                "text": Origins("span", spans),
            },
            {"text": texts.cut},
        )

    def token_ids(self, inputs: Inputs, stream: str) -> Tensor | None:
        """Padding where the image's tokens stand, which are no words."""
        ids = inputs.tensors["input_ids"]
        before = inputs.roles["text"].shape[1] - ids.shape[1]
        return pad(ids, (before, 0), value=self.model.config.pad_token_id)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits of the word that comes next, after each text."""
        mask = inputs.tensors["attention_mask"]
        places = torch.where(mask.bool(), torch.arange(mask.shape[1], device=mask.device), -1)
        before = inputs.roles["text"].shape[1] - mask.shape[1]
        rows, last = torch.arange(len(mask), device=mask.device), before + places.amax(dim=1)
        out = self.model(**inputs.tensors, use_cache=False)
        return {"next_token_logits": out.logits[rows, last]}
