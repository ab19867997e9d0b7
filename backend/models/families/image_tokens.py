"""What all models share that put an image's tokens among those of a language model's text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import AttentionKey, Inputs
from backend.models.families.base import (
    Released,
    block_points,
    block_sites,
    meets,
    self_attention,
    unseen,
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
from backend.models.roles import Origins, Role
from backend.models.texts import (
    Prompt,
    Prompted,
    check_marks,
    prompt_roles,
    special_ids,
    tokenize_prompts,
)
from backend.types import POOLINGS, LayerRef, Meet, Site, StreamSpec

LANGUAGE_MODEL = "language-model"
"""The space of the streams ``image`` and ``text``: the same blocks write both."""

_TEXT = "\ue000"  # a private character stands for the text while a chat format is looked at


@dataclass(frozen=True)
class Parts:
    """Where a model keeps its tower and its language model, as dotted names."""

    tower: str = "model.vision_tower"
    language: str = "model.language_model"


class ImageTokens(Released):
    """Streams ``vision`` (the tower), ``image`` and ``text`` (positions of the language model).

    ``template`` says what comes first; a chat format that was saved with the model goes around it.
    Each of ``image`` and ``text`` reads the other where the language model lets it, at every layer:
    a causal one only what stands before it, so the declared meets follow from the template.
    """

    parts: ClassVar[Parts] = Parts()
    bidirectional: bool = False
    """Whether the prompt's tokens see each other both ways."""
    leading: ClassVar[bool] = False
    """Whether image tokens stand before everything else, the tokenizer's own BOS included."""
    most_images: ClassVar[int | None] = None
    """How many images of a sample the model takes; None: all."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: Any,
        name: str,
        template: str = "{image}\n{text}",
    ) -> None:
        if "{image}" not in template or "{text}" not in template:
            raise InputError(
                f"the prompt template {template!r} must say where {{image}} and {{text}} come"
            )
        self.template = template
        self._prompts: dict[int, tuple[str, str]] = {}
        super().__init__(model, processor, name)

    def describe(self) -> None:
        """Find the parts; the three streams with their meets."""
        config = self.model.config
        self.tower = stack(self.model.get_submodule(self.parts.tower), config.vision_config)
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

    def language_model(self) -> nn.Module:
        """The module whose blocks the streams ``image`` and ``text`` go through."""
        language: nn.Module = self.model.get_submodule(self.parts.language)
        return language

    @property
    def mark(self) -> str:
        """The word of the prompt where an image's tokens come."""
        return str(getattr(self.processor, "image_token", "<image>"))

    def prompt(self, images: int) -> tuple[str, str]:
        """What stands before and after a sample's text: one :attr:`mark` an image, and words."""
        if images not in self._prompts:
            marks = "\n".join([self.mark] * images)
            whole = self.template.format(image=marks, text=_TEXT)
            if getattr(self.processor, "chat_template", None):
                pieces = [piece.strip() for piece in self.template.split("{image}")]
                seen: list[dict[str, str]] = []
                for at, piece in enumerate(pieces):
                    seen += [{"type": "image"}] * images if at else []
                    seen += [{"type": "text", "text": piece.format(text=_TEXT)}] if piece else []
                whole = self.processor.apply_chat_template(
                    [{"role": "user", "content": seen}], add_generation_prompt=True
                )
            before, text, after = whole.partition(_TEXT)
            if not text or self.mark not in before + after:
                raise InputError(
                    f"its chat format shows no {self.mark} or no text",
                    where=f"model {self.name}",
                    hint="Its chat_template is not one for images.",
                )
            self._prompts[images] = (before, after)
        return self._prompts[images]

    def tower_note(self) -> str:
        """What must be said beside every plot of the tower."""
        return ""

    def tower_sites(self) -> tuple[Site, ...]:
        """Named sites after the tower's last layer."""
        return ()

    def tower_named(self) -> dict[LayerRef, Point]:
        """Where those are."""
        return {}

    def between(self) -> tuple[StreamSpec, ...]:
        """Streams between the tower and the language model."""
        return ()

    def between_points(self) -> dict[LayerRef, Point]:
        """Where their sites are."""
        return {}

    def between_roles(self, batch: int) -> dict[str, Tensor]:
        """The roles of their tokens."""
        return {}

    def between_attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Their attention maps."""
        return {}

    def points(self) -> dict[LayerRef, Point]:
        """One hidden state of the language model serves both of its streams."""
        found = tower_points("vision", self.tower.blocks) | self.tower_named()
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

    @abstractmethod
    def image_row(self, patches: int) -> list[Role]:
        """The roles of one image's tokens in the language model, of ``patches`` of the tower."""

    def image_origins(self, tower: Origins, counts: Sequence[int], at: Tensor) -> Origins | None:
        """Boxes for the image tokens at ``at`` (B, T) bool, made of the tower's; None: no place."""
        return None

    def positions(self, tokens: Prompted) -> dict[str, Tensor]:
        """What else the model is told: positions count real tokens, as when it generates."""
        return {"position_ids": (tokens.mask.cumsum(dim=1) - 1).clamp(min=0)}

    def tokens(self, samples: Sequence[Sample], row: Sequence[Role]) -> Prompted:
        """Token ids of every sample's prompt, each image as ``len(row)`` placeholders."""
        marks = "" if self.leading else self.mark * len(row)
        check_marks([sample.text for sample in samples], self.mark, self.name)
        prompts = []
        for sample in samples:
            before, after = self.prompt(len(self.images(sample)))
            before, after = before.replace(self.mark, marks), after.replace(self.mark, marks)
            prompts.append(Prompt(before, sample.text, after))
        tokenizer = self.processor.tokenizer
        begun = bool(tokenizer.bos_token) and prompts[0].before.startswith(tokenizer.bos_token)
        return tokenize_prompts(
            tokenizer,
            prompts,
            self.longest(),
            lead=[self.model.config.image_token_id] * (len(row) if self.leading else 0),
            add_special_tokens=not begun,
        )

    def images(self, sample: Sample) -> tuple[Any, ...]:
        """Those of a sample's images that the model takes."""
        return sample.images[: self.most_images]

    def longest(self) -> int:
        """The most tokens that the language model takes."""
        limit = getattr(self.model.config.text_config, "max_position_embeddings", None)
        return int(limit or self.processor.tokenizer.model_max_length)

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Pixels of all images in a row; prompts with a placeholder for every image token."""
        self.require(samples)
        images = [self.images(sample) for sample in samples]
        counts = [len(own) for own in images]
        processor = self.processor.image_processor
        flat = [image for own in images for image in own]
        pixels = processor(flat, return_tensors="pt")["pixel_values"]
        side = self.model.config.vision_config.patch_size
        grid = pixels.shape[2] // side, pixels.shape[3] // side
        row = self.image_row(grid[0] * grid[1])
        tokens = self.tokens(samples, row)
        at = (tokens.ids == self.model.config.image_token_id) & tokens.mask.bool()
        of_image = torch.where(tokens.mask.bool(), int(Role.ABSENT), int(Role.PADDING))
        of_image = of_image.to(torch.int8)
        of_image[at] = torch.tensor(row, dtype=torch.int8).repeat(sum(counts))
        patches = [Role.CONTENT] * (grid[0] * grid[1])
        boxes = several_boxes(images, processor, grid, len(self.prefix))
        placed = self.image_origins(boxes, counts, at)
        return Inputs(
            {
                "input_ids": tokens.ids,
                "attention_mask": tokens.mask,
                **self.positions(tokens),
                "pixel_values": pixels,
            },
            {
                "vision": several_roles(counts, [*self.prefix, *patches]),
                **self.between_roles(len(samples)),
                "image": of_image,
                "text": prompt_roles(tokens, special_ids(self.processor.tokenizer), at),
            },
            {
                "vision": boxes,
                **({} if placed is None else {"image": placed}),
                "text": tokens.spans,
            },
            {"text": tokens.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits of the word that comes next, after each prompt."""
        return next_token(self.model, inputs)


class PatchTokens(ImageTokens):
    """An image's tokens in the language model are the tower's, one for one, from ``first`` on."""

    first: int = 0

    def image_row(self, patches: int) -> list[Role]:
        """Patches are content; what a class token became is special."""
        row = [*self.prefix, *[Role.CONTENT] * patches]
        return [Role.SPECIAL if role == Role.SUMMARY else role for role in row[self.first :]]

    def image_origins(self, tower: Origins, counts: Sequence[int], at: Tensor) -> Origins:
        """The box of the patch that a token was made of."""
        batch, most = len(counts), max(counts)
        boxes = tower.values.reshape(batch, most, -1, 4)[:, :, self.first :]
        values = np.full((*at.shape, 4), np.nan, dtype=np.float32)
        image = np.zeros(at.shape, dtype=np.int32)
        for sample, count in enumerate(counts):
            own = at[sample].numpy()
            values[sample, own] = boxes[sample, :count].reshape(-1, 4)
            image[sample, own] = np.arange(count).repeat(boxes.shape[2])
        return Origins("box", values, image)
