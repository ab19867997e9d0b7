"""The rows of the linear probes: which layers, which samples, which labels, and why not."""

import json

import numpy as np
import pytest

from backend.errors import InputError
from backend.measures import MEASURES, linear_probe
from backend.measures.families.probes import fit_linear_probe
from backend.measures.suite.layer_probes import matching, target_of
from backend.measures.suite.layer_probes import probe_rows as table_of
from backend.measures.suite.layers import Layers
from backend.remarks import in_words
from backend.types import LayerRef, StreamSpec, TaskSpec, matched_layers

N = 60
ASKED = {"linear_probe": MEASURES["linear_probe"].arguments}
FOLDS = 5
VISION = StreamSpec.of("vision", "vision", 3, 4, (2,))
TEXT = StreamSpec.of("text", "text", 2, 3)
YES = TaskSpec("joy", "binary", ("no", "yes"))
KIND = TaskSpec("kind", "multiclass", ("cat", "dog", "cow"))
TOPICS = TaskSpec("topics", "multilabel", ("a", "b", "rare"))


@pytest.fixture(scope="module")
def layers():
    """Text knows one half of the answer to YES, vision the other; embeddings know nothing."""
    rng = np.random.default_rng(1)
    half = {"text": rng.normal(size=N), "vision": rng.normal(size=N)}
    arrays = {}
    for spec in (TEXT, VISION):
        for ref in spec.refs:
            x = rng.normal(size=(N, spec.width))
            if ref.layer:
                x[:, 0] = half[spec.name]
            arrays[ref] = x.astype(np.float32)
    arrays[LayerRef("vision", 0)][:] = 1.0
    joy = (half["text"] + half["vision"] > 0).astype(int)
    joy[::10] = -1
    topics = np.column_stack([half["text"] > 0, half["vision"] > 0, np.arange(N) < 2]).astype(int)
    return Layers(
        arrays,
        "cls",
        {"vision": "vision", "text": "text"},
        labels={YES: joy, KIND: np.arange(N) % 3, TOPICS: topics},
    )


def probe_rows(layers):
    return table_of(layers, ASKED).rows


def rows_of(layers, task):
    return [row for row in probe_rows(layers) if row["estimator"] == task.name]


def test_a_row_a_task_for_every_block_and_every_matching_pair(layers):
    places = {
        (row["stream_a"], row["layer_a"], row["stream_b"], row["layer_b"])
        for row in rows_of(layers, KIND)
    }
    single = {(s.name, k, "", -1) for s in (VISION, TEXT) for k in range(s.depth + 1)}
    joint = {("vision", a.layer, "text", b.layer) for a, b in matched_layers(VISION, TEXT)}
    assert places == single | joint
    rows = list(probe_rows(layers))
    assert len(rows) == 3 * len(places)
    assert {row["pooling"] for row in rows} == {"cls"}
    assert matching(layers) == list(matched_layers(VISION, TEXT))


def test_two_streams_together_read_what_neither_reads_alone(layers):
    value = {
        (row["stream_a"], row["stream_b"], row["layer_a"]): row["value"]
        for row in rows_of(layers, YES)
    }
    assert value["vision", "text", 3] > 0.95
    assert max(value["vision", "", 3], value["text", "", 2]) < 0.9
    assert value["text", "", 0] < 0.65


def test_the_value_is_the_probe_of_the_labelled_samples(layers):
    have = layers.labels[YES] >= 0
    both = [layers.arrays[LayerRef("vision", 3)], layers.arrays[LayerRef("text", 2)]]
    expected = linear_probe(
        np.concatenate(both, axis=1)[have], layers.labels[YES][have], task="binary"
    )
    (row,) = [r for r in rows_of(layers, YES) if r["stream_b"] and r["layer_a"] == 3]
    assert row["value"] == pytest.approx(float(expected))
    assert (row["ci_low"], row["ci_high"]) == (expected.ci_low, expected.ci_high)
    assert row["n"] == have.sum() == 54
    assert row["null_mean"] == 0.5
    params = json.loads(row["params"])
    assert (params["task"], params["kind"], params["metric"]) == ("joy", "binary", "AUROC")


def test_a_constant_layer_has_its_reason_and_its_pair_has_a_value(layers):
    rows = {(r["stream_a"], r["stream_b"]): r for r in rows_of(layers, KIND) if r["layer_a"] == 0}
    assert np.isnan(rows["vision", ""]["value"])
    said = in_words(rows["vision", ""]["reason"])
    assert said.endswith("the summary token does not depend on the image yet")
    assert rows["vision", "text"]["reason"] == "" and rows["vision", "text"]["value"] > 0


def test_chance_is_the_largest_class_and_rare_labels_are_left_out_and_said(layers):
    known = [row["null_mean"] for row in rows_of(layers, KIND) if not row["reason"]]
    np.testing.assert_allclose(known, 1 / 3)
    assert all(
        "1 of 3 labels left out" in in_words(row["warnings"]) for row in rows_of(layers, TOPICS)
    )
    found = [r for r in rows_of(layers, TOPICS) if r["stream_a"] == "vision" and not r["stream_b"]]
    assert all(np.isfinite(row["value"]) for row in found if row["layer_a"])


def test_samples_of_rare_classes_are_left_out_unless_nothing_would_be_left():
    labels = np.array([0] * 8 + [1] * 7 + [2] * (FOLDS - 1) + [-1] * 3)
    target = target_of(KIND, labels, FOLDS)
    assert sorted(set(target.labels.tolist())) == ["cat", "dog"]
    assert len(target.rows) == 15 and "4 samples left out: their 1 classes" in str(target.remark)
    few = target_of(KIND, np.array([0, 1, 2, 0, 1, 2, -1]), FOLDS)
    assert len(few.rows) == 6 and not few.remark
    layers = Layers(
        {LayerRef("text", 0): np.random.default_rng(0).normal(size=(7, 2))},
        "cls",
        labels={KIND: np.array([0, 1, 2, 0, 1, 2, -1])},
    )
    (row,) = probe_rows(layers)
    assert in_words(row["reason"]) == "class cat has 2 samples, fewer than 5 folds"


def test_too_few_labelled_samples_are_a_reason_and_not_an_error():
    arrays = {LayerRef("text", 0): np.ones((4, 2), dtype=np.float32)}
    labels = {YES: np.array([-1, 1, -1, -1])}
    (row,) = probe_rows(Layers(arrays, "mean", labels=labels))
    assert np.isnan(row["value"]) and in_words(row["reason"]) == "fewer than 2 samples have a label"


def test_labels_are_thinned_with_their_samples(layers):
    thin = layers.thinned(20)
    kept = np.linspace(0, N - 1, 20).round().astype(int)
    assert all((thin.labels[task] == layers.labels[task][kept]).all() for task in layers.labels)
    row = next(iter(probe_rows(thin)))
    assert "of 20 of 60 samples" in in_words(row["warnings"])


def test_a_bad_value_is_named_with_its_layer(layers):
    arrays = {ref: x.copy() for ref, x in layers.arrays.items()}
    arrays[LayerRef("text", 1)][3] = np.nan
    bad = Layers(arrays, "cls", layers.modalities, labels=layers.labels)
    with pytest.raises(InputError, match="layer 1 of text: NaN in 1 of 54 rows"):
        list(probe_rows(bad))


def test_without_labels_there_are_no_rows(layers):
    assert list(probe_rows(Layers(layers.arrays, "cls", layers.modalities))) == []


def probes_of(layers, **equal):
    rows = table_of(layers, ASKED).probes
    return [row for row in rows if all(row[name] == value for name, value in equal.items())]


def test_a_probe_is_kept_of_every_single_layer_that_has_a_value_and_of_named_sites(layers):
    valued = {
        (row["estimator"], row["stream_a"], row["layer_a"], row["site_a"], row["n"])
        for row in probe_rows(layers)
        if not row["stream_b"] and not row["reason"]
    }
    rows = probes_of(layers)
    places = {(r["task"], r["stream"], r["layer"], r["site"], r["n"]) for r in rows}
    fusion = {
        (name, "vision", 2, "fusion", n) for name, n in (("joy", 54), ("kind", N), ("topics", N))
    }
    assert places == valued | fusion and len(valued) == 3 * 6
    assert ("joy", "vision", 0, "block", 54) not in places
    assert len(rows) == 7 * (2 + 3 + 2)
    assert {row["pooling"] for row in rows} == {"cls"}


def test_a_kept_probe_is_fitted_once_on_all_labelled_samples(layers):
    have = layers.labels[YES] >= 0
    x = layers.arrays[LayerRef("vision", 2)]
    probe = fit_linear_probe(x[have], layers.labels[YES][have], task="binary")
    rows = probes_of(layers, task="joy", stream="vision", layer=2, site="block")
    assert [row["class"] for row in rows] == ["no", "yes"]
    for at, row in enumerate(rows):
        np.testing.assert_array_equal(row["mean"], x[have].astype(np.float64).mean(axis=0))
        np.testing.assert_array_equal(row["coefficients"], probe.coefficients[at])
        assert row["intercept"] == probe.intercepts[at]


def test_outputs_are_called_by_their_classes_and_come_in_the_tasks_order(layers):
    place = {"stream": "text", "layer": 2}
    kind = probes_of(layers, task="kind", **place)
    topics = probes_of(layers, task="topics", **place)
    assert [row["class"] for row in kind] == ["cat", "dog", "cow"]
    assert [row["class"] for row in topics] == ["a", "b"]  # the rare one is left out
    x = layers.arrays[LayerRef("text", 2)].astype(np.float64)
    for name, column in (("cat", 0), ("dog", 1), ("cow", 2)):
        (row,) = [r for r in kind if r["class"] == name]
        z = (x - row["mean"]) / row["scale"]
        logits = z @ row["coefficients"] + row["intercept"]
        mine = layers.labels[KIND] == column
        assert logits[mine].mean() > logits[~mine].mean()
    knows = [np.abs(row["coefficients"]).argmax() for row in topics]
    assert knows[0] == 0  # text's first coordinate says whether topic a is there


def test_kept_probes_name_the_layer_of_a_bad_value(layers):
    arrays = {ref: x.copy() for ref, x in layers.arrays.items()}
    arrays[LayerRef("text", 1)][3] = np.nan
    bad = Layers(arrays, "cls", layers.modalities, labels=layers.labels)
    with pytest.raises(InputError, match="layer 1 of text: NaN in 1 of 54 rows"):
        probes_of(bad)
