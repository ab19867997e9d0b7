"""Kosmos-2: latent queries read a tower and go before a language model's text (Peng et al. 2023).

Facts are from transformers 5.23: ``Kosmos2ForConditionalGeneration.forward`` (the tower's tokens go
through its final norm and become vectors of length 1), ``Kosmos2ImageToTextProjection.forward``
(one cross-attention, patches and latents are its keys, nothing is added to what it gives),
``Kosmos2Processor.__call__`` (the marks of an image's tokens become ids in a row, the first mark
stays).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import Kosmos2Processor

from backend.models.adapter import AttentionKey, Inputs
from backend.models.families.base import item, meets
from backend.models.families.image_tokens import Parts, SquareImages
from backend.models.families.pictures import Picture
from backend.models.images import patch_roles
from backend.models.points import Argument, Arguments, AttentionPoint, Point, Rewrite
from backend.models.roles import Role
from backend.models.texts import Prompted
from backend.types import LayerRef, Meet, Site, StreamSpec

_KEYS = Argument(1, "encoder_hidden_states")


class Kosmos2(SquareImages):
    """``query`` are the latents around their one cross-attention, ``image`` what becomes of them.

    Groundings (boxes as words of the text) are left out.
    """

    family = "kosmos-2"
    model_class = "Kosmos2ForConditionalGeneration"
    parts = Parts("vision_model", "text_model.model", ("image_to_text_projection",))
    most_images = 1

    def describe(self) -> None:
        """One cross-attention lies between the tower and the language model."""
        self.resampler = self.model.image_to_text_projection
        self.unsupported = {
            "origins": "A query token, and so an image token, is made of the whole image."
        }
        super().describe()

    def prompt(self, images: int) -> tuple[str, str]:
        """BOS, the image, and the text to go on with, as the model was trained."""
        return f"{self.processor.tokenizer.bos_token}{self.mark} ", ""

    def tower_sites(self) -> tuple[Site, ...]:
        """The latents read the tower after its final norm."""
        return (Site(self.tower.depth, self.tower.width, "norm"),)

    def tower_named(self) -> dict[LayerRef, Point]:
        """Read where it enters the projection, as vectors of length 1."""
        ref = LayerRef("vision", self.tower.depth, "norm")
        return {ref: Point(self.resampler, "input", select=Argument(0, "features"))}

    def between(self) -> tuple[StreamSpec, ...]:
        """The latents read the patches, and each other, once."""
        width = self.model.config.text_config.embed_dim
        sites = (Site(0, width), Site(1, width))
        return (StreamSpec("query", "query", sites, meets("cross", "vision", [1]), ("mean",)),)

    def between_points(self) -> dict[LayerRef, Point]:
        """Layer 1 is what the cross-attention gives."""
        return {
            LayerRef("query", 0): Point(self.resampler.x_attn, "input"),
            LayerRef("query", 1): Point(self.resampler.x_attn),
        }

    def between_roles(self, seen: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """Every latent is content."""
        return {"query": patch_roles(len(seen), self.model.config.latent_query_num)}

    def between_attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Patches and latents are keys of the same attention."""
        keys = ("vision", "query")
        point = AttentionPoint(self.resampler.x_attn, ("query",), keys, item(1))
        return {AttentionKey(LayerRef("query", 1), reads): point for reads in keys}

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """The latents see only each other."""
        if stream == "query":
            return (Rewrite(self.resampler.x_attn, _blinded, "input"),)
        return super().cut(stream, meet)

    def row(self, tower: Sequence[Role], boxes: np.ndarray) -> tuple[list[Role], np.ndarray | None]:
        """As many as there are latents, whatever the image's size."""
        return [Role.CONTENT] * self.model.config.latent_query_num, None

    def words(self, row: Sequence[Role]) -> str:
        """Marks for the tokens between one that begins the image and one that ends it."""
        return " ".join([self.mark, *[self.mark] * len(row), self.processor.eoi_token])

    def placeholders(self, tokens: Prompted) -> Tensor:
        """The first mark of a prompt begins the image."""
        marks = super().placeholders(tokens)
        return marks & (marks.cumsum(dim=1) > 1)

    def positions(self, tokens: Prompted) -> dict[str, Tensor]:
        """The model counts positions itself, and is told where an image's tokens come."""
        at, first = self.placeholders(tokens), self.processor.tokenizer.unk_token_id + 1
        ids = torch.where(at, first + at.cumsum(dim=1) - 1, tokens.ids)
        return {"input_ids": ids, "image_embeds_position_mask": at.long()}

    @property
    def image_id(self) -> int:
        """The configuration does not name it."""
        processor: Kosmos2Processor = self.processor
        return int(processor.tokenizer.convert_tokens_to_ids(self.mark))


def _blinded(value: Arguments, inputs: Inputs) -> Arguments:
    """The cross-attention with its patches masked; the latents stand last among the keys."""
    args, kwargs = value
    keys: Tensor = _KEYS.read(value, inputs)
    mask = keys.new_zeros(keys.shape[0], 1, 1, keys.shape[1])
    mask[..., : -inputs.roles["query"].shape[1]] = torch.finfo(keys.dtype).min
    return args, {**kwargs, "attention_mask": mask}
