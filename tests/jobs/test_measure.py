"""``measure``: only what is missing, on finished runs and on runs still being written."""

import numpy as np
import pytest

from backend.errors import InputError
from backend.jobs.measure import measure_frames, measure_key, measure_run, measure_source
from backend.measures import cka


@pytest.fixture
def bare(store_factory, tmp_path):
    """Options for runs without measures and projections."""

    def make(**options):
        defaults = {"placements": ["early"], "seeds": [0], "n": 20, "depth": 3, "width": 6}
        return store_factory.make_store(
            tmp_path / "store", **{**defaults, "measures": False, "projections": False, **options}
        )

    return make


def test_measures_of_every_pooling_are_added_and_match_the_vectors(bare):
    run = bare().run("early-seed0")
    assert measure_run(run) == [measure_key("default", p) for p in ("cls", "mean")]
    frame = run.measures()
    assert set(frame.pooling) == {"cls", "mean"}
    row = frame.query(
        "measure == 'cka' and estimator == 'debiased' and pooling == 'mean' and "
        "stream_a == 'vision' and stream_b == 'text' and layer_a == 2 and layer_b == 3"
    )
    assert len(row) == 1
    expected = cka(run.vectors("vision", 2, "mean"), run.vectors("text", 3, "mean"))
    assert row.value.iloc[0] == pytest.approx(float(expected), abs=1e-6)
    sites = {(s.name, r.layer, r.site) for s in run.streams for r in s.sites}
    single = frame[frame.measure == "participation_ratio"]
    assert set(zip(single.stream_a, single.layer_a, single.site_a, strict=True)) == sites


def test_what_is_present_is_not_computed_again(bare, monkeypatch):
    run = bare().run("early-seed0")
    assert len(measure_run(run, poolings=["cls"])) == 1
    before = run.paths.measure(measure_key("default", "cls")).stat().st_mtime_ns
    assert measure_run(run) == [measure_key("default", "mean")]
    monkeypatch.setattr("backend.jobs.measure.suite", None)
    assert measure_run(run) == []
    assert run.paths.measure(measure_key("default", "cls")).stat().st_mtime_ns == before


def test_a_new_version_of_the_code_has_new_keys(monkeypatch):
    before = measure_key("default", "cls")
    monkeypatch.setattr("backend.jobs.measure.VERSION", 3)
    assert measure_key("default", "cls") != before
    assert measure_key("default", "mean") != measure_key("default", "cls")


def test_a_run_without_activations_is_skipped_with_the_command_that_makes_them(bare, caplog):
    run = bare(keep_activations="none").run("early-seed0")
    assert measure_run(run, poolings=["cls"]) == []
    assert run.measure_keys() == ()
    message = caplog.messages[0]
    assert "early-seed0" in message and "fusionscope capture --model" in message


def test_an_unfinished_run_is_measured_from_its_shards(bare, store_factory, tmp_path):
    finished = bare().run("early-seed0")
    store = store_factory.make_store(tmp_path / "other", placements=[], seeds=[])
    samples = store_factory.make_samples(20)
    vectors = store_factory.make_vectors(finished.manifest, 20)
    with store.writer(finished.manifest) as writer:
        store_factory.write_shards(writer, samples, vectors, 7)
        keys = measure_source(writer)
        writer.commit(keep_activations=False)
    run = store.run("early-seed0")
    assert not run.has_activations
    measure_run(finished)
    assert list(run.measure_keys()) == sorted(keys)
    assert run.measures().equals(finished.measures())
    assert measure_run(run) == []


def test_frames_can_be_had_without_a_store_to_write_to(bare):
    run = bare().run("early-seed0")
    frames = dict(measure_frames(run, poolings=["cls"]))
    assert list(frames) == [measure_key("default", "cls")]
    assert run.measure_keys() == ()


def test_progress_says_what_is_done(bare):
    seen = []
    measure_run(bare().run("early-seed0"), progress=lambda *step: seen.append(step))
    assert seen == [
        (0, 2, "default measures of cls vectors"),
        (1, 2, "default measures of mean vectors"),
        (2, 2, ""),
    ]


def test_bad_values_are_named_with_run_stream_and_layer(bare, monkeypatch):
    run = bare().run("early-seed0")
    read = type(run).vectors

    def with_nan(self, stream, layer, pooling="cls"):
        vectors = read(self, stream, layer, pooling)
        if stream == "text" and layer.label == "2":
            vectors[3:5] = np.nan
        return vectors

    monkeypatch.setattr(type(run), "vectors", with_nan)
    with pytest.raises(InputError, match=r"run early-seed0, layer 2 of text: NaN in 2 of 20 rows"):
        measure_run(run)
    assert run.measure_keys() == ()


def test_unknown_presets_and_poolings_are_refused(bare):
    run = bare().run("early-seed0")
    with pytest.raises(InputError, match=r"unknown preset 'thesis'.*Presets of this version"):
        measure_run(run, preset="thesis")
    with pytest.raises(InputError, match="unknown pooling 'max'"):
        measure_run(run, poolings=["max"])
