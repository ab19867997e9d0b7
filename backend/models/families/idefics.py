"""Idefics, an open Flamingo: gated cross-attention into a frozen language model (Alayrac 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from backend.data.sample import Sample
from backend.models.adapter import AttentionKey, Inputs
from backend.models.families import resampler
from backend.models.families.base import (
    Released,
    block_sites,
    item,
    meets,
    self_attention,
    silenced,
)
from backend.models.families.stacks import (
    next_token,
    prefix_roles,
    stack,
    tower_attention,
    tower_points,
)
from backend.models.images import several_boxes, several_roles
from backend.models.points import AttentionPoint, Point, Rewrite
from backend.models.roles import Role
from backend.models.texts import Prompt, check_marks, prompt_roles, special_ids, tokenize_prompts
from backend.types import LayerRef, Meet, Site, StreamSpec

_IMAGE, _AROUND = "<image>", "<fake_token_around_image>"


class Idefics(Released):
    """Before some of the language model's blocks, text reads an image through a learned gate.

    It reads the tower, or the ``query`` tokens of a resampler that has read the tower. A word sees
    the image that stands last before it.
    """

    family = "idefics"
    model_class = "IdeficsForVisionText2Text"

    def describe(self) -> None:
        """``k.fusion`` is what the gated block before block k gives; layer 0 enters the first."""
        config, model = self.model.config, self.model.model
        self.tower = stack(model.vision_model, config.vision_config)
        self.prefix = prefix_roles(model.vision_model)
        depth, width = config.num_hidden_layers, config.hidden_size
        gated = range(1, depth + 1, config.cross_layer_interval)
        self.gated = dict(zip(gated, model.gated_cross_attn_layers, strict=True))
        self.resampler = model.perceiver_resampler if config.use_resampler else None
        reads = "vision" if self.resampler is None else resampler.NAME
        sites = [Site(0, width)]
        for k in range(1, depth + 1):
            sites += [Site(k, width, "fusion")] if k in self.gated else []
            sites.append(Site(k, width))
        sites.append(Site(depth, width, "norm"))
        between = () if self.resampler is None else (resampler.stream(self.resampler),)
        self.streams = (
            StreamSpec("vision", "vision", block_sites(self.tower.depth, self.tower.width)),
            *between,
            StreamSpec("text", "text", tuple(sites), meets("gated", reads, list(gated), "fusion")),
        )
        if between:
            self.unsupported = {"origins": "A query token is made of the whole image."}

    def points(self) -> dict[LayerRef, Point]:
        """The gated blocks are modules of their own, between the language model's."""
        model = self.model.model
        places = tower_points("vision", self.tower.blocks)
        if self.resampler is not None:
            places |= resampler.points(self.resampler)
        places[LayerRef("text", 0)] = Point(self.gated[1], "input")
        for k, layer in enumerate(model.layers, start=1):
            if k in self.gated:
                places[LayerRef("text", k, "fusion")] = Point(self.gated[k])
            places[LayerRef("text", k)] = Point(layer)
        places[LayerRef("text", k, "norm")] = Point(model.norm)
        return places

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention of all streams, and what the text and the queries see."""
        maps = tower_attention("vision", self.tower)
        if self.resampler is not None:
            maps |= resampler.attention(self.resampler)
        for meet in self.stream("text").meets:
            maps[AttentionKey(LayerRef.parse("text", meet.site), meet.reads)] = AttentionPoint(
                self.gated[meet.layer].cross_attn, ("text",), (meet.reads,), item(1), arrange=_sees
            )
        return maps | self_attention("text", [layer.self_attn for layer in self.model.model.layers])

    def gates(self) -> dict[LayerRef, Tensor]:
        """The hyperbolic tangent that multiplies what an image adds to the text."""
        return {
            LayerRef("text", k, "fusion"): block.alpha_cross_attn.detach().tanh().squeeze()
            for k, block in self.gated.items()
        }

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """The image adds nothing to the text; the latents see only each other."""
        if stream == "text":
            return (silenced(self.gated[meet.layer].cross_attn),)
        return (resampler.blinded(self.resampler, meet.layer),)

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """The final norm and the output layer with the words that were added to it."""
        return nn.Sequential(self.model.model.norm, self.model.lm_head)

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Prompts as the processor writes them; pixels of as many images for every sample."""
        self.require(samples)
        check_marks([sample.text for sample in samples], _IMAGE, self.name)
        config, tokenizer = self.model.config, self.processor.tokenizer
        images = [sample.images for sample in samples]
        counts = [len(own) for own in images]
        most = max(counts)
        prompts = [
            Prompt(tokenizer.bos_token + _AROUND + (_IMAGE + _AROUND) * count, sample.text)
            for count, sample in zip(counts, samples, strict=True)
        ]
        tokens = tokenize_prompts(
            tokenizer, prompts, config.max_position_embeddings, add_special_tokens=False
        )
        marks = tokens.ids == self.processor.image_token_id
        processor = self.processor.image_processor
        flat = processor([image for own in images for image in own], return_tensors="pt")
        pixels = flat.new_zeros(len(samples), most, *flat.shape[1:])
        pixels[torch.tensor(counts)[:, None] > torch.arange(most)] = flat
        side = config.vision_config.patch_size
        grid = pixels.shape[3] // side, pixels.shape[4] // side
        row = [*self.prefix, *[Role.CONTENT] * (grid[0] * grid[1])]
        roles = {"vision": several_roles(counts, row)}
        if self.resampler is not None:
            latents = [Role.CONTENT] * self.resampler.n_latents
            roles[resampler.NAME] = several_roles(counts, latents)
        elsewhere = torch.zeros_like(marks)
        roles["text"] = prompt_roles(tokens, special_ids(tokenizer), elsewhere)
        return Inputs(
            {
                "input_ids": tokens.ids,
                "attention_mask": tokens.mask,
                "pixel_values": pixels,
                "image_attention_mask": (marks.cumsum(dim=1) - 1)[..., None] == torch.arange(most),
            },
            roles,
            {
                "vision": several_boxes(images, processor, grid, len(self.prefix)),
                "text": tokens.spans,
            },
            {"text": tokens.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits of the word that comes next, after each prompt."""
        return next_token(self.model, inputs)


def _sees(weights: Tensor, inputs: Inputs) -> Tensor:
    """A word before the first image sees nothing: the model takes nothing of its row."""
    sees = inputs.tensors["image_attention_mask"].any(dim=2)
    return weights * sees[:, None, :, None]
