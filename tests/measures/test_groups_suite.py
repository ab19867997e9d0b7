"""Samples that belong together in the suite: every row is by group."""

import numpy as np
import pytest

from backend.measures import (
    MEASURES,
    cka,
    linear_predictivity,
    linear_probe,
    mutual_knn,
    retrieval,
    rsa,
)
from backend.measures.suite.compute import compute, measure_rows
from backend.measures.suite.cross import cross_cka
from backend.measures.suite.layer_probes import probe_rows
from backend.measures.suite.layers import Layers
from backend.measures.suite.linear_cka import cka_rows
from backend.measures.suite.parts import part_of
from backend.measures.suite.retrieval_rows import recall_rows
from backend.measures.suite.rows import tidy_frame
from backend.remarks import in_words
from backend.types import LayerRef, TaskSpec


@pytest.fixture(scope="module")
def grouped_layers(arrays):
    """Two layers of vision and of text on 36 photos with 3 captions each."""
    task = TaskSpec("joy", "binary", ("no", "yes"))
    labels = np.random.default_rng(9).integers(2, size=36)[np.arange(108) // 3]
    return Layers(
        {
            LayerRef("vision", 0): arrays.photos(36, 3, 6, 0),
            LayerRef("vision", 1): arrays.photos(36, 3, 6, 1),
            LayerRef("text", 0): arrays.photos(36, 3, 5, 2, noise=1.0),
            LayerRef("text", 1): arrays.photos(36, 3, 5, 3, noise=0.5),
        },
        "cls",
        {"vision": "vision", "text": "text"},
        labels={task: labels},
        groups=arrays.names(36, 3),
    )


def test_rows_of_cka_are_by_group(grouped_layers):
    frame = tidy_frame(cka_rows(grouped_layers).rows)
    rows = frame[frame.stream_a != frame.stream_b]
    for row in rows.itertuples():
        x = grouped_layers.arrays[LayerRef(row.stream_a, row.layer_a)]
        y = grouped_layers.arrays[LayerRef(row.stream_b, row.layer_b)]
        debiased = row.estimator == "debiased"
        single = cka(
            x, y, estimator=row.estimator, groups=grouped_layers.groups,
            interval=True, p_value=debiased,
        )  # fmt: skip
        assert row.value == pytest.approx(float(single), abs=1e-12)
        assert (row.ci_low, row.ci_high) == pytest.approx((single.ci_low, single.ci_high), abs=1e-9)
        found = (row.null_mean, row.null_sd, row.p_value)
        expected = (single.null_mean, single.null_sd, single.p_value)
        assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)
        assert ("108 samples in 36 groups" in in_words(row.warnings)) == debiased
    assert rows[rows.estimator == "debiased"].p_value.between(0.001, 1).all()
    assert cka_rows(grouped_layers).drivers.share.notna().all()


def test_rows_of_every_other_measure_are_by_group(grouped_layers):
    x, y = (grouped_layers.arrays[LayerRef(s, 1)] for s in ("vision", "text"))
    groups = grouped_layers.groups
    expected = {
        "mutual_knn": mutual_knn(x, y, groups=groups),
        "rsa": rsa(x, y, groups=groups),
        "linear_predictivity": linear_predictivity(x, y, groups=groups),
        "cka_rbf": cka(x, y, kernel="rbf", groups=groups),
    }
    for name, single in expected.items():
        measure = MEASURES[name]
        (row,) = (
            row
            for row in measure_rows(measure, measure.arguments, grouped_layers)
            if (row["stream_a"], row["layer_a"], row["stream_b"], row["layer_b"])
            == ("vision", 1, "text", 1)
        )
        assert row["value"] == pytest.approx(float(single), abs=1e-9), name
        assert row["null_sd"] == pytest.approx(single.null_sd, nan_ok=True), name
        assert "groups" not in row["params"]


def test_rows_of_probes_and_retrieval_are_by_group(grouped_layers):
    groups = grouped_layers.groups
    (labels,) = grouped_layers.labels.values()
    asked = {"linear_probe": MEASURES["linear_probe"].arguments}
    rows = {(r["stream_a"], r["layer_a"], r["stream_b"]): r for r in
            probe_rows(grouped_layers, asked).rows}  # fmt: skip
    x, y = (grouped_layers.arrays[LayerRef(s, 1)] for s in ("vision", "text"))
    single = linear_probe(x, labels, task="binary", groups=groups)
    assert rows["vision", 1, ""]["value"] == pytest.approx(float(single))
    assert float(single) + 0.05 < float(linear_probe(x, labels, task="binary"))
    recalls = {"recall_at_5": {"ks": (5,), "seed": 0}}
    found = [
        row
        for row in recall_rows(grouped_layers, recalls).rows
        if (row["layer_a"], row["layer_b"]) == (1, 1) and row["measure"] == "recall_at_5"
    ]
    both = retrieval(x, y, ks=(5,), groups=groups)
    assert [row["value"] for row in found] == [float(both.x_to_y[5]), float(both.y_to_x[5])]
    assert found[0]["null_mean"] == pytest.approx(both.x_to_y[5].null_mean)


def test_a_gallery_that_whole_groups_leave_too_small_is_a_reason():
    groups = np.r_[np.zeros(6), 1, 2, 3, 4, 5, 6].astype(str)
    rng = np.random.default_rng(0)
    layers = Layers(
        {LayerRef(s, 0): rng.normal(size=(12, 3)) for s in ("vision", "text")},
        "cls",
        groups=groups,
    )
    rows = list(recall_rows(layers, {"recall": {"ks": (1, 5, 10), "seed": 0}}).rows)
    assert {row["measure"] for row in rows} == {f"recall_at_{k}" for k in (1, 5, 10)}
    assert all(row["reason"] for row in rows if row["measure"] == "recall_at_10")


def test_groups_are_thinned_with_their_samples_and_reach_every_part(grouped_layers):
    thin = grouped_layers.thinned(20)
    kept = np.linspace(0, 107, 20).round().astype(int)
    assert (thin.groups == grouped_layers.groups[kept]).all()
    rows = tidy_frame(compute(part_of("default", "neighbours"), grouped_layers).rows)
    near = rows[(rows.measure == "mutual_knn") & (rows.stream_a != rows.stream_b)]
    assert (((near.value - near.null_mean) / near.null_sd).abs() < 4).all()
    thesis = tidy_frame(compute(part_of("thesis", "cka"), grouped_layers).rows)
    pairs = thesis[thesis.stream_a != thesis.stream_b]
    assert pairs.null_mean.isna().all()
    assert pairs.warnings.map(in_words).str.contains("see the debiased one").all()


def test_two_models_are_compared_by_group(grouped_layers):
    frame = cross_cka(grouped_layers, grouped_layers)
    rows = frame[(frame.stream_a != frame.stream_b) & (frame.estimator == "debiased")]
    assert rows.p_value.min() > 0.001 and len(rows) == 8
    assert rows.warnings.map(in_words).str.contains("108 samples in 36 groups").all()
