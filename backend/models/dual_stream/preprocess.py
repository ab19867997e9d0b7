"""Pairs to tensors: the tokenizer and the image transform that belong to one checkpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from backend.models.hub import hub_folder
from backend.models.loading import local_tokenizer
from backend.models.texts import Tokens, tokenize

_SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


class Preprocessor:
    """Turns images and texts into the model's inputs; every stream sees exactly one transform.

    Images are resized to a square (bicubic) and kept as bytes until :meth:`pixels` normalises them,
    so that a cache of a dataset takes a quarter of the memory.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image: dict[str, Any],
        max_text_length: int,
        *,
        pad: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.pad = pad
        self.image_size = int(image["size"])
        self.max_text_length = max_text_length
        self._mean = torch.tensor(image["mean"]).view(1, 3, 1, 1) * 255
        self._std = torch.tensor(image["std"]).view(1, 3, 1, 1) * 255

    def resize(self, image: Image.Image) -> np.ndarray:
        """RGB image -> uint8 (3, size, size)."""
        size = (self.image_size, self.image_size)
        small = image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
        return np.asarray(small, dtype=np.uint8).transpose(2, 0, 1)

    def pixels(self, images: Sequence[np.ndarray]) -> Tensor:
        """uint8 (3, s, s) each -> float32 (B, 3, s, s), normalised."""
        return (torch.from_numpy(np.stack(images)).float() - self._mean) / self._std

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Texts -> ids and mask (B, T), padded to the longest, or to the whole length."""
        padding = "max_length" if self.pad else True
        return tokenize(self.tokenizer, texts, self.max_text_length, padding=padding)

    def save(self, folder: Path) -> None:
        """Write the tokenizer beside the model's weights (its image settings are in the config)."""
        self.tokenizer.save_pretrained(folder)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a local directory or of the hub; InputError where there is none."""
    folder = Path(name) if Path(name).is_dir() else hub_folder("tokenizer", name)
    return local_tokenizer(folder, f"tokenizer {name}", AutoTokenizer.from_pretrained)


def saved_tokenizer(folder: str) -> PreTrainedTokenizerBase:
    """The tokenizer that :meth:`Preprocessor.save` wrote: its tokenizer.json and nothing else.

    The class that the files name is not asked for: the tokenizer is data, whatever trained it.
    """
    where = f"tokenizer {folder}"
    return local_tokenizer(Path(folder), where, PreTrainedTokenizerFast.from_pretrained)


def train_tokenizer(texts: Iterable[str], vocabulary: int = 4096) -> PreTrainedTokenizerBase:
    """A lower-case WordPiece tokenizer for ``texts`` (streamed), the same for the same texts.

    The vocabulary is every character, alone and as a continuation, and then the most frequent
    words; a rarer word is spelled. (The library's own WordPiece trainer breaks ties by the order of
    a hash table, so that two trainings with one seed would see different tokens.)
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(w for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    alphabet = sorted(_most_frequent(characters, vocabulary // 4))
    pieces = [*_SPECIAL.values(), *alphabet, *(f"##{character}" for character in alphabet)]
    known = dict.fromkeys([*pieces, *_most_frequent(words, vocabulary)])
    numbered = {piece: at for at, piece in enumerate(list(known)[:vocabulary])}
    tokenizer = Tokenizer(models.WordPiece(numbered, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece()
    ends = [(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **_SPECIAL)


def _most_frequent(counts: Counter[str], most: int) -> list[str]:
    """By count, ties in the order of the alphabet."""
    return sorted(counts, key=lambda item: (-counts[item], item))[:most]
