"""BLIP-2: learned queries read a tower and go before a language model's text (Li et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

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
from backend.models.families.base import item, meets, self_attention, silenced
from backend.models.families.image_tokens import Parts, SquareImages
from backend.models.families.pictures import Picture
from backend.models.families.prompting import TEXT
from backend.models.images import patch_roles
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import Argument, AttentionPoint, Point, Rewrite
from backend.models.roles import Role
from backend.models.texts import Prompted
from backend.types import LayerRef, Meet, Site, StreamSpec


class Blip2(SquareImages):
    """``query`` are the learned tokens in the Q-Former, ``image`` what becomes of them.

    The language model is a causal one (OPT) or the encoder of an encoder-decoder (T5), in which
    image and text see each other; ``answer`` is then the decoder's start token.
    """

    family = "blip-2"
    model_class = "Blip2ForConditionalGeneration"
    parts = Parts("vision_model", "language_model", ("language_projection",))
    leading = True
    most_images = 1
    default_template = "{image}{text}"  # the bare text: what the model was trained to go on with

    def describe(self) -> None:
        """The Q-Former has cross-attention in some of its layers."""
        self.bidirectional = not self.model.config.use_decoder_only_language_model
        self.queries = list(self.model.qformer.encoder.layer)
        self.unsupported = {
            "origins": "A query token, and so an image token, is made of the whole image."
        }
        super().describe()
        if self.bidirectional:
            self.answers = list(self.model.language_model.decoder.block)
            self.speaking = ANSWER
            self.streams = (*self.streams, answer_stream(len(self.answers), self.language.width))

    def points(self) -> dict[LayerRef, Point]:
        """Those of a decoder come last."""
        places = super().points()
        if self.bidirectional:
            crossed = [block.layer[1] for block in self.answers]
            places |= answer_points(self.answers, crossed)
        return {ref: places[ref] for spec in self.streams for ref in spec.refs}

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """A decoder's, too."""
        maps = super().attention()
        if self.bidirectional:
            maps |= answer_attention(
                [block.layer[0].SelfAttention for block in self.answers],
                [block.layer[1].EncDecAttention for block in self.answers],
                self.language.names.index or 0,
            )
        return maps

    def language_model(self) -> nn.Module:
        """All of a causal model, the encoder of another."""
        model: nn.Module = self.model.language_model
        encoder: nn.Module = self.model.language_model.get_encoder()
        return encoder if self.bidirectional else model

    def prompt(self, images: int) -> tuple[str, str]:
        """What the template says: this model has no chat format."""
        before, _, after = self.template.format(image=self.mark, text=TEXT).partition(TEXT)
        return before, after

    def tower_sites(self) -> tuple[Site, ...]:
        """The Q-Former reads the tower after its final norm."""
        return (Site(self.tower.depth, self.tower.width, "norm"),)

    def tower_named(self) -> dict[LayerRef, Point]:
        """Read where it enters the Q-Former: the model norms a pooled vector with the same norm."""
        entering = Argument(4, "encoder_hidden_states")
        ref = LayerRef("vision", self.tower.depth, "norm")
        return {ref: Point(self.model.qformer, "input", select=entering)}

    def between(self) -> tuple[StreamSpec, ...]:
        """``query`` reads vision by cross-attention, in every layer that has one."""
        width = self.model.config.qformer_config.hidden_size
        sites = [Site(0, width)]
        for k, layer in enumerate(self.queries, start=1):
            sites += [Site(k, width, "fusion")] if layer.has_cross_attention else []
            sites.append(Site(k, width))
        reading = [k for k, layer in enumerate(self.queries, 1) if layer.has_cross_attention]
        read = meets("cross", "vision", reading, "fusion")
        return (StreamSpec("query", "query", tuple(sites), read, ("mean",), AFTER_OWN_NORM),)

    def between_points(self) -> dict[LayerRef, Point]:
        """``k.fusion`` is what the cross-attention gives, before the rest of layer k."""
        found = {LayerRef("query", 0): Point(self.queries[0], "input")}
        for k, layer in enumerate(self.queries, start=1):
            if layer.has_cross_attention:
                found[LayerRef("query", k, "fusion")] = Point(layer.crossattention)
            found[LayerRef("query", k)] = Point(layer)
        return found

    def between_attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention of the queries, and theirs to the patches."""
        found = self_attention("query", [layer.attention.attention for layer in self.queries])
        for k, layer in enumerate(self.queries, start=1):
            if layer.has_cross_attention:
                found[AttentionKey(LayerRef("query", k, "fusion"), "vision")] = AttentionPoint(
                    layer.crossattention.attention, ("query",), ("vision",), item(1)
                )
        return found

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What the Q-Former's cross-attention adds becomes zero."""
        if stream == "query":
            return (silenced(self.queries[meet.layer - 1].crossattention.output.dense),)
        if stream == ANSWER:
            attention = self.answers[meet.layer - 1].layer[1].EncDecAttention
            return unread(attention, meet.reads, self.language.names.mask)
        return super().cut(stream, meet)

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """A decoder's final norm, the scale that goes with tied weights, and the output layer."""
        if not self.bidirectional:
            return super().unembedding()
        t5 = self.model.language_model
        scale = t5.model_dim**-0.5 if t5.config.scale_decoder_outputs else 1.0
        return lambda tokens: t5.lm_head(t5.decoder.final_layer_norm(tokens) * scale)

    def token_ids(self, inputs: Inputs, stream: str) -> Tensor | None:
        """The answer's are the decoder's."""
        return inputs.tensors["decoder_input_ids" if stream == ANSWER else "input_ids"]

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """With the one token of the answer, where there is a decoder."""
        inputs = super().encode(samples)
        if not self.bidirectional:
            return inputs
        return replace(inputs, roles={**inputs.roles, ANSWER: answer_roles(len(samples))})

    def row(self, tower: Sequence[Role], boxes: np.ndarray) -> tuple[list[Role], np.ndarray | None]:
        """As many as there are queries, whatever the image's size."""
        return [Role.CONTENT] * self.model.config.num_query_tokens, None

    def positions(self, tokens: Prompted) -> dict[str, Tensor]:
        """A decoder needs a first token; OPT counts positions itself."""
        if not self.bidirectional:
            return {}
        start = self.model.config.text_config.decoder_start_token_id
        return {"decoder_input_ids": torch.full((len(tokens.ids), 1), start)}

    def between_roles(self, seen: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """Every query is content."""
        return {"query": patch_roles(len(seen), self.model.config.num_query_tokens)}

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits of the next word: the decoder's first one, where there is a decoder."""
        if not self.bidirectional:
            return super().forward(inputs)
        out = self.model(**inputs.tensors, use_cache=False)
        return {"next_token_logits": out.logits[:, -1]}
