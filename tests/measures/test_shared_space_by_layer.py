"""Search, zero-shot classes and the gap at every layer: few-line oracles, chance, groups."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from backend.measures.chance.clusters import area_interval, jackknife_interval, share_interval
from backend.measures.core.groups import half_of_groups
from backend.measures.families.gap import alignment, modality_gap, uniformity
from backend.measures.families.leave_out import (
    alignments_without,
    gaps_without,
    uniformities_without,
)
from backend.measures.families.ranks import median_rank
from backend.measures.families.retrieval import unit
from backend.measures.families.zero_shot import zero_shot
from backend.measures.suite.shared_space import (
    Embedded,
    Prompts,
    Question,
    layer_pairs,
    shared_space_rows,
)
from backend.types import LayerRef, StreamSpec, TaskSpec

FOOD = TaskSpec("food", "multiclass", ("pie", "soup", "cake"))


def directions(n: int, d: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, d)))


def related(n: int, d: int = 6, noise: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    x = directions(n, d)
    return x, unit(x + noise * directions(n, d, 1))


def question(n: int = 90, groups: object = None) -> Question:
    """Two layers of the image, three of the text; what they share grows with depth."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    meaning = rng.normal(size=(3, 5))[labels] + rng.normal(size=(n, 5))
    specs = (StreamSpec.of("vision", "vision", 1, 5), StreamSpec.of("text", "text", 2, 5))
    sides = []
    for at, spec in enumerate(specs):
        layers = {
            ref: meaning * (k / spec.depth) + rng.normal(size=(n, 5)) + 3 * at
            for k, ref in enumerate(spec.layers)
        }
        turned = {
            ref: rows @ np.linalg.qr(rng.normal(size=(5, 5)))[0] for ref, rows in layers.items()
        }
        sides.append(Embedded(spec, layers, turned, "cls"))
    prompts = Prompts(
        FOOD,
        labels,
        {ref: rng.normal(size=(3, 2, 5)) for ref in specs[1].layers},
        {ref: rng.normal(size=(3, 2, 5)) for ref in specs[1].layers},
    )
    return Question(*sides, groups=groups, prompts=[prompts])


def row(rows: pd.DataFrame, measure: str, a: int, b: int, space: str, estimator: str) -> pd.Series:
    chosen = rows[
        rows["measure"].eq(measure)
        & rows["layer_a"].eq(a)
        & rows["layer_b"].eq(b)
        & rows["space"].eq(space)
        & rows["estimator"].eq(estimator)
    ]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_every_number_of_both_spaces_is_that_of_a_few_lines() -> None:
    asked = question()
    rows = shared_space_rows(asked)
    gallery, fit = half_of_groups(None, 90, 0)
    text = LayerRef("text", 2)
    for k in (0, 1):
        image = LayerRef("vision", k)
        x, y = asked.vision.own[image], asked.text.own[text]
        spaces = {"own": (unit(x[gallery]), unit(y[gallery]), asked.prompts[0].own[text])}
        raw = asked.vision.pooled[image], asked.text.pooled[text]
        a, b = (rows - rows[fit].mean(axis=0) for rows in raw)
        turn = orthogonal_procrustes(a[fit], b[fit])[0]
        shift = asked.text.pooled[text][fit].mean(axis=0)
        told = asked.prompts[0].pooled[text].mean(axis=1) - shift
        spaces["fitted"] = (unit((a @ turn)[gallery]), unit(b[gallery]), told[:, None])
        for space, (u, v, prompts) in spaces.items():
            cosines = u @ v.T
            for direction, table in (("image_to_text", cosines), ("text_to_image", cosines.T)):
                ranks = 1 + (table > np.diag(table)[:, None]).sum(axis=1)
                for most in (1, 5, 10):
                    found = row(rows, f"recall_at_{most}", k, 2, space, direction)
                    assert found["value"] == pytest.approx((ranks <= most).mean())
                    assert found["null_mean"] == pytest.approx(most / 45)
                    assert found["n"] == 45
                middle = row(rows, "median_rank", k, 2, space, direction)
                assert middle["value"] == np.median(ranks)
                assert middle["null_mean"] == pytest.approx(23, abs=1.5)
            classes = unit(unit(prompts.reshape(-1, 5)).reshape(prompts.shape).mean(axis=1))
            said = (u @ classes.T).argmax(axis=1)
            labels = asked.prompts[0].labels[gallery]
            zero = row(rows, "zero_shot", k, 2, space, "food")
            assert zero["value"] == pytest.approx((said == labels).mean())
            chance = sum((said == c).mean() * (labels == c).mean() for c in range(3))
            assert zero["null_mean"] == pytest.approx(chance, abs=0.03)
            assert json.loads(zero["params"])["metric"] == "accuracy"
            close = row(rows, "alignment", k, 2, space, "sample")
            assert close["value"] == pytest.approx(((u - v) ** 2).sum(axis=1).mean())
        gap = row(rows, "modality_gap", k, 2, "own", "sample")
        u, v, _ = spaces["own"]
        assert gap["value"] == pytest.approx(np.linalg.norm(u.mean(axis=0) - v.mean(axis=0)))
        assert gap["ci_low"] < gap["value"] < gap["ci_high"]
    own = rows[rows["measure"].eq("uniformity")]
    assert list(zip(own["stream_a"], own["layer_a"], strict=True)) == [
        *(("vision", k) for k in range(2)),
        *(("text", k) for k in range(3)),
    ]
    assert not (rows["measure"].eq("modality_gap") & rows["space"].eq("fitted")).any()


def test_pairs_of_layers_are_matching_ones_and_every_layer_with_the_other_ones_last() -> None:
    pairs = layer_pairs(
        StreamSpec.of("vision", "vision", 1, 5), StreamSpec.of("text", "text", 2, 5)
    )
    assert {(a.layer, b.layer) for a, b in pairs} == {(0, 0), (1, 1), (1, 2), (0, 2), (1, 0)}
    assert len(pairs) == 5


def test_any_partner_of_a_group_counts_and_no_group_is_in_both_halves() -> None:
    groups = np.repeat([f"photo {at}" for at in range(40)], 5)
    rng = np.random.default_rng(0)
    photos = np.repeat(rng.normal(size=(40, 8)), 5, axis=0)
    specs = (StreamSpec.of("vision", "vision", 0, 8), StreamSpec.of("text", "text", 0, 8))
    captions = photos + 0.3 * rng.normal(size=photos.shape)
    sides = [
        Embedded(spec, {spec.layers[0]: rows}, {spec.layers[0]: rows}, "cls")
        for spec, rows in zip(specs, (photos, captions), strict=True)
    ]
    rows = shared_space_rows(Question(*sides, groups=groups))
    for space in ("own", "fitted"):
        found = row(rows, "recall_at_1", 0, 0, space, "image_to_text")
        # The best of the photo's five captions, not one of them.
        assert found["value"] == 1 and found["n"] == 100
        assert found["null_mean"] == pytest.approx(1 / 20)
        assert np.isnan(found["ci_low"])  # 20 groups
        assert "few_for_interval" in found["warnings"]
    lonely = shared_space_rows(Question(*sides, groups=["all"] * 200))
    assert lonely["value"].isna().all() and lonely["reason"].str.contains("one_group").all()


def test_a_layer_from_which_the_model_cannot_go_on_says_so_and_the_fitted_space_has_it() -> None:
    asked = question()
    own = {ref: rows for ref, rows in asked.vision.own.items() if ref.layer}
    narrow = Embedded(asked.vision.spec, own, asked.vision.pooled, "cls")
    rows = shared_space_rows(Question(narrow, asked.text))
    lacking = row(rows, "recall_at_5", 0, 2, "own", "image_to_text")
    assert np.isnan(lacking["value"]) and "other_width" in lacking["reason"]
    assert row(rows, "recall_at_5", 0, 2, "fitted", "image_to_text")["value"] > 0


def test_a_layer_that_is_not_finite_says_so() -> None:
    asked = question()
    asked.text.own[LayerRef("text", 1)][3] = np.nan
    rows = shared_space_rows(asked)
    bad = rows[rows["layer_b"].eq(1) & rows["stream_b"].eq("text") & rows["space"].eq("own")]
    assert len(bad) and bad["value"].isna().all() and bad["reason"].str.contains("not_finite").all()
    assert rows[rows["layer_b"].eq(2)]["value"].notna().all()


def test_the_median_rank_shares_out_ties_and_takes_the_best_of_a_group() -> None:
    x = np.eye(4)
    assert float(median_rank(x, x, np.arange(4))) == 1
    same = np.tile(x[:1], (4, 1))
    assert float(median_rank(x, same, np.arange(4))) == 2.5
    # Each finds the other one of its group first.
    swapped = x[[1, 0, 3, 2]]
    assert float(median_rank(x, swapped, np.array([0, 0, 1, 1]))) == 1
    assert float(median_rank(x, swapped, np.arange(4))) == 3


def test_binary_and_multilabel_classes_are_told_by_areas_under_the_curve() -> None:
    rng = np.random.default_rng(0)
    images, prompts = directions(200, 6), directions(4, 6, 9)
    many = (rng.random((200, 4)) < 0.3).astype(int)
    scores = images @ prompts.T
    own = np.arange(200)
    expected = np.mean([roc_auc_score(many[:, c], scores[:, c]) for c in range(4)])
    found = zero_shot(images, prompts, many, "multilabel", own)
    assert float(found) == pytest.approx(expected, abs=1e-12)
    assert found.null_mean == pytest.approx(0.5, abs=0.01)
    assert found.ci_low < expected < found.ci_high
    one = np.where(rng.random(200) < 0.1, -1, many[:, 0])
    known = one >= 0
    area = roc_auc_score(one[known], (scores[:, 1] - scores[:, 0])[known])
    pair = zero_shot(images, prompts[:2], one, "binary", own)
    assert float(pair) == pytest.approx(area, abs=1e-12) and pair.n == known.sum()
    assert np.isnan(zero_shot(images, prompts[:2], np.ones(200, int), "binary", own))


def test_leaving_out_a_group_is_measuring_the_others() -> None:
    x, y = related(40)
    own = np.sort(np.random.default_rng(0).integers(0, 12, 40))
    own = np.unique(own, return_inverse=True)[1]
    for group in range(int(own.max()) + 1):
        rest = own != group
        assert gaps_without(x, y, own)[group] == pytest.approx(modality_gap(x[rest], y[rest]))
        assert alignments_without(x, y, own)[group] == pytest.approx(alignment(x[rest], y[rest]))
        assert uniformities_without(x, own)[group] == pytest.approx(uniformity(x[rest]))


@pytest.mark.parametrize(("size", "p"), [(1, 0.3), (4, 0.3), (4, 0.03)])
def test_intervals_of_shares_cover_what_they_should_whatever_the_groups(
    size: int, p: float
) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        of_group = rng.beta(2 * p, 2 * (1 - p), size=60)
        hits = rng.binomial(size, of_group).astype(float)
        low, high = share_interval(hits, np.full(60, float(size)))
        covered.append(low <= p <= high)
    assert 0.9 < np.mean(covered) < 0.99


def test_intervals_of_areas_and_of_the_jackknife_cover_what_they_should() -> None:
    rng = np.random.default_rng(0)
    areas, means = [], []
    for _ in range(300):
        truth = np.repeat(rng.random(60) < 0.5, 3)
        score = np.repeat(rng.normal(size=60), 3) + rng.normal(size=180) + truth
        images = np.stack([np.cos(score / 20), np.sin(score / 20)], axis=1)
        found = zero_shot(
            images, np.eye(2), truth.astype(int), "binary", np.repeat(np.arange(60), 3)
        )
        areas.append(found.ci_low <= norm.cdf(1 / 2) <= found.ci_high)
        values = rng.normal(size=50)
        low, high = jackknife_interval(values.mean(), (values.sum() - values) / (len(values) - 1))
        means.append(low <= 0 <= high)
    assert 0.9 < np.mean(means) < 0.99
    assert 0.88 < np.mean(areas) < 0.99
    assert np.isnan(area_interval(1.0, np.zeros(60))[0])
    assert np.isnan(area_interval(0.5, np.zeros(60))[0])  # all scores tie
    low, high = share_interval(np.full(50, 1 / 50), np.ones(50))  # ties share out each hit
    assert 0 < low < 1 / 50 < high < 0.2
