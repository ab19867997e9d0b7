"""Text and images become the same tensors every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from backend.models.dual_stream.preprocess import Preprocessor, saved_tokenizer, train_tokenizer

TEXTS = ["the cat sat", "the dog ran, the cat hid", "naïve Über-cat", "日本 cat"]


def test_the_same_texts_give_the_same_vocabulary() -> None:
    first = train_tokenizer(TEXTS, 80).get_vocab()
    assert all(train_tokenizer(TEXTS, 80).get_vocab() == first for _ in range(5))


def test_frequent_words_are_whole_and_rare_ones_are_spelled() -> None:
    tokenizer = train_tokenizer(TEXTS, 80)
    assert tokenizer.tokenize("The CAT") == ["the", "cat"]
    assert tokenizer.tokenize("tac") == ["t", "##a", "##c"]
    assert tokenizer.tokenize("ж") == ["[UNK]"]
    assert len(tokenizer) <= 80


def test_a_batch_is_padded_and_cut_and_starts_with_cls(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, 80)
    pre = Preprocessor(tokenizer, {"size": 8, "mean": [0.5] * 3, "std": [0.5] * 3}, 6)
    out = pre.tokens(["cat", "the cat the cat the cat the cat"])
    assert out.ids.shape == (2, 6)
    assert out.mask.sum(1).tolist() == [3, 6]
    assert set(out.ids[:, 0].tolist()) == {tokenizer.cls_token_id}
    assert out.cut.tolist() == [0, 4]
    assert pre.tokens(["cat"]).spans.values[0, 1].tolist() == [0, 3]
    pre.save(tmp_path)
    again = saved_tokenizer(str(tmp_path))
    assert again(TEXTS)["input_ids"] == tokenizer(TEXTS)["input_ids"]


def test_pixels_are_normalised_per_channel() -> None:
    tokenizer = train_tokenizer(TEXTS, 80)
    image = {"size": 8, "mean": [0.5, 0.0, 0.0], "std": [0.5, 1.0, 0.25]}
    pre = Preprocessor(tokenizer, image, 6)
    pixels = pre.pixels([pre.resize(Image.new("RGB", (20, 10), (255, 255, 51)))])
    assert pixels.shape == (1, 3, 8, 8)
    assert np.allclose(pixels[0, :, 0, 0], [1.0, 1.0, 0.8], atol=1e-6)
