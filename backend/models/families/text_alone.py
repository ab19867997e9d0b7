"""The language model of a model that puts images among words, given words alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import Adapter, Inputs
from backend.models.families.image_tokens import ImageTokens
from backend.models.families.stacks import next_token
from backend.models.points import Point
from backend.models.registry import takes_words_alone
from backend.models.texts import Prompt, prompt_roles, special_ids, tokenize_prompts
from backend.types import LayerRef


class TextAlone(Adapter):
    """Stream ``text`` through the same blocks; the prompt is the same one without its image."""

    family = "language-model"
    needs = frozenset({"text"})

    def __init__(self, whole: ImageTokens) -> None:
        self.whole = whole
        self.name, self.digest, self.folder = whole.name, whole.digest, whole.folder
        self.tokenizer = whole.processor.tokenizer
        self.streams = (replace(whole.stream("text"), meets=()),)
        before, after = whole.prompt(1)
        self._around = [
            part.replace(f"{whole.mark}\n", "").replace(whole.mark, "") for part in (before, after)
        ]

    @property
    def module(self) -> nn.Module:
        """The whole model, of which no more is run than words need."""
        return self.whole.module

    def points(self) -> Mapping[LayerRef, Point]:
        """Those of the text inside the whole model."""
        return {ref: at for ref, at in self.whole.points().items() if ref.stream == "text"}

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Prompts without an image."""
        before, after = self._around
        tokenizer = self.whole.processor.tokenizer
        begun = bool(tokenizer.bos_token) and before.startswith(tokenizer.bos_token)
        tokens = tokenize_prompts(
            tokenizer,
            [Prompt(before, sample.text, after) for sample in samples],
            self.whole.longest(),
            add_special_tokens=not begun,
        )
        nowhere = torch.zeros_like(tokens.ids, dtype=torch.bool)
        return Inputs(
            {
                "input_ids": tokens.ids,
                "attention_mask": tokens.mask,
                **self.whole.positions(tokens),
            },
            {"text": prompt_roles(tokens, special_ids(tokenizer), nowhere)},
            {"text": tokens.spans},
            {"text": tokens.cut},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits of the word that comes next."""
        return next_token(self.whole.model, inputs)

    def unembedding(self) -> Callable[[Tensor], Tensor] | None:
        """The whole model's."""
        return self.whole.unembedding()


def text_alone(adapter: Adapter) -> TextAlone:
    """The language model inside a model; InputError for one that has none of its own."""
    if not (isinstance(adapter, ImageTokens) and takes_words_alone(adapter.family)):
        raise InputError(
            f"a {adapter.family} model has no language model that could read text alone",
            where=f"model {adapter.name}",
            hint="It takes a model that puts an image's tokens among the words and also runs on "
            "words alone, such as LLaVA.",
        )
    return TextAlone(adapter)
