"""Stable Diffusion 3: patches and words in one attention, each with weights of its own.

Esser et al. 2024. Facts are from diffusers 0.42: ``JointTransformerBlock.forward`` (the last block
gives no words; step and summary modulate every block), ``JointAttnProcessor2_0`` (patches go before
words, nothing is masked), ``StableDiffusion3Pipeline.encode_prompt`` (two CLIPs beside each other
in the width, without their last block, then 256 tokens of T5, or of zeros where the pipeline has
none; the summary is both CLIPs' projected ones), ``FlowMatchEulerDiscreteScheduler`` (a step is a
share of the straight way to noise).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from backend.errors import InputError
from backend.models.adapter import AttentionKey, Inputs
from backend.models.denoisers.adapter import SPACE, Denoiser, filled_roles, text_points
from backend.models.denoisers.attention import Joint, shown
from backend.models.eager import eager_attention
from backend.models.families.base import block_sites, item, self_attention, unseen
from backend.models.images import patch_roles
from backend.models.points import (
    FIRST,
    Among,
    Argument,
    Arguments,
    AttentionPoint,
    Item,
    Point,
    Rewrite,
)
from backend.models.roles import Origins, Role, elsewhere
from backend.models.texts import tokenize
from backend.types import POOLINGS, LayerRef, Meet, Pooling, Site, StreamSpec

READERS = MappingProxyType(
    {"clip_l": "text_encoder", "clip_g": "text_encoder_2", "t5": "text_encoder_3"}
)
"""{stream: the folder of the encoder}, in the order in which the denoiser takes them."""
CLIPS = ("clip_l", "clip_g")
SUMMARY = "pooled"

_LONGEST_T5 = 256
_MASK = Argument(2, "attention_mask", optional=True)
_STEP = Argument(4, "emb")


class StableDiffusion3(Denoiser):
    """``text_tN`` are the words within the denoiser, ``pooled`` both CLIPs' summaries in one.

    The encoders are streams, too; nothing enters them. Many pipelines are kept without T5, the
    largest of them: nothing is read in its place.
    """

    family = "StableDiffusion3Pipeline"
    part = "transformer"
    part_class = "SD3Transformer2DModel"
    encoders = MappingProxyType(
        {
            "text_encoder": "CLIPTextModelWithProjection",
            "text_encoder_2": "CLIPTextModelWithProjection",
            "text_encoder_3": "T5EncoderModel",
        }
    )
    dispensable = MappingProxyType({"text_encoder_3": "tokenizer_3"})
    tokenizer_folders = ("tokenizer", "tokenizer_2", "tokenizer_3")
    scheduler = "FlowMatchEulerDiscreteScheduler"
    noise_settings = ("num_train_timesteps",)
    pads = True
    unsupported = MappingProxyType({f"origins of {SUMMARY}": "It sums up the whole text."})

    def longest(self) -> int:
        """77, as both tokenizers of the CLIPs say."""
        return self.most_tokens("text_encoder", "tokenizer")

    def describe(self) -> None:
        """Two streams a level, both CLIPs' summary, and three encoders."""
        self.blocks: list[Any] = list(self.model.transformer_blocks)
        self.readers = {
            stream: self.reader(folder)
            for stream, folder in READERS.items()
            if folder in self.parts
        }
        self.texts = {stream: stream.replace("vision", "text") for stream in self.steps}
        self._require_fitting()
        self.enters, self.leaves = nn.Identity(), nn.Identity()
        self.processors = [Joint() for _ in self.blocks]
        for block, processor in zip(self.blocks, self.processors, strict=True):
            block.attn.processor = processor
        widths = [self.readers[name].width for name in CLIPS], [self._projected(n) for n in CLIPS]
        summary = Site(0, sum(widths[0])), Site(1, sum(widths[1]))
        depth = len(self.blocks)
        self.streams = (
            *(self._denoised(stream, "vision", depth, text) for stream, text in self.texts.items()),
            *(
                self._denoised(text, "text", depth - 1, stream)
                for stream, text in self.texts.items()
            ),
            StreamSpec(SUMMARY, "text", summary, poolings=("cls",), note=_ONE_VECTOR),
            *(self._encoder(name, POOLINGS, _LEFT_OUT) for name in CLIPS),
            *(self._encoder(name, ("mean",), "") for name in self.readers if name not in CLIPS),
        )

    def _denoised(self, stream: str, modality: str, depth: int, reads: str) -> StreamSpec:
        meets = tuple(
            meet
            for k in range(1, depth + 1)
            for meet in (Meet(k, "joint", reads, str(k)), Meet(k, "modulated", SUMMARY, str(k)))
        )
        level = self.level_note(stream.replace("text", "vision"))
        space = SPACE if modality == "vision" else f"{SPACE}-text"
        sites = block_sites(depth, self.model.inner_dim)
        return StreamSpec(stream, modality, sites, meets, ("mean",), level, space)

    def _encoder(self, name: str, poolings: tuple[Pooling, ...], note: str) -> StreamSpec:
        depth, width = self.readers[name].depth, self.readers[name].width
        sites = block_sites(depth, width, Site(depth, width, "norm"))
        return StreamSpec(name, "text", sites, poolings=poolings, note=note)

    @property
    def side(self) -> int:
        """Patches along a side."""
        return int(self.model.config.sample_size // self.model.config.patch_size)

    def points(self) -> dict[LayerRef, Point]:
        """Patches and words come from a block apart, and are read at their places among both."""
        places: dict[LayerRef, Point] = {}
        for streams, before, entering, which in (
            (self.texts.keys(), 0, self.model.pos_embed, 1),
            (self.texts.values(), self.side**2, self.model.context_embedder, 0),
        ):
            for call, stream in enumerate(streams):
                for k in range(self.stream(stream).depth + 1):
                    module = self.blocks[k - 1] if k else entering
                    select = Among(stream, Item(which) if k else FIRST, before)
                    places[LayerRef(stream, k)] = Point(module, call=call, select=select)
        for k, port in enumerate((self.enters, self.leaves)):
            places[LayerRef(SUMMARY, k)] = Point(port)
        for name, reader in self.readers.items():
            places |= text_points(name, reader)
        return places

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """One map a block of patches and words, to both; of the words none where they end."""
        maps: dict[AttentionKey, AttentionPoint] = {}
        for call, both in enumerate(self.texts.items()):
            for k, processor in enumerate(self.processors, start=1):
                point = AttentionPoint(processor.map, both, both, item(0), call=call)
                for stream in both:
                    if k <= self.stream(stream).depth:
                        maps |= {AttentionKey(LayerRef(stream, k), reads): point for reads in both}
        for name, reader in self.readers.items():
            maps |= self_attention(name, reader.attention, reader.names.index or 1)
        return maps

    @contextmanager
    def showing_attention(self) -> Iterator[None]:
        """Attention written out, in the encoders and in the denoiser; then as before."""
        with ExitStack() as all_parts:
            for name in self.readers:
                encoder: Any = self.parts[READERS[name]]
                all_parts.enter_context(eager_attention(encoder))
            all_parts.enter_context(shown(self.processors))
            yield

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """The stream's tokens no longer see the other's; or the step alone modulates them."""
        block = self.blocks[meet.layer - 1]
        picture = stream in self.texts
        name = stream if picture else stream.replace("text", "vision")
        call = list(self.texts).index(name)
        if meet.how == "joint":
            return (unseen(block.attn, stream, meet.reads, _MASK, call),)
        embed, step = self.model.time_text_embed, self.steps[name]

        def without(value: Arguments, inputs: Inputs) -> Arguments:
            before = _STEP.read(value, inputs)
            steps = torch.full((len(before),), step, device=before.device)
            time = embed.timestep_embedder(embed.time_proj(steps).to(before.dtype))
            return _STEP.write(value, time, inputs)

        norm = block.norm1 if picture else block.norm1_context
        return (Rewrite(norm, without, "input", call),)

    def with_texts(self, inputs: Inputs, texts: Sequence[str]) -> Inputs:
        """The text for each encoder, and where its tokens stand beside the patches."""
        tensors, roles, origins = {}, {}, {}
        cut: dict[str, np.ndarray] = {}
        for name, tokenizer in zip(self.readers, self.tokenizers.values(), strict=True):
            limit = self.longest() if name in CLIPS else _LONGEST_T5
            tokens = tokenize(tokenizer, texts, limit, padding="max_length")
            summary = tokenizer.eos_token_id if name in CLIPS else None
            tensors[f"{name}_ids"], cut[name] = tokens.ids, tokens.cut
            roles[name] = filled_roles(tokens, tokenizer, summary)
            origins[name] = tokens.spans
        nothing = patch_roles(len(texts), 0, (Role.SPECIAL,) * _LONGEST_T5)
        nowhere = np.full((len(texts), _LONGEST_T5, 2), -1)
        words = torch.cat([_words(roles["clip_l"]), roles.get("t5", nothing)], dim=1)
        others = origins["t5"].values if "t5" in origins else nowhere
        spans = np.concatenate([origins["clip_l"].values, others], axis=1)
        cells, length = next(iter(inputs.roles.values())), words.shape[1]
        for stream, text in self.texts.items():
            roles[stream] = torch.cat([cells, elsewhere(words)], dim=1)
            roles[text] = pad(words, (cells.shape[1], 0))
            boxes = np.pad(
                inputs.origins[stream].values, ((0, 0), (0, length), (0, 0)), constant_values=np.nan
            )
            origins[stream] = Origins("box", boxes, np.zeros(boxes.shape[:2], dtype=np.int32))
            placed = np.pad(spans, ((0, 0), (cells.shape[1], 0), (0, 0)), constant_values=-1)
            origins[text] = Origins("span", placed)
        roles[SUMMARY] = patch_roles(len(texts), 0, (Role.SUMMARY,))
        return Inputs({**inputs.tensors, **tensors}, roles, origins, cut)

    def token_ids(self, inputs: Inputs, stream: str) -> Tensor | None:
        """The adapter's tokenizer is that of the first CLIP."""
        return inputs.tensors["clip_l_ids"] if stream == "clip_l" else None

    def read(self, inputs: Inputs) -> dict[str, Any]:
        """Both CLIPs before their last block, then T5; and the CLIPs' projected summaries."""
        clips: list[Any] = [self.parts[READERS[name]] for name in CLIPS]
        outs = [
            clip.text_model(inputs.tensors[f"{name}_ids"], output_hidden_states=True)
            for name, clip in zip(CLIPS, clips, strict=True)
        ]
        words = torch.cat([out.hidden_states[-2] for out in outs], dim=2)
        width = self.model.config.joint_attention_dim
        others = words.new_zeros(len(words), _LONGEST_T5, width)
        if "t5" in self.readers:
            t5: Any = self.parts[READERS["t5"]]
            others = t5(inputs.tensors["t5_ids"]).last_hidden_state
        summary = self.enters(torch.cat([out.pooler_output for out in outs], dim=1)[:, None])
        apart = summary[:, 0].split([self.readers[name].width for name in CLIPS], dim=1)
        projected = [clip.text_projection(own) for clip, own in zip(clips, apart, strict=True)]
        wide = pad(words, (0, width - words.shape[2]))
        return {
            "encoder_hidden_states": torch.cat([wide, others], dim=1),
            "pooled_projections": self.leaves(torch.cat(projected, dim=1)[:, None])[:, 0],
        }

    def noised(self, latents: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        """On the straight line between both."""
        share = (steps / self.noise_steps).to(latents.dtype)[:, None, None, None]
        return (1 - share) * latents + share * noise

    def _projected(self, clip: str) -> int:
        encoder: Any = self.parts[READERS[clip]]
        return int(encoder.config.projection_dim)

    def _require_fitting(self) -> None:
        """InputError where the encoders are not those that the denoiser was trained with."""
        config = self.model.config
        clips = sum(self.readers[name].width for name in CLIPS)
        t5 = self.readers["t5"].width if "t5" in self.readers else config.joint_attention_dim
        pooled = sum(map(self._projected, CLIPS))
        lengths = {self.longest(), self.most_tokens("text_encoder_2", "tokenizer_2")}
        wanted = (config.joint_attention_dim, config.pooled_projection_dim)
        if clips > t5 or (t5, pooled) != wanted or len(lengths) > 1:
            raise InputError(
                f"its encoders give words of width {t5:,} and {clips:,}, a summary of {pooled:,}; "
                f"its denoiser takes {wanted[0]:,} and {wanted[1]:,}",
                where=f"model {self.name}",
            )


_ONE_VECTOR = "Both CLIPs' summaries beside each other; layer 1 is after their projections."
_LEFT_OUT = "The last block does not reach the words in the denoiser, only the pooled summary."


def _words(roles: Tensor) -> Tensor:
    """A CLIP's roles where none of its tokens sums the text up."""
    summary = int(Role.SUMMARY)
    return torch.where(roles == summary, int(Role.SPECIAL), roles & ~summary).to(roles.dtype)
