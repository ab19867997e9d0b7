"""Retrieval in the shared space as it is."""

from __future__ import annotations

import numpy as np
import pytest

from examples.retrieval_by_layer import GROUP, alike_recalls, cosines, recalls


def found(images: np.ndarray, texts: np.ndarray) -> dict[tuple[str, int], float]:
    rows = recalls(cosines(images, texts))
    return dict(zip(zip(rows["direction"], rows["k"], strict=True), rows["recall"], strict=True))


def test_true_pairs_are_found_whatever_their_length() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(40, 8))
    texts = images * rng.uniform(0.5, 2.0, size=(40, 1))
    assert set(found(images, texts).values()) == {1.0}


def test_texts_that_are_all_the_same_are_found_as_often_as_by_chance() -> None:
    images = np.random.default_rng(0).normal(size=(40, 8))
    result = found(images, np.ones((40, 8)))
    for direction in ("image_to_text", "text_to_image"):
        assert [result[direction, k] for k in (1, 5, 10)] == pytest.approx([0.025, 0.125, 0.25])


def test_the_directions_are_told_apart() -> None:
    # both images lie nearest to the first text, each text nearest to its own image
    images = np.array([[1.0, 0.0], [0.8, 0.6]] + [[-1.0, 0.1 * k] for k in range(10)])
    texts = np.array([[1.0, 0.3], [0.1, 1.0]] + [[-1.0, 0.1 * k] for k in range(10)])
    result = found(images, texts)
    assert result["image_to_text", 1] == pytest.approx(11 / 12)
    assert result["text_to_image", 1] == 1.0


def test_unrelated_pairs_are_found_as_often_as_chance_says() -> None:
    rng = np.random.default_rng(0)
    rows = recalls(cosines(rng.normal(size=(2_000, 8)), rng.normal(size=(2_000, 8))))
    assert ((rows["recall"] - rows["chance"]).abs() < 4 * rows["sd"]).all()


def test_among_texts_of_one_length_what_is_known_of_the_length_finds_nothing() -> None:
    lengths = np.repeat(np.arange(3.0), GROUP)
    by_length = -np.abs(lengths[:, None] - lengths[None, :])
    everywhere, alike = recalls(by_length), alike_recalls(by_length, lengths)
    assert everywhere["recall"].to_numpy() == pytest.approx(3 * everywhere["chance"].to_numpy())
    assert alike["recall"].to_numpy() == pytest.approx(alike["chance"].to_numpy())
    assert set(alike["n"]) == {GROUP}
