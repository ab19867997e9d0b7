"""Whisper: a text decoder that reads an audio encoder in every layer (Radford et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import AttentionKey, Inputs
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
from backend.models.points import AttentionPoint, Point, Rewrite
from backend.models.roles import Role
from backend.models.sounds import at_rate, moments
from backend.models.texts import Prompt, prompt_roles, special_ids, tokenize_prompts
from backend.types import LayerRef, Meet, Site, StreamSpec


class Whisper(Released):
    """The sample's text is what the decoder has said so far: start tokens, a space, the text.

    The space is how the words that it was trained on begin; without it the first is a surprise.
    The encoder takes 30 s and no mask: silence that was appended to a recording is read like the
    rest. Its tokens are special, so that means are over the recording alone.
    """

    family = "whisper"
    model_class = "WhisperForConditionalGeneration"
    needs: ClassVar[frozenset[str]] = frozenset({"audio", "text"})
    text_ids = "decoder_input_ids"

    def describe(self) -> None:
        """Blocks of both sides, what follows cross-attention, and the final norms."""
        config = self.model.config
        trunk = getattr(self.model, "model", self.model)
        self.encoder, self.decoder = trunk.encoder, trunk.decoder
        width, heard, said = config.d_model, config.encoder_layers, config.decoder_layers
        reading = range(1, said + 1)
        self.streams = (
            StreamSpec(
                "audio",
                "audio",
                block_sites(heard, width, Site(heard, width, "norm")),
                poolings=("mean",),
            ),
            StreamSpec(
                "text",
                "text",
                fusion_sites(said, width, reading, Site(said, width, "norm")),
                meets("cross", "audio", reading, "fusion"),
            ),
        )

    def points(self) -> dict[LayerRef, Point]:
        """``k.fusion`` is the residual stream after cross-attention, before the block's MLP."""
        audio, text = self.streams
        blocks = block_points("text", self.decoder.layers)
        places = {
            **block_points("audio", self.encoder.layers),
            LayerRef("audio", audio.depth, "norm"): Point(self.encoder.layer_norm),
            LayerRef("text", 0): blocks[LayerRef("text", 0)],
        }
        for k, layer in enumerate(self.decoder.layers, start=1):
            entering = Point(layer.encoder_attn_layer_norm, "input")
            places[LayerRef("text", k, "fusion")] = Point(layer.encoder_attn, residual=entering)
            places[LayerRef("text", k)] = blocks[LayerRef("text", k)]
        places[LayerRef("text", text.depth, "norm")] = Point(self.decoder.layer_norm)
        return places

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention of both sides, and every cross-attention."""
        return {
            **self_attention("audio", [layer.self_attn for layer in self.encoder.layers]),
            **self_attention("text", [layer.self_attn for layer in self.decoder.layers]),
            **{
                AttentionKey(LayerRef("text", k, "fusion"), "audio"): AttentionPoint(
                    layer.encoder_attn, ("text",), ("audio",), item(1)
                )
                for k, layer in enumerate(self.decoder.layers, start=1)
            },
        }

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What the cross-attention adds becomes zero."""
        return (silenced(self.decoder.layers[meet.layer - 1].encoder_attn),)

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """The decoder's final norm and the output layer, where the model has one."""
        head = getattr(self.model, "proj_out", None)
        return None if head is None else nn.Sequential(self.decoder.layer_norm, head)

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Log-mel features of 30 s, and the decoder's start tokens before the text's own."""
        self.require(samples)
        heard, spoken = self._heard(samples), self._spoken(samples)
        return Inputs(
            heard.tensors | spoken.tensors,
            heard.roles | spoken.roles,
            heard.origins | spoken.origins,
            heard.cut | spoken.cut,
        )

    def _heard(self, samples: Sequence[Sample]) -> Inputs:
        """The encoder's part of a batch."""
        extractor, tokens = self.processor.feature_extractor, self.model.config.max_source_positions
        rate = extractor.sampling_rate
        waves = [at_rate(sample.audio, rate) for sample in samples if sample.audio is not None]
        for row, wave in enumerate(waves):
            if not len(wave):
                raise InputError(
                    f"the recording of sample {row + 1} is empty", where=f"model {self.name}"
                )
        # one at a time: the filters' float32 sums would depend on the batch
        mels = [extractor(wave, sampling_rate=rate, return_tensors="pt") for wave in waves]
        step = extractor.n_samples / tokens
        lengths = [int(np.ceil(len(wave) / step)) for wave in waves]
        inside = torch.arange(tokens) < torch.tensor(lengths)[:, None]
        roles = torch.where(inside, int(Role.CONTENT), int(Role.SPECIAL)).to(torch.int8)
        durations = [len(wave) / rate for wave in waves]
        return Inputs(
            {"input_features": torch.cat([mel["input_features"] for mel in mels])},
            {"audio": roles},
            {"audio": moments(durations, tokens, step / rate)},
            {"audio": np.array([max(0, length - tokens) for length in lengths])},
        )

    def _spoken(self, samples: Sequence[Sample]) -> Inputs:
        """The decoder's part of a batch: no end token, which it predicts but never reads."""
        tokenizer = self.processor.tokenizer
        starts = tokenizer.prefix_tokens
        spoken = tokenize_prompts(
            tokenizer,
            [Prompt("" if s.text[:1].isspace() else " ", s.text) for s in samples],
            self.model.config.max_target_positions,
            lead=starts,
            add_special_tokens=False,
            padding_side="right",
        )
        elsewhere = torch.zeros_like(spoken.own)
        return Inputs(
            {"decoder_input_ids": spoken.ids, "decoder_attention_mask": spoken.mask},
            {"text": prompt_roles(spoken, special_ids(tokenizer), elsewhere)},
            {"text": spoken.spans},
            {"text": spoken.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """The next token's logits at every position of the text, where the model has a head."""
        out = self.model(**inputs.tensors, use_cache=False)
        return {"logits": out.logits} if "logits" in out else {}
