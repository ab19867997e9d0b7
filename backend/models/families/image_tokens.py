"""What all models share that put an image's tokens among those of a language model's text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from backend.data.sample import Sample
from backend.models.adapter import AttentionKey, Embedder, Inputs
from backend.models.families.base import (
    block_points,
    block_sites,
    meets,
    self_attention,
    unseen,
)
from backend.models.families.pictures import Picture, in_the_tower, placed, unsummed
from backend.models.families.prompting import Images, Prompting
from backend.models.families.stacks import (
    Stack,
    next_token,
    prefix_roles,
    stack,
    tower_attention,
    tower_points,
)
from backend.models.images import seen_region
from backend.models.points import FIRST, AttentionPoint, PerImage, Point, Rewrite
from backend.models.registry import takes_words_alone
from backend.models.roles import Role, grid_boxes
from backend.models.texts import Prompted, prompt_roles, special_ids
from backend.types import POOLINGS, LayerRef, Meet, Site, StreamSpec

LANGUAGE_MODEL = "language-model"
"""The space of the streams ``image`` and ``text``: the same blocks write both."""


@dataclass(frozen=True)
class Parts:
    """Where a model keeps its tower, its language model and what lies between, as dotted names."""

    tower: str = "model.vision_tower"
    language: str = "model.language_model"
    between: tuple[str, ...] = ("model.multi_modal_projector",)


class ImageTokens(Prompting):
    """Streams ``vision`` (the tower), ``image`` and ``text`` (positions of the language model).

    Each of ``image`` and ``text`` reads the other where the language model lets it, at every layer:
    a causal one only what stands before it, so the declared meets follow from the template.
    """

    parts: ClassVar[Parts] = Parts()
    bidirectional: bool = False
    """Whether the prompt's tokens see each other both ways."""
    packed: ClassVar[bool] = False
    """Whether the tower takes the patches of all images of a batch as one row of tokens."""

    def describe(self) -> None:
        """Find the parts; the three streams with their meets."""
        config = self.model.config
        self.tower = self.tower_stack()
        self.language = stack(self.language_model(), config.text_config)
        self.prefix = prefix_roles(self.model.get_submodule(self.parts.tower))
        tower, language = self.tower, self.language
        before, after = self.prompt(1)
        marks_before, marks_after = self.mark in before, self.mark in after
        both = range(1, language.depth + 1)
        sites = block_sites(
            language.depth,
            language.width,
            *([Site(language.depth, language.width, "norm")] if language.norm else ()),
        )
        vision = StreamSpec(
            "vision",
            "vision",
            block_sites(tower.depth, tower.width, *self.tower_sites()),
            poolings=POOLINGS if Role.SUMMARY in self.prefix else ("mean",),
            note=self.tower_note(),
        )
        image = StreamSpec(
            "image",
            "image",
            sites,
            meets("joint", "text", both) if marks_after or self.bidirectional else (),
            poolings=("mean",),
            space=LANGUAGE_MODEL,
        )
        reads_image = marks_before or self.bidirectional or after.rpartition(self.mark)[2]
        text = StreamSpec(
            "text",
            "text",
            sites,
            meets("joint", "image", both) if reads_image else (),
            space=LANGUAGE_MODEL,
        )
        self.streams = (vision, *self.between(), image, text)
        if tower.names.index is None:
            reason = "The tower hands out no attention maps, whatever it is asked."
            self.unsupported = {**self.unsupported, "attention of vision": reason}

    def tower_stack(self) -> Stack:
        """The tower's blocks."""
        config = self.model.config.vision_config
        return stack(self.model.get_submodule(self.parts.tower), config)

    def language_model(self) -> nn.Module:
        """The module whose blocks the streams ``image`` and ``text`` go through."""
        language: nn.Module = self.model.get_submodule(self.parts.language)
        return language

    def tower_note(self) -> str:
        """What must be said beside every plot of the tower."""
        return ""

    def tower_sites(self) -> tuple[Site, ...]:
        """Named sites after the tower's last layer."""
        return ()

    def tower_named(self) -> dict[LayerRef, Point]:
        """Where those are."""
        return {}

    def tower_norm(self) -> dict[LayerRef, Point]:
        """The site ``norm`` of a SigLIP tower, which comes after its last block."""
        norm = self.model.get_submodule(self.parts.tower).post_layernorm
        ref = LayerRef("vision", self.tower.depth, "norm")
        return {ref: Point(norm, select=PerImage("vision", FIRST))}

    def between(self) -> tuple[StreamSpec, ...]:
        """Streams between the tower and the language model."""
        return ()

    def between_points(self) -> dict[LayerRef, Point]:
        """Where their sites are."""
        return {}

    def between_roles(self, seen: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """The roles of their tokens, of every sample's images."""
        return {}

    def between_attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Their attention maps."""
        return {}

    def points(self) -> dict[LayerRef, Point]:
        """One hidden state of the language model serves both of its streams."""
        found = tower_points("vision", self.tower.blocks, self.packed) | self.tower_named()
        found |= self.between_points()
        for name in ("image", "text"):
            found |= block_points(name, self.language.blocks)
            if self.language.norm is not None:
                found[LayerRef(name, self.language.depth, "norm")] = Point(self.language.norm)
        return found

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention of the tower, of both streams, and of one to the other where it reads."""
        found = tower_attention("vision", self.tower) | self.between_attention()
        language = self.language
        if language.names.index is None:
            return found
        shared = self_attention(("image", "text"), language.attention, language.names.index)
        for key, point in shared.items():
            stream = key.ref.stream
            if key.reads in (stream, *(meet.reads for meet in self.stream(stream).meets)):
                found[key] = point
        return found

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """The stream's tokens no longer see the other's in that block's attention."""
        attention = self.language.attention[meet.layer - 1]
        return (unseen(attention, stream, meet.reads, self.language.names.mask),)

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """The language model's final norm, where it has one, and the output layer."""
        norm, head = self.language.norm or nn.Identity(), self.model.get_output_embeddings()
        return nn.Sequential(norm, head)

    def placeholders(self, tokens: Prompted) -> Tensor:
        """(B, T) bool: where an image's tokens come."""
        return (tokens.ids == self.image_id) & tokens.mask.bool()

    def vocabulary(self) -> Tensor | None:
        """The language model's input embeddings."""
        words: Tensor = self.model.get_input_embeddings().weight
        return words

    def text_alone(self) -> Embedder | None:
        """A text without a template: by the whole model's rules where it runs on words alone."""
        whole = takes_words_alone(self.family)
        module: nn.Module = self.model.base_model if whole else self.language_model()

        def run(inputs: Inputs) -> Tensor:
            tokens: Tensor = module(**inputs.tensors, use_cache=False)[0]
            return tokens

        return Embedder(self.encode_alone, run)

    def positions_alone(self, tokens: Prompted) -> dict[str, Tensor]:
        """Those of the whole model: PaliGemma's say that words see each other both ways."""
        return self.positions(tokens) if takes_words_alone(self.family) else {}

    def positions(self, tokens: Prompted) -> dict[str, Tensor]:
        """What else the model is told: positions count real tokens, as when it generates."""
        return {"position_ids": (tokens.mask.cumsum(dim=1) - 1).clamp(min=0)}

    @abstractmethod
    def look(self, images: Sequence[Images]) -> tuple[dict[str, Tensor], list[Picture]]:
        """What the model takes of every sample's images, and each image as the model gets it."""

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Pixels of all images in a row; prompts with a placeholder for every image token."""
        self.require(samples)
        images = [self.images(sample) for sample in samples]
        pixels, pictures = self.look(images)
        rest = iter(pictures)
        seen = [[next(rest) for _ in own] for own in images]
        tokens = self.tokens(samples, seen)
        at = self.placeholders(tokens)
        roles, origins = placed(seen, at, tokens.mask)
        tower_roles, tower_origins = in_the_tower(seen)
        return Inputs(
            {
                "input_ids": tokens.ids,
                "attention_mask": tokens.mask,
                **self.positions(tokens),
                **pixels,
            },
            {
                "vision": tower_roles,
                **self.between_roles(seen),
                "image": roles,
                "text": prompt_roles(tokens, special_ids(self.processor.tokenizer), at),
            },
            {
                "vision": tower_origins,
                **({} if origins is None else {"image": origins}),
                "text": tokens.spans,
            },
            {"text": tokens.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits of the word that comes next, after each prompt."""
        return next_token(self.model, inputs)


class SquareImages(ImageTokens):
    """Every image is made a square of one size, as a grid of the tower's patches."""

    @abstractmethod
    def row(self, tower: Sequence[Role], boxes: np.ndarray) -> tuple[list[Role], np.ndarray | None]:
        """Roles (t,) and boxes (t, 4) of an image's tokens in the language model, from the tower's.

        No boxes where such a token has no place.
        """

    def words(self, row: Sequence[Role]) -> str:
        """What stands in the prompt for an image with these tokens."""
        return "" if self.leading else self.mark * len(row)

    @property
    def side(self) -> int:
        """Pixels along one side of a tower's token."""
        return int(self.model.config.vision_config.patch_size)

    def look(self, images: Sequence[Images]) -> tuple[dict[str, Tensor], list[Picture]]:
        """Patches row by row, after what the tower puts before them."""
        processor, flat = self.processor.image_processor, list(chain.from_iterable(images))
        pixels = processor(flat, return_tensors="pt")["pixel_values"]
        side = self.side
        rows, columns = pixels.shape[2] // side, pixels.shape[3] // side
        tower = [*self.prefix, *[Role.CONTENT] * (rows * columns)]
        pictures = []
        for image in flat:
            boxes = np.full((len(tower), 4), np.nan)
            region = seen_region(processor, image.size)
            boxes[len(self.prefix) :] = grid_boxes(region, rows, columns, image.size)
            row, places = self.row(tower, boxes)
            pictures.append(Picture(tower, boxes, self.words(row), row, places))
        return {"pixel_values": pixels}, pictures


class PatchTokens(SquareImages):
    """An image's tokens in the language model are the tower's, one for one, from ``first`` on."""

    first: int = 0

    def row(self, tower: Sequence[Role], boxes: np.ndarray) -> tuple[list[Role], np.ndarray | None]:
        """Patches are content; what a class token became is special."""
        return unsummed(tower[self.first :]), boxes[self.first :]
