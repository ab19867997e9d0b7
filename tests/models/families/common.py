"""What tiny families share: texts, pictures, tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from backend.data.sample import Sample
from backend.models.adapter import Adapter
from backend.types import LayerRef

Model = TypeVar("Model", bound=torch.nn.Module)

WORDS = (
    *("best", "day", "ever", "me", "today", "the", "a", "pizza", "cup", "cat", "dog", "thing"),
    *("and", "i", "you", "hate", "love", "it", "is", "on", "red", "blue", "green", "large"),
    *("small", "left", "right", "of", "image", "photo", "what", "user", "assistant", ":", ".", "?"),
)


@dataclass
class Case:
    """A tiny model and what the suite needs to know of it beside what the adapter says."""

    adapter: Adapter
    samples: list[Sample]
    hidden_states: dict[str, str] = field(default_factory=dict)
    """{stream: dotted name of the output whose entries are the stream's layers 0, 1, ...; a number
    in it is an item of a tuple}"""
    first_state: int = 0  # or begin with this layer
    tiles: bool = True  # the boxes of an image's tokens tile it
    whole_image: bool = False  # and cover all of it: nothing is cropped away
    follows: tuple[str, ...] = ()
    """Streams that are made of another one's outputs, and so depend on its modality anyway."""
    shifted: float = 1e-10
    """How close stays the same where a blank text moves a stream's positions: rotary ones are
    worked out in float32, whatever the model is in."""
    default_numbers: bool = False
    """The model makes numbers of torch's default type that must hold the lowest of its own."""
    foreign: tuple[LayerRef, ...] = ()
    """Sites that are made of another stream alone, not of the sites before them."""
    learned: tuple[str, ...] = ()
    """Streams that begin as learned tokens: the same for every sample until they first meet."""

    readings: dict[str, int] = field(default_factory=dict)
    """{stream: how often a text stands in it}, where several tokenizers read it: not once."""

    def modality(self, stream: str) -> str:
        """What to blank so that a stream has nothing of its own: vision, text or audio."""
        name = self.adapter.stream(stream).modality
        return name if name in ("text", "audio") else "vision"


def pictures(n: int, sizes: Sequence[tuple[int, int]] = ((40, 30), (32, 32), (24, 48))) -> list:
    """RGB images of different sizes, all different."""
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(
            rng.integers(0, 255, (sizes[i % len(sizes)][1], sizes[i % len(sizes)][0], 3)).astype(
                np.uint8
            )
        )
        for i in range(n)
    ]


def texts(n: int) -> list[str]:
    """Texts of different lengths, all different."""
    rng = np.random.default_rng(1)
    return [" ".join(rng.choice(WORDS[:20], size=2 + i)) for i in range(n)]


def samples(n: int = 4) -> list[Sample]:
    """Image-text pairs."""
    return [Sample(t, (p,)) for t, p in zip(texts(n), pictures(n), strict=True)]


def enlarged(model: Model, scale: float = 0.3) -> Model:
    """The model with random weights that are large enough for every layer to matter."""
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=scale)
    return model


def word_tokenizer(
    *,
    specials: dict[str, str],
    template: str | None = None,
    side: str = "right",
    extra: Sequence[str] = (),
    max_length: int = 32,
) -> PreTrainedTokenizerFast:
    """One token a word, and one a line feed, as language models have it; blanks are dropped.

    ``template``: as of TemplateProcessing, e.g. ``"[CLS] $A [SEP]"``.
    """
    vocabulary = list(dict.fromkeys([*specials.values(), *extra, *WORDS, "\n"]))
    numbered = {word: at for at, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(numbered, unk_token=specials["unk_token"]))
    words = Regex(r"\w+|[^\w\s]+|\n")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(words, "removed", invert=True)
    if template is not None:
        pieces = [(piece, numbered[piece]) for piece in template.split() if piece != "$A"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=pieces
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        padding_side=side,
        additional_special_tokens=list(extra),
        **specials,
    )


BERT_SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
CLIP_SPECIALS = {
    "unk_token": "<unk>",
    "bos_token": "<start>",
    "pad_token": "<pad>",
    "eos_token": "<end>",  # not the third: CLIP with end token 2 reads the highest id instead
}
LM_SPECIALS = {
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
}
