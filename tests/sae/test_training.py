"""Training an autoencoder: it finds what is there, goes on where it stopped, and says how good."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.errors import InputError
from backend.sae.autoencoder import Source
from backend.sae.formats import saelens
from backend.sae.loading import load_sae
from backend.sae.quality import quality
from backend.sae.recipe import Recipe
from backend.sae.training import Training, train

D, TRUE, ON = 24, 40, 3
RECIPE = Recipe(features=80, k=ON, batch=192, learning_rate=3e-3, dead_after=20_000)
SOURCE = Source("made", "toy", "blocks.0.hook_resid_post", 1)


def sparse_rows(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, D) rows, each the sum of ON of TRUE directions (TRUE, D) and an offset."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(TRUE, D))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    weights = np.zeros((n, TRUE))
    for row in weights:
        row[rng.choice(TRUE, ON, replace=False)] = rng.uniform(1, 3, ON)
    return (weights @ directions + 2).astype(np.float32), directions


@pytest.mark.parametrize(("kind", "steps"), [("topk", 1000), ("jumprelu", 2000)])
def test_it_finds_the_directions_that_made_the_rows(kind: str, steps: int) -> None:
    rows, directions = sparse_rows(20_000)
    fresh, _ = sparse_rows(2_000, seed=1)
    sae = train(rows, replace(RECIPE, kind=kind, steps=steps), SOURCE)
    told = quality(sae, fresh)
    assert told.explained > 0.9
    assert told.l0 == pytest.approx(ON, abs=0.6)
    best = (directions @ sae.W_dec.numpy().T).max(axis=1)
    assert np.median(best) > 0.97


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_an_interrupted_training_ends_in_the_same_bytes(tmp_path: Path, kind: str) -> None:
    rows, _ = sparse_rows(2_000)
    recipe = replace(RECIPE, kind=kind, steps=40, dead_after=500)
    whole = train(rows, recipe, SOURCE)
    begun = Training(rows, recipe)
    for _ in range(17):
        begun.advance()
    begun.save(tmp_path / "state.safetensors")
    resumed = train(rows, recipe, SOURCE, tmp_path / "state.safetensors")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    other = train(rows, replace(recipe, seed=1), SOURCE)
    assert not torch.equal(whole.W_enc, other.W_enc)


def test_the_scale_of_activations_changes_nothing_but_the_scale() -> None:
    rows, _ = sparse_rows(2_000)
    recipe = replace(RECIPE, steps=60)
    small, large = train(rows, recipe, SOURCE), train(rows * 1024, recipe, SOURCE)
    a, b = quality(small, rows), quality(large, rows * 1024)
    assert a.explained == pytest.approx(b.explained, abs=1e-4)
    assert b.mse == pytest.approx(a.mse * 1024**2, rel=1e-3)


@pytest.mark.parametrize(("weight", "moved"), [(0.0, False), (1 / 32, True)])
def test_dead_features_learn_what_is_left_over(weight: float, moved: bool) -> None:
    rows, _ = sparse_rows(2_000)
    training = Training(rows, replace(RECIPE, batch=128, dead_after=100, auxiliary=weight))
    training.parameters["b_enc"][:40] -= 20  # on in no row
    for _ in range(10):
        training.advance()
    assert (training.unused[:40] > 1_000).sum() > 30
    dead = training.unused > 1_000
    before = training.parameters["W_dec"].clone()
    for _ in range(5):
        training.advance()
    change = (training.parameters["W_dec"] - before).norm(dim=1)
    assert bool((change[dead] > 1e-3).any()) == moved
    assert (change[~dead] > 1e-3).any()


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rows, _ = sparse_rows(2_000)
    for kind in ("topk", "jumprelu"):
        sae = train(rows, replace(RECIPE, kind=kind, steps=20), SOURCE)
        saelens.write(tmp_path / kind, sae, {"training_tokens": 1})
        again = load_sae(tmp_path / kind)
        assert (again.source.layer, again.source.model) == (1, "toy")
        x = torch.from_numpy(rows[:50])
        for one, other in zip(sae(x), again(x), strict=True):
            assert torch.equal(one, other)


def test_quality_is_what_its_words_say() -> None:
    rows, _ = sparse_rows(1_500)
    sae = train(rows, replace(RECIPE, steps=30), SOURCE)
    features, back = (part.double().numpy() for part in sae(torch.from_numpy(rows)))
    told = quality(sae, rows)
    x = rows.astype(np.float64)
    residual = ((x - back) ** 2).sum()
    assert told.explained == pytest.approx(1 - residual / ((x - x.mean(0)) ** 2).sum(), abs=1e-6)
    assert told.mse == pytest.approx(residual / x.size, rel=1e-6)
    assert told.l0 == pytest.approx((features > 0).sum() / len(x))
    assert told.dead == pytest.approx((features == 0).all(0).mean())
    cosine = (x * back).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(back, axis=1)
    assert told.cosine == pytest.approx(cosine.mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": 81}, "81 of 80 features"),
        ({"batch": 3000}, "2,000 activations are fewer than one batch of 3,000"),
    ],
)
def test_what_cannot_be_trained_is_one_line(change: dict[str, int], words: str) -> None:
    rows, _ = sparse_rows(2_000)
    with pytest.raises(InputError, match=words):
        train(rows, replace(RECIPE, **change), SOURCE)


def test_quality_needs_something_to_explain_and_the_right_width() -> None:
    rows, _ = sparse_rows(1_500)
    sae = train(rows, replace(RECIPE, steps=1), SOURCE)
    with pytest.raises(InputError, match="nothing to be explained"):
        quality(sae, np.ones((9, D), np.float32))
    with pytest.raises(InputError, match="width 24, these have 5"):
        quality(sae, np.ones((9, 5), np.float32))
