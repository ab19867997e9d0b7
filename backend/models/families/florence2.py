"""Florence-2: a shrinking tower's map and a text in one encoder, read by a decoder (Xiao 2024).

Facts are from transformers 5.23: ``Florence2VisionBackbone.forward`` (DaViT: stages of blocks, each
with attention within windows and over channels, a convolution that shrinks the map before each),
``Florence2MultiModalProjector.forward`` (the map's mean goes before its cells),
``Florence2Processor.prepare_inputs_layout`` (the image, BOS, the text, EOS), ``BartDecoderLayer``
(every attention ends with a norm).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from backend.data.sample import Sample
from backend.models.adapter import AttentionKey, Inputs
from backend.models.families.answers import (
    ANSWER,
    answer_attention,
    answer_points,
    answer_roles,
    answer_stream,
    unread,
)
from backend.models.families.base import MASK, block_points
from backend.models.families.image_tokens import Parts, SquareImages
from backend.models.families.maps import ON_LAST_GRID, Cells
from backend.models.families.stacks import AttentionNames, Stack
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import AttentionPoint, Point, Rewrite
from backend.models.roles import Role
from backend.models.texts import Prompted
from backend.types import LayerRef, Meet, Site


class Florence2(SquareImages):
    """``image`` and ``text`` are the encoder's, ``answer`` is the decoder's start token.

    Every map of the tower is read as the cells of its last one.
    """

    family = "florence2"
    model_class = "Florence2ForConditionalGeneration"
    parts = Parts("model.vision_tower", "model.language_model.encoder")
    bidirectional = True
    most_images = 1
    speaking = ANSWER

    def describe(self) -> None:
        """Blocks of several widths; the decoder takes the image and the text in."""
        super().describe()
        self.unsupported = {
            "attention of vision": "The tower attends within windows and over channels.",
            "origins of answer": "The decoder's start token is no part of the text.",
        }
        self.answers = list(self.model.model.language_model.decoder.layers)
        config = self.model.config.vision_config
        widths = [config.embed_dim[0]]
        for width, depth in zip(config.embed_dim, config.depths, strict=True):
            widths += [width] * depth
        vision, image, text = self.streams
        self.streams = (
            replace(
                vision,
                sites=tuple(Site(k, width) for k, width in enumerate(widths)),
                note=ON_LAST_GRID,
            ),
            replace(image, note=AFTER_OWN_NORM),
            replace(text, note=AFTER_OWN_NORM),
            answer_stream(len(self.answers), self.language.width, AFTER_OWN_NORM),
        )

    def tower_stack(self) -> Stack:
        """The blocks of all stages after one another."""
        tower = self.model.model.vision_tower
        blocks = tuple(block for stage in tower.blocks for block in stage)
        none = AttentionNames("", index=None)
        return Stack(blocks, (), none, None, self.model.config.vision_config.embed_dim[-1])

    def points(self) -> dict[LayerRef, Point]:
        """Maps as cells; ``k.fusion`` is after the norm that ends the cross-attention."""
        places = {
            ref: replace(point, select=Cells(point.selection))
            for ref, point in block_points("vision", self.tower.blocks).items()
        }
        for ref, point in super().points().items():
            if ref.stream != "vision":
                places[ref] = point
        crossed = [layer.encoder_attn_layer_norm for layer in self.answers]
        places |= answer_points(self.answers, crossed)
        return {ref: places[ref] for spec in self.streams for ref in spec.refs}

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention of encoder and decoder, and what the decoder sees of the encoder."""
        return super().attention() | answer_attention(
            [layer.self_attn for layer in self.answers],
            [layer.encoder_attn for layer in self.answers],
        )

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """The decoder no longer sees the image, or the text; where it sees neither, it adds 0."""
        if stream != ANSWER:
            return super().cut(stream, meet)
        return unread(self.answers[meet.layer - 1].encoder_attn, meet.reads, MASK)

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """The output layer: the decoder's last block ends with a norm."""
        head: Callable[[Tensor], Tensor] = self.model.get_output_embeddings()
        return head

    def prompt(self, images: int) -> tuple[str, str]:
        """The image, BOS, the text and EOS, as the model was trained."""
        tokenizer = self.processor.tokenizer
        return f"{self.mark}{tokenizer.bos_token}", str(tokenizer.eos_token)

    @property
    def side(self) -> int:
        """By how much all stages shrink the image."""
        return prod(self.model.config.vision_config.patch_stride)

    def row(self, tower: Sequence[Role], boxes: np.ndarray) -> tuple[list[Role], np.ndarray | None]:
        """The mean of all cells, then the cells."""
        nowhere = np.full((1, 4), np.nan)
        return [Role.SPECIAL, *tower], np.concatenate([nowhere, boxes])

    def positions(self, tokens: Prompted) -> dict[str, Tensor]:
        """The encoder counts positions itself; the decoder needs a first token."""
        start = self.model.config.text_config.decoder_start_token_id
        return {"decoder_input_ids": torch.full((len(tokens.ids), 1), start)}

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """As for others, with the one token of the answer, by which it is read."""
        inputs = super().encode(samples)
        return replace(inputs, roles={**inputs.roles, ANSWER: answer_roles(len(samples))})

    def token_ids(self, inputs: Inputs, stream: str) -> Tensor | None:
        """The answer's are the decoder's."""
        return inputs.tensors["decoder_input_ids" if stream == ANSWER else "input_ids"]

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits of the answer's first word."""
        out = self.model(**inputs.tensors, use_cache=False)
        return {"next_token_logits": out.logits[:, -1]}
