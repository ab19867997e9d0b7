"""Retrieval in the shared space as it is."""

from __future__ import annotations

import numpy as np
import pytest

from examples.retrieval_by_layer import recalls


def found(images: np.ndarray, texts: np.ndarray) -> dict[tuple[str, int], float]:
    rows = recalls(images, texts)
    return dict(zip(zip(rows["direction"], rows["k"], strict=True), rows["recall"], strict=True))


def test_true_pairs_are_found_whatever_their_length() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(40, 8))
    texts = images * rng.uniform(0.5, 2.0, size=(40, 1))
    assert set(found(images, texts).values()) == {1.0}


def test_texts_that_are_all_the_same_are_not_found_and_find_what_chance_gives() -> None:
    images = np.random.default_rng(0).normal(size=(40, 8))
    result = found(images, np.ones((40, 8)))
    assert [result["image_to_text", k] for k in (1, 5, 10)] == [0.0, 0.0, 0.0]
    assert [result["text_to_image", k] for k in (1, 5, 10)] == [1 / 40, 5 / 40, 10 / 40]


def test_the_directions_are_told_apart() -> None:
    # both images lie nearest to the first text, each text nearest to its own image
    images = np.array([[1.0, 0.0], [0.8, 0.6]] + [[-1.0, 0.1 * k] for k in range(10)])
    texts = np.array([[1.0, 0.3], [0.1, 1.0]] + [[-1.0, 0.1 * k] for k in range(10)])
    result = found(images, texts)
    assert result["image_to_text", 1] == pytest.approx(11 / 12)
    assert result["text_to_image", 1] == 1.0


def test_unrelated_pairs_are_found_as_often_as_chance_says() -> None:
    rng = np.random.default_rng(0)
    rows = recalls(rng.normal(size=(2_000, 8)), rng.normal(size=(2_000, 8)))
    assert ((rows["recall"] - rows["chance"]).abs() < 4 * rows["sd"]).all()
