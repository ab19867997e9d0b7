"""The thesis's numbers as they are shipped, against what it published and against itself."""

import math

import pandas as pd
import pytest

from backend.study import published_claims, published_curves, published_scores, published_table
from backend.study.reference import (
    DATASETS,
    QUANTITIES,
    SOURCE,
    published_cell,
    published_points,
)
from backend.study.statistics import pearson, welch_estimate

NAMES = {"searched 1": "optuna1", "searched 2": "optuna2", "late + CKA loss": "late_cka_loss"}


def test_every_placement_has_a_score_on_every_dataset():
    scores = published_scores()
    assert len(scores) == 12 * 3
    by = {(one.placement, one.dataset): one for one in scores}
    late = by["late", "hateful_memes"]
    assert (late.mean, late.sd, late.seeds, late.metric) == (0.764, 0.004, 3, "auroc")
    assert late.text_layers == late.vision_layers == (10, 11, 12)
    searched = by["searched 2", "upmc_food"]
    assert (searched.text_layers, searched.vision_layers) == ((8, 10, 11, 12), (7, 8, 10, 11))
    assert (searched.mean, searched.sd, searched.metric) == (0.922, 0.001, "accuracy")
    assert by["none", "mm_imdb"].text_layers == ()


def test_the_ablation_without_pretraining_is_apart():
    without = {one.placement: one for one in published_scores(False)}
    assert {name: one.mean for name, one in without.items()} == {
        "none": 0.675, "early": 0.693, "middle": 0.709, "late": 0.699, "full": 0.657,
    }  # fmt: skip
    assert all(math.isnan(one.sd) and one.seeds == 0 for one in without.values())
    assert len(published_scores(None)) == 36 + 5


def test_curves_are_complete_and_read_only():
    for quantity in QUANTITIES:
        for dataset in DATASETS:
            curve = published_curves(quantity, dataset)
            assert len(curve) == 9 * 12 and not curve.isna().any().any()
    changed = published_curves("cka", "mm_imdb")
    changed["mean"] = 0.0
    assert published_curves("cka", "mm_imdb")["mean"].max() > 0.9
    with pytest.raises(ValueError, match="no speed on mm_imdb"):
        published_curves("speed", "mm_imdb")


def test_curves_are_the_published_ones(shared_dir):
    source = pd.read_csv(shared_dir / "reference" / "thesis_layerwise.csv", keep_default_na=False)
    for quantity in QUANTITIES:
        name = {"mutual_knn": "mknn"}.get(quantity, quantity)
        for dataset in DATASETS:
            ours = published_curves(quantity, dataset)
            ours["placement"] = ours["placement"].replace(NAMES)
            theirs = source[source["quantity"].eq(name) & source["dataset"].eq(dataset)]
            both = ours.merge(theirs, on=["placement", "layer"], suffixes=("", "_theirs"))
            assert len(both) == 9 * 12
            assert both["mean"].tolist() == both["mean_theirs"].tolist()
            assert both["sd"].tolist() == both["sd_theirs"].tolist()


def test_the_published_table_marks_late_as_best_everywhere():
    table = published_table()
    best = {row.label for (row, _), cell in table.cells.items() if cell.best}
    assert best == {"late"} and len(table.columns) == 3
    assert SOURCE in table.notes


def test_correlations_are_those_that_the_thesis_reports():
    """Pearson over 8 placements, last layer, CKA: HM .46 n.s., MM-IMDb .92, UPMC .91."""
    points = published_points()
    assert points.groupby(["dataset", "measure"]).size().eq(8).all()
    cka = points[points["measure"].eq("cka")]
    every = {name: pearson(*zip(*zip(rows["alignment"], rows["score"], strict=True), strict=True))
             for name, rows in cka.groupby("dataset")}  # fmt: skip
    assert every["Hateful Memes"].value == pytest.approx(0.46, abs=0.01)
    assert every["MM-IMDb"].value == pytest.approx(0.92, abs=0.006)
    assert every["UPMC Food-101"].value == pytest.approx(0.91, abs=0.006)


def test_what_carries_the_published_correlation_on_memes_is_the_placement_that_does_not_fuse():
    result = published_claims()[3]
    found = {one.dataset: one for one in result.findings if one.measure == "cka"}
    assert {one.n for one in found.values()} == {7}
    assert found["Hateful Memes"].value == pytest.approx(-0.49, abs=0.006)
    assert result.notes[0] == "Left out, for they do not fuse: none."


def test_late_is_compared_unpaired_and_a_rounded_sd_is_not_zero():
    scores = published_claims()[2]
    by = {(one.dataset, one.subject): one for one in scores.findings}
    memes = by["Hateful Memes", "late – middle"]
    assert memes.value == pytest.approx(0.014) and memes.verdict == "underpowered"
    assert by["Hateful Memes", "late – full"].verdict == "supported"
    food = by["UPMC Food-101", "late – early"]
    # Early's sd is published as .000: half a digit is as much as that can hide.
    known = welch_estimate(0.928, 0.001, 3, 0.893, 0.0005, 3)
    assert (food.low, food.high) == pytest.approx((known.low, known.high))
    assert "not paired" in memes.sentence


def test_what_was_not_published_is_not_asked():
    transitions, dimension = published_claims()[:2]
    assert transitions.findings == dimension.findings == ()
    assert "87 %" in dimension.notes[0]


def test_a_published_score_stands_beside_a_run_of_the_same_dataset_and_metric_only():
    assert published_cell("mmimdb", "macro_f1", "late").mean == 0.545
    assert published_cell("mmimdb", "accuracy", "late") is None
    assert published_cell("macros", "auroc", "late") is None
    # The thesis writes two words, a placement is called by one.
    assert published_cell("food101", "accuracy", "searched_2").mean == 0.922
