"""What all models share that are given images within a prompt: words, places, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import Inputs
from backend.models.families.base import Released
from backend.models.families.pictures import Picture, filled
from backend.models.texts import (
    Prompt,
    Prompted,
    check_marks,
    special_ids,
    text_roles,
    tokenize_prompts,
)

Images = tuple[Image.Image, ...]
"""Those of one sample."""

TEXT = "\ue000"  # a private character stands for the text while a chat format is looked at
_ALONE_TOKENS = 128  # of a text that is read without an image


class Prompting(Released):
    """A sample becomes a prompt that says where its images come.

    ``template`` says what comes first; a chat format that was saved with the model goes around it.
    """

    leading: ClassVar[bool] = False
    """Whether image tokens stand before everything else, the tokenizer's own BOS included."""
    most_images: ClassVar[int | None] = None
    """How many images of a sample the model takes; None: all."""
    default_template: ClassVar[str] = "{image}\n{text}"
    """Where none is given."""

    def __init__(
        self, model: PreTrainedModel, processor: Any, name: str, template: str | None = None
    ) -> None:
        template = self.default_template if template is None else template
        if "{image}" not in template or "{text}" not in template:
            raise InputError(
                f"the prompt template {template!r} must say where {{image}} and {{text}} come"
            )
        self.template = template
        self._prompts: dict[int, tuple[str, str]] = {}
        super().__init__(model, processor, name)

    @property
    def mark(self) -> str:
        """The word of the prompt where an image's tokens come."""
        return str(getattr(self.processor, "image_token", "<image>"))

    def prompt(self, images: int) -> tuple[str, str]:
        """What stands before and after a sample's text: one :attr:`mark` an image, and words."""
        if images not in self._prompts:
            marks = "\n".join([self.mark] * images)
            whole = self.template.format(image=marks, text=TEXT)
            if getattr(self.processor, "chat_template", None):
                pieces = [piece.strip() for piece in self.template.split("{image}")]
                seen: list[dict[str, str]] = []
                for at, piece in enumerate(pieces):
                    seen += [{"type": "image"}] * images if at else []
                    seen += [{"type": "text", "text": piece.format(text=TEXT)}] if piece else []
                whole = self.processor.apply_chat_template(
                    [{"role": "user", "content": seen}], add_generation_prompt=True
                )
            before, text, after = whole.partition(TEXT)
            if not text or self.mark not in before + after:
                raise InputError(
                    f"its chat format shows no {self.mark} or no text",
                    where=f"model {self.name}",
                    hint="Its chat_template is not one for images.",
                )
            self._prompts[images] = (before, after)
        return self._prompts[images]

    def tokens(self, samples: Sequence[Sample], seen: Sequence[Sequence[Picture]]) -> Prompted:
        """Token ids of every sample's prompt, with what stands there for each of its images."""
        placeholder = str(self.processor.tokenizer.convert_ids_to_tokens(self.image_id))
        for mark in dict.fromkeys((self.mark, placeholder)):
            check_marks([sample.text for sample in samples], mark, self.name)
        prompts = []
        for sample, own in zip(samples, seen, strict=True):
            words = iter(picture.words for picture in own)
            before, after = (
                filled(part, self.mark, words) for part in self.prompt(len(self.images(sample)))
            )
            prompts.append(self.spelled(Prompt(before, sample.text, after)))
        tokenizer = self.processor.tokenizer
        begun = bool(tokenizer.bos_token) and tokenizer.bos_token in prompts[0].before
        leading = len(seen[0][0].row) if self.leading else 0
        return tokenize_prompts(
            tokenizer,
            prompts,
            self.longest(),
            lead=[self.image_id] * leading,
            add_special_tokens=not begun,
        )

    def encode_alone(self, samples: Sequence[Sample]) -> Inputs:
        """Texts as they are, without a prompt or an image."""
        tokenizer = self.processor.tokenizer
        prompts = [Prompt("", sample.text) for sample in samples]
        tokens = tokenize_prompts(tokenizer, prompts, _ALONE_TOKENS)
        return Inputs(
            {
                "input_ids": tokens.ids,
                "attention_mask": tokens.mask,
                **self.positions_alone(tokens),
            },
            {"text": text_roles(tokens.ids, tokens.mask, special_ids(tokenizer), "last")},
            {"text": tokens.spans},
            {"text": tokens.cut},
        )

    def positions_alone(self, tokens: Prompted) -> dict[str, Tensor]:
        """What else it is told that runs on a text without an image."""
        return {}

    def spelled(self, prompt: Prompt) -> Prompt:
        """The prompt as the processor spells it once the images' words are in it."""
        return prompt

    def images(self, sample: Sample) -> Images:
        """Those of a sample's images that the model takes."""
        return sample.images[: self.most_images]

    def longest(self) -> int:
        """The most tokens that the language model takes."""
        limit = getattr(self.model.config.text_config, "max_position_embeddings", None)
        return int(limit or self.processor.tokenizer.model_max_length)

    @property
    def image_id(self) -> int:
        """The token that stands where an image's tokens come."""
        return int(self.model.config.image_token_id)
