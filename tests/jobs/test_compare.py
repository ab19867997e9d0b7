"""``compare``: every pair that lacks it, refusals before any work, several processes at once."""

from __future__ import annotations

import subprocess
import sys
from shutil import rmtree

import numpy as np
import pytest

from backend.errors import InputError
from backend.jobs import compare as job
from backend.jobs.compare import compare_all, compare_runs, comparison_key
from backend.measures import cka_matrix
from backend.measures.chance.pvalues import holm
from backend.measures.suite.cross import cross_cka
from backend.measures.suite.layers import Layers
from backend.remarks import Place, in_words, read_text
from backend.store import Store, kinds
from backend.types import LayerRef

A, B, C = "early-seed0", "late-seed0", "none-seed0"


@pytest.fixture
def store(store_factory, tmp_path):
    return store_factory.make_store(
        tmp_path / "store", ("none", "early", "late"), seeds=(0,), n=24, depth=4, width=6,
        measures=False, projections=False, checkpoint=False, keep_activations="all",
    )  # fmt: skip


def test_every_pair_gets_the_numbers_of_cka_matrix(store):
    done = compare_runs(store, [A, B, C])
    assert {(t.run_a, t.run_b, t.pooling) for t in done} == {
        (*pair, pooling) for pair in ((A, B), (A, C), (B, C)) for pooling in ("cls", "mean")
    }
    frame = store.pair(A, B).measures([comparison_key("mean")])
    a, b = store.run(A), store.run(B)
    refs = [ref for spec in a.streams for ref in spec.layers]
    left, right = ([run.vectors(r.stream, r, "mean") for r in refs] for run in (a, b))
    for estimator in ("debiased", "biased"):
        rows = frame[frame["estimator"].eq(estimator)]
        assert len(rows) == 100 and set(rows["pooling"]) == {"mean"} and set(rows["n"]) == {24}
        tested = estimator == "debiased"
        expected = cka_matrix(left, right, estimator=estimator, interval=True, p_value=tested)
        where = {
            (LayerRef(r.stream_a, r.layer_a), LayerRef(r.stream_b, r.layer_b)): r
            for r in rows.itertuples()
        }
        for i, x in enumerate(refs):
            for j, y in enumerate(refs):
                row = where[x, y]
                assert row.value == pytest.approx(expected.values[i, j], abs=1e-9, nan_ok=True)
                assert row.ci_low == pytest.approx(expected.ci_lows[i, j], abs=1e-9, nan_ok=True)
                assert row.null_mean == pytest.approx(
                    expected.null_means[i, j], abs=1e-9, nan_ok=True
                )
        if tested:
            p = expected.p_values[:5, 5:]
            found = [where[x, y].p_corrected for x in refs[:5] for y in refs[5:]]
            np.testing.assert_allclose(found, holm(p).ravel(), rtol=1e-9)
        else:
            assert rows["p_value"].isna().all()


def test_both_directions_of_different_streams_are_there_and_differ(store):
    compare_runs(store, [A, B], poolings=["mean"])
    frame = store.pair(A, B).measures()
    frame = frame[frame["estimator"].eq("debiased")].set_index(
        ["stream_a", "layer_a", "stream_b", "layer_b"]
    )["value"]
    assert frame["vision", 2, "text", 3] != frame["text", 3, "vision", 2]


def test_a_constant_layer_is_undefined_with_the_run_that_it_is_of(store):
    compare_runs(store, [A, B], poolings=["cls"])
    frame = store.pair(A, B).measures()
    dead = frame[frame["stream_a"].eq("vision") & frame["layer_a"].eq(0)]
    assert dead["value"].isna().all()
    said = dead["reason"].map(in_words)
    assert said.str.startswith(f"layer 0 of vision of {A} is constant: the summary").all()
    both = dead[dead["stream_b"].eq("vision") & dead["layer_b"].eq(0)]["reason"].iloc[0]
    assert [r.layers for r in read_text(both)] == [(Place("vision", "0", run),) for run in (A, B)]


def test_a_warning_stands_only_at_the_layers_that_it_is_about():
    rng = np.random.default_rng(0)
    arrays = {LayerRef("vision", k): rng.standard_normal((20, 5)) for k in (1, 11)}
    copies = {**arrays, LayerRef("vision", 1): np.repeat(arrays[LayerRef("vision", 1)][:10], 2, 0)}
    frame = cross_cka(Layers(copies, "cls"), Layers(arrays, "cls"), ("x", "y"))
    noted = frame[frame["warnings"].str.contains("copies")]
    assert set(noted["layer_a"]) == {1} and set(noted["layer_b"]) == {1, 11}
    said = [r.layers for text in noted["warnings"] for r in read_text(text) if r.code == "copies"]
    assert set(said) == {(Place("vision", "1", "x"),)}


def test_only_what_is_missing_is_computed_and_an_interrupted_command_goes_on(store):
    class Stop:
        def advance(self, done, total, what=""):
            assert (done, total, what) == (1, 6, f"{A} ~ {B}: cls")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_runs(store, [A, B, C], progress=Stop())
    rest = compare_runs(store, [C, B, A])
    assert len(rest) == 5
    assert compare_runs(store, [A, B, C]) == []


def test_a_replaced_run_is_compared_again(store, store_factory):
    compare_runs(store, [A, B, C], poolings=["cls"])
    manifest = store.run(A).manifest.model_copy(update={"created": "2026-03-01T12:00:00+00:00"})
    with store.writer(manifest, replace=True) as writer:
        vectors = {k: v + 1.0 * (v**2) for k, v in store_factory.make_vectors(manifest, 24).items()}
        store_factory.write_parts(writer, store_factory.make_samples(24), vectors)
        writer.commit()
    before = store.pair(B, C).measures()
    assert {(t.run_a, t.run_b) for t in compare_runs(store, [A, B, C], poolings=["cls"])} == {
        (A, B), (A, C),
    }  # fmt: skip
    assert store.pair(B, C).measures().equals(before)


def test_runs_of_different_samples_are_refused_with_the_ids(store, store_factory):
    store_factory.make_store(store.path, ("middle",), seeds=(0,), n=20, depth=4, width=6)
    with pytest.raises(InputError, match=r"4 samples only in early-seed0 \(macro-00020, macro"):
        compare_runs(store, [A, "middle-seed0"])
    assert not (store.path / "comparisons").exists()


def test_a_run_without_activations_names_the_capture_command_and_the_others_are_compared(
    store, store_factory
):
    store_factory.make_store(
        store.path, ("full",), seeds=(0,), n=24, depth=4, width=6, keep_activations="none"
    )
    with pytest.raises(InputError, match=r"full-seed0 keeps no activations.*fusionscope capture"):
        compare_runs(store, [A, B, "full-seed0"])
    done, failed = compare_all(store, ["gone", "full-seed0", A, B, C])
    assert [str(task) for task in done] == [
        f"{a} ~ {C}: {pooling}" for a in (A, B) for pooling in ("cls", "mean")
    ]
    assert len(failed) == 7 and "no run 'gone'" in str(failed["gone ~ full-seed0"])
    assert store.pair(A, B).keys(kinds.COMPARISONS)


def test_what_was_compared_needs_no_activations_any_more(store):
    compare_runs(store, [A, B])
    rmtree(store.path / "runs" / A / "activations")
    assert compare_runs(store, [A, B]) == []


@pytest.mark.parametrize("names", [[], [A], [A, A]])
def test_fewer_than_two_runs_are_refused(store, names):
    with pytest.raises(InputError, match="two or more different runs"):
        compare_runs(store, names)


def test_unknown_runs_poolings_and_runs_without_a_common_pooling_are_refused(store, store_factory):
    with pytest.raises(InputError, match="no run 'gone'"):
        compare_runs(store, [A, "gone"])
    with pytest.raises(InputError, match="unknown pooling 'max'"):
        compare_runs(store, [A, B], poolings=["max"])
    for name, pooling in (("full", "cls"), ("middle", "mean")):
        store_factory.make_store(
            store.path, (name,), seeds=(0,), n=24, depth=4, width=6, poolings=(pooling,),
            measures=False, projections=False,
        )  # fmt: skip
    with pytest.raises(InputError, match="no pooling in common"):
        compare_runs(store, ["full-seed0", "middle-seed0"])


def test_a_layer_that_is_not_finite_says_so_and_the_others_are_compared(store, monkeypatch):
    read = type(store.run(A)).vectors

    def with_nan(self, stream, layer, pooling="cls"):
        vectors = read(self, stream, layer, pooling)
        if (self.run_id, stream, layer.label) == (B, "text", "2"):
            vectors[3] = np.nan
        return vectors

    monkeypatch.setattr(type(store.run(A)), "vectors", with_nan)
    compare_runs(store, [A, B], poolings=["mean"])
    rows = store.pair(A, B).measures()
    bad = rows["stream_b"].eq("text") & rows["layer_b"].eq(2)
    assert bad.any() and rows[bad]["value"].isna().all()
    assert {r.code for text in rows[bad]["reason"] for r in read_text(text)} >= {"not_finite"}
    assert rows[~bad]["value"].notna().any()


def test_what_another_process_made_meanwhile_is_no_error(store, monkeypatch):
    compute = job.cross_cka

    def slowly(*arguments):
        monkeypatch.setattr(job, "cross_cka", compute)
        compare_runs(Store(store.path), [A, B], poolings=["cls"])
        return compute(*arguments)

    monkeypatch.setattr(job, "cross_cka", slowly)
    compare_runs(store, [A, B], poolings=["cls"])
    assert store.pair(A, B).keys(kinds.COMPARISONS) == (comparison_key("cls"),)


def test_two_commands_at_once_and_the_words_they_say(store):
    words = [sys.executable, "-c", "from backend.cli import main; main()", "compare", A, B]
    words += ["--store", str(store.path), "--pooling", "cls"]
    started = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert any(f"{A} ~ {B}: cls" in out for out, _ in said)
    assert store.pair(A, B).keys(kinds.COMPARISONS) == (comparison_key("cls"),)
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and "nothing to add" in again.stdout
    bad = subprocess.run([*words, "--pooling", "max"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2 and bad.stderr.count("\n") == 1
