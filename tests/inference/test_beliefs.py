"""What kept probes say of a pair: scikit-learn's own probabilities, through the store and back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backend.errors import InputError
from backend.inference.beliefs import COLUMNS, beliefs, kept_probes
from backend.jobs.measure import measure_store
from backend.measures.suite.parts import measure_key
from backend.store import Store, kinds
from backend.store.pack import pack
from backend.store.vectors import DUCKDB
from backend.types import LayerRef

N = 60
OPTIONS = {"max_iter": 100, "tol": 1e-3}
CASES = [
    ("irony", ("vision", "3"), "cls"),
    ("irony", ("text", "1"), "mean"),
    ("object", ("vision", "2"), "mean"),
    ("object", ("text", "3"), "cls"),
    ("topics", ("vision", "1"), "cls"),
    ("topics", ("text", "3"), "mean"),
]


@pytest.fixture(scope="module")
def kept(store_factory, tmp_path_factory) -> Store:
    """A measured run with vectors; do not change it."""
    path = tmp_path_factory.mktemp("probes") / "store"
    store = store_factory.make_store(
        path, ["early"], [0], n=N, depth=3, width=6, measures=False, projections=False
    )
    measure_store(store)
    return store


@pytest.fixture
def store(kept: Store, tmp_path: Path) -> Store:
    """A copy to change."""
    return Store(shutil.copytree(kept.path, tmp_path / "store"))


def trace_of(run, row):
    """The vectors of a reference sample, as a trace holds them."""
    return {
        (ref, pooling): run.vectors(ref.stream, ref, pooling, rows=[row])[0]
        for ref, pooling in run.captured()
    }


def expected_of(run, task, ref, pooling, vector):
    """{class: probability} by a pipeline that is fitted here, on the samples as they are listed."""
    labels = run.samples()[f"label_{task}"]
    have = labels.notna().to_numpy()
    x = run.vectors(ref.stream, ref, pooling)[have].astype(np.float64)
    at = vector[None].astype(np.float64)

    def fit(y, weight=None):
        logistic = LogisticRegression(C=1 / (0.03 * len(x)), class_weight=weight, **OPTIONS)
        return make_pipeline(StandardScaler(), logistic).fit(x, y)

    if task == "topics":
        names = sorted({name for row in labels[have] for name in row})
        return {
            name: fit([name in row for row in labels[have]], "balanced").predict_proba(at)[0, 1]
            for name in names
        }
    model = fit(labels[have].to_numpy())
    names = [str(c) for c in model.classes_]
    if task == "irony":
        names = [run.manifest.tasks[0].classes[int(c)] for c in model.classes_]
    return dict(zip(names, model.predict_proba(at)[0], strict=True))


def is_at(frame, ref, pooling):
    place = zip(frame["stream"], frame["layer"], frame["site"], frame["pooling"], strict=True)
    return pd.Series([at == (ref.stream, ref.layer, ref.site, pooling) for at in place])


def rows_of(frame, task, ref, pooling):
    return frame[frame["task"].eq(task) & is_at(frame, ref, pooling)]


@pytest.mark.parametrize(("task", "place", "pooling"), CASES)
def test_a_kept_probe_gives_the_probabilities_of_scikit_learn(kept, task, place, pooling):
    run, ref = kept.run("early-seed0"), LayerRef.parse(*place)
    for sample in (0, 7, 31):
        vectors = trace_of(run, sample)
        rows = rows_of(beliefs(run, vectors), task, ref, pooling)
        given = dict(zip(rows["class"], rows["probability"], strict=True))
        expected = expected_of(run, task, ref, pooling, vectors[ref, pooling])
        assert set(given) == set(expected)
        for name, value in expected.items():
            assert given[name] == pytest.approx(value, abs=1e-6), (sample, name)


def test_a_row_a_class_of_every_probe_at_its_place_on_the_axis(kept):
    run = kept.run("early-seed0")
    frame = beliefs(run, trace_of(run, 5))
    assert list(frame.columns) == list(COLUMNS)
    probes = run.table(kinds.PROBES).to_pandas()
    columns = ["stream", "layer", "site", "pooling", "task", "class"]
    pd.testing.assert_frame_equal(frame[columns], probes[columns], check_dtype=False)
    inside = {"block": 0.0, "fusion": -0.5}  # a fusion layer writes before its block's output
    assert frame["position"].eq(frame["layer"] + frame["site"].map(inside)).all()
    assert list(rows_of(frame, "object", LayerRef("text", 2), "cls")["class"]) == [
        "cat", "dog", "car",
    ]  # fmt: skip
    sums = frame.groupby(["pooling", "task", "stream", "layer", "site"])["probability"].sum()
    assert sums.drop("topics", level="task").to_numpy() == pytest.approx(1)
    assert not np.allclose(sums.xs("topics", level="task"), 1)


def test_only_what_the_trace_has_is_asked(kept):
    run = kept.run("early-seed0")
    vectors = trace_of(run, 5)
    whole = beliefs(run, vectors)
    at = LayerRef("text", 2)
    some = beliefs(run, {(at, "mean"): vectors[at, "mean"], (LayerRef("audio", 1), "cls"): None})
    wanted = whole[is_at(whole, at, "mean")]
    pd.testing.assert_frame_equal(some, wanted.reset_index(drop=True))
    assert len(some) == 2 + 3 + 3
    assert beliefs(run, {}).empty


def test_nothing_kept_is_no_rows_until_the_store_is_measured_again(store):
    run = store.run("early-seed0")
    vectors = trace_of(run, 5)
    before = beliefs(run, vectors)
    for path in run.contents.files(kinds.PROBES).values():
        path.unlink()
    empty = beliefs(run, vectors)
    assert empty.empty and dict(empty.dtypes) == dict(before.dtypes)
    assert {task.part for task in measure_store(store)} == {"probes"}
    pd.testing.assert_frame_equal(beliefs(run, vectors), before)


def test_a_vector_of_another_width_is_refused_in_one_line(kept):
    run = kept.run("early-seed0")
    vectors = trace_of(run, 5)
    vectors[LayerRef("text", 2), "mean"] = np.ones(7, dtype=np.float32)
    with pytest.raises(InputError) as error:
        beliefs(run, vectors)
    assert str(error.value) == (
        "layer 2 of text: the mean vector has shape (7,), the probe of irony in run early-seed0 "
        "expects (6,). Trace the model that the run was captured from"
    )


def test_a_broken_vector_is_nan_and_leaves_the_others_as_they_are(kept):
    run = kept.run("early-seed0")
    vectors = trace_of(run, 5)
    before = beliefs(run, vectors)
    at = LayerRef("vision", 2), "cls"
    vectors[at] = np.full(6, np.inf, dtype=np.float32)
    after = beliefs(run, vectors)
    broken = is_at(after, *at)
    assert after["probability"].isna().equals(broken) and broken.sum() == 8
    pd.testing.assert_frame_equal(after[~broken], before[~broken])


def test_a_packed_store_says_the_same(kept, tmp_path):
    run = kept.run("early-seed0")
    pack([kept], tmp_path / "packed.duckdb")
    packed = Store(tmp_path / "packed.duckdb").run("early-seed0")
    vectors = trace_of(run, 9)
    pd.testing.assert_frame_equal(beliefs(packed, vectors), beliefs(run, vectors))


def test_the_probes_of_this_version_are_taken_before_those_of_others(store):
    run = store.run("early-seed0")
    vectors = trace_of(run, 5)
    before = beliefs(run, vectors)
    table = run.table(kinds.PROBES, [measure_key("default", "probes", "cls")]).drop_columns("key")
    zero = pa.array(np.zeros(len(table)))
    other = table.set_column(table.schema.get_field_index("intercept"), "intercept", zero)
    run.add(kinds.PROBES, other, "a-made")
    assert run.keys(kinds.PROBES)[0] == "a-made"
    pd.testing.assert_frame_equal(beliefs(run, vectors), before)
    run.contents.file(kinds.PROBES, measure_key("default", "probes", "cls")).unlink()
    changed = beliefs(run, vectors)
    assert len(changed) == len(before) and len(kept_probes(run)) * 8 == len(before) * 3
    assert not changed["probability"].equals(before["probability"])


def test_duckdb_alone_computes_a_probability(kept):
    run, ref = kept.run("early-seed0"), LayerRef("vision", 3)
    vector = trace_of(run, 5)[ref, "cls"]
    eight = " || ".join(f"vector[i+{k}:i+{k}]" for k in range(8, 0, -1))
    double = f"list_transform(range(0, octet_length(vector), 8), lambda i: ({eight})::BIT::DOUBLE)"
    numbers = [
        double.replace("vector", "mean"),
        double.replace("vector", "scale"),
        DUCKDB["float32"].replace("vector", "coefficients"),
    ]
    sql = f"""
        SELECT 1 / (1 + exp(-intercept - list_sum(list_transform(
            range(1, 7), lambda k: c[k] * ($x[k] - m[k]) / s[k])))) AS probability
        FROM (SELECT *, {numbers[0]} AS m, {numbers[1]} AS s, {numbers[2]} AS c FROM probes)
        WHERE task = 'irony' AND class = 'ironic' AND stream = 'vision' AND layer = 3
          AND pooling = 'cls'
    """  # noqa: S608
    (value,) = kept.query(sql, {"x": vector.astype(float).tolist()})["probability"]
    rows = rows_of(beliefs(run, {(ref, "cls"): vector}), "irony", ref, "cls")
    assert value == pytest.approx(rows["probability"].iloc[1], abs=1e-12)
