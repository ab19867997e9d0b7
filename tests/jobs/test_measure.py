"""``measure``: only what is missing, in parts, on finished runs and on runs still being written."""

import numpy as np
import pyarrow as pa
import pytest

from backend.errors import InputError
from backend.jobs import measure as job
from backend.jobs.measure import (
    measure_frames,
    measure_key,
    measure_source,
    measure_store,
    missing_tasks,
)
from backend.measures import cka, cka_contributions, linear_probe, procrustes, pwcca
from backend.measures.suite.parts import PARTS, THESIS_PARTS, measures_of, preset_of
from backend.measures.suite.presets import DEFAULT, THESIS, Layers, thesis_layers
from backend.types import LayerRef


@pytest.fixture
def bare(store_factory, tmp_path):
    """Options for a store of runs without measures and projections."""

    def make(**options):
        defaults = {"placements": ["early"], "seeds": [0], "n": 26, "depth": 3, "width": 6}
        return store_factory.make_store(
            tmp_path / "store", **{**defaults, "measures": False, "projections": False, **options}
        )

    return make


def one(frame, **equal):
    for column, value in equal.items():
        frame = frame[frame[column].eq(value)]
    assert len(frame) == 1
    return frame.iloc[0]


def test_every_part_of_every_pooling_is_added_and_matches_the_vectors(bare):
    store = bare()
    done = measure_store(store)
    run = store.run("early-seed0")
    assert {(task.part, task.pooling) for task in done} == {
        (part.name, pooling) for part in DEFAULT for pooling in ("cls", "mean")
    }
    assert set(run.measure_keys()) == {task.key for task in done}
    frame = run.measures()
    pair = {"pooling": "mean", "stream_a": "vision", "stream_b": "text", "layer_a": 2, "layer_b": 3}
    x, y = run.vectors("vision", 2, "mean"), run.vectors("text", 3, "mean")
    row = one(frame, measure="cka", estimator="debiased", **pair)
    assert row["value"] == pytest.approx(float(cka(x, y)), abs=1e-6)
    assert row["ci_low"] < row["value"] < row["ci_high"]
    assert 0 <= row["p_value"] <= row["p_corrected"] <= 1
    row = one(frame, measure="procrustes", **pair)
    assert row["value"] == pytest.approx(float(procrustes(x, y)), abs=1e-6)
    row = one(frame, measure="cka_rbf", estimator="debiased", **pair)
    assert row["value"] == pytest.approx(float(cka(x, y, kernel="rbf")), abs=1e-6)
    sites = {(s.name, r.layer, r.site) for s in run.streams for r in s.refs}
    single = frame[frame.measure == "participation_ratio"]
    assert set(zip(single.stream_a, single.layer_a, single.site_a, strict=True)) == sites


@pytest.mark.parametrize("preset", ["default", "thesis"])
def test_every_measure_that_a_part_names_is_computed_and_no_other(bare, preset):
    store = bare()
    measure_store(store, poolings=["cls"], preset=preset)
    run = store.run("early-seed0")
    parts = {"default": PARTS, "thesis": THESIS_PARTS}[preset]
    assert {key.split("-")[1] for key in run.measure_keys()} == set(parts)
    assert set(run.measures()["pooling"]) == {"cls"}
    for key in run.measure_keys():
        found = set(run.measures(keys=[key])["measure"])
        assert found == set(parts[key.split("-")[1]]) == set(measures_of(key) or ()), key
        assert preset_of(key) == preset


def test_each_fusion_output_is_compared_with_its_neighbours_by_every_measure_of_two_layers(bare):
    store = bare()
    measure_store(store, poolings=["cls"])
    frame = store.run("early-seed0").measures()
    (k,) = store.run("early-seed0").streams[0].fusion_layers
    for name in ("cka", "cka_rbf", "procrustes", "svcca", "mutual_knn", "rsa"):
        rows = frame[frame["measure"].eq(name) & frame["stream_a"].eq("vision")]
        into = rows[rows["site_b"].eq("fusion") & rows["layer_a"].eq(k - 1)]
        out = rows[rows["site_a"].eq("fusion") & rows["layer_b"].eq(k)]
        kinds = 2 if name == "cka" else 1
        assert len(into) == len(out) == kinds, name


def test_the_probes_are_those_of_the_labels_and_vectors_of_the_run(bare):
    store = bare(n=40)
    measure_store(store, poolings=["mean"])
    run = store.run("early-seed0")
    labels = np.array([0, 1] * 20)
    have = np.arange(40) % 17 != 16  # those without a label of irony
    x, y = (run.vectors(stream, 2, "mean")[have] for stream in ("vision", "text"))
    frame = run.measures(["linear_probe"])
    assert set(frame["estimator"]) == {"irony", "object", "topics"}
    assert set(frame["pooling"]) == {"mean"}
    irony = {"estimator": "irony", "stream_a": "vision", "layer_a": 2}
    for vectors, stream_b in ((x, ""), (np.concatenate([x, y], axis=1), "text")):
        row = one(frame, **irony, stream_b=stream_b)
        expected = linear_probe(vectors, labels[have], task="binary")
        assert row["value"] == pytest.approx(float(expected))
        assert row["n"] == 38 and row["null_mean"] == 0.5


def test_a_run_without_labels_has_no_probes_and_lacks_none(bare, tmp_path, store_factory):
    store = bare(placements=[], seeds=[])
    manifest = store_factory.make_manifest(depth=3, width=6, placement="none")
    samples = store_factory.make_samples(26)
    for name in ("label_irony", "label_object", "label_topics"):
        at = samples.schema.get_field_index(name)
        nothing = pa.nulls(26, samples.schema.field(at).type)
        samples = samples.set_column(at, name, nothing)
    with store.writer(manifest) as writer:
        vectors = store_factory.make_vectors(manifest, 26)
        store_factory.write_shards(writer, samples, vectors, 7)
        keys = measure_source(writer, poolings=["cls"])
        writer.commit()
    parts = {part.name for part in DEFAULT} - {"probes"}
    assert {key.split("-")[1] for key in keys} == parts
    run = store.run(manifest.run_id)
    assert missing_tasks(run, poolings=["cls"]) == []
    assert {task.part for task in missing_tasks(run)} == parts
    assert {key.split("-")[1] for key, _ in measure_frames(run, poolings=["mean"])} == parts


def test_the_driving_samples_are_stored_by_id(bare):
    store = bare()
    measure_store(store, poolings=["cls"])
    run = store.run("early-seed0")
    found = run.drivers(LayerRef("vision", 2), LayerRef("text", 1), "cls")
    share = cka_contributions(run.vectors("vision", 2), run.vectors("text", 1))
    best = run.sample_ids()[int(np.argmax(share))]
    row = one(found, rank=1)
    assert row["sample_id"] == best
    assert row["share"] == pytest.approx(share.max(), rel=1e-4)
    assert sorted(found["rank"]) == [-5, -4, -3, -2, -1, 1, 2, 3, 4, 5]


def test_what_is_present_is_not_computed_again(bare, monkeypatch):
    store = bare()
    run = store.run("early-seed0")
    assert len(measure_store(store, poolings=["cls"])) == len(DEFAULT)
    key = measure_key("default", "shape", "cls")
    before = run.paths.measure(key).stat().st_mtime_ns
    assert {task.pooling for task in measure_store(store)} == {"mean"}
    monkeypatch.setattr(job, "perform", None)
    assert measure_store(store) == []
    assert run.paths.measure(key).stat().st_mtime_ns == before


def test_a_part_that_is_gone_is_the_only_one_made_again(bare):
    store = bare()
    measure_store(store)
    run = store.run("early-seed0")
    run.paths.measure(measure_key("default", "rsa", "mean")).unlink()
    assert [(t.part, t.pooling) for t in measure_store(store)] == [("rsa", "mean")]


def test_two_commands_at_once_do_the_work_once_and_neither_fails(bare, monkeypatch):
    store = bare()
    tasks = job.missing_in_store(store, poolings=["cls"])
    add = job._add

    def late(sink, preset, part, layers):
        if part.name == "gap" and not getattr(late, "raced", False):
            late.raced = True
            add(sink, preset, part, layers)  # the other command writes first
        return add(sink, preset, part, layers)

    monkeypatch.setattr(job, "_add", late)
    job.perform_all(store, tasks)
    job.perform_all(store, tasks)
    assert late.raced
    assert set(store.run("early-seed0").measure_keys()) == {task.key for task in tasks}


def test_an_interrupted_command_keeps_what_is_finished_and_goes_on(bare):
    store = bare()
    seen = []

    def stop(task):
        seen.append(task)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_store(store, report=stop)
    run = store.run("early-seed0")
    assert set(run.measure_keys()) == {task.key for task in seen}
    rest = measure_store(store)
    assert not {task.key for task in rest} & {task.key for task in seen}
    assert missing_tasks(run) == []


def test_several_runs_are_shared_by_processes_with_the_same_numbers(bare, tmp_path, store_factory):
    store = bare(placements=["early", "middle"], keep_activations="all")
    finished = []
    tasks = measure_store(store, poolings=["cls"], workers=2, report=finished.append)
    assert sorted(finished, key=str) == sorted(tasks, key=str)
    alone = store_factory.make_store(
        tmp_path / "alone", placements=["middle"], seeds=[0], n=26, depth=3, width=6,
        measures=False, projections=False,
    )  # fmt: skip
    measure_store(alone, poolings=["cls"])
    one_by_one, shared = (s.run("middle-seed0").measures() for s in (alone, store))
    np.testing.assert_allclose(one_by_one["value"], shared["value"], atol=1e-7)


def test_other_parameters_or_another_version_have_other_keys(monkeypatch):
    before = measure_key("default", "cka", "cls")
    assert measure_key("thesis", "cka", "cls") != before != measure_key("default", "cka", "mean")
    monkeypatch.setattr(job, "VERSION", job.VERSION + 1)
    assert measure_key("default", "cka", "cls") != before


def test_a_run_without_activations_is_skipped_with_the_command_that_makes_them(bare, caplog):
    store = bare(keep_activations="none")
    assert measure_store(store, poolings=["cls"]) == []
    assert store.run("early-seed0").measure_keys() == ()
    message = caplog.messages[0]
    assert "early-seed0" in message and "fusionscope capture --model" in message


def test_an_unfinished_run_is_measured_from_its_shards(bare, store_factory, tmp_path):
    finished = bare()
    manifest = finished.run("early-seed0").manifest
    store = store_factory.make_store(tmp_path / "other", placements=[], seeds=[])
    samples = store_factory.make_samples(26)
    vectors = store_factory.make_vectors(manifest, 26)
    with store.writer(manifest) as writer:
        store_factory.write_shards(writer, samples, vectors, 7)
        keys = measure_source(writer)
        writer.commit(keep_activations=False)
    run = store.run("early-seed0")
    assert not run.has_activations
    measure_store(finished)
    assert list(run.measure_keys()) == sorted(keys)
    assert run.measures().equals(finished.run("early-seed0").measures())
    assert run.drivers().equals(finished.run("early-seed0").drivers())
    assert measure_store(store) == []


def test_frames_can_be_had_without_a_store_to_write_to(bare):
    run = bare().run("early-seed0")
    frames = dict(measure_frames(run, poolings=["cls"]))
    assert list(frames) == [measure_key("default", part.name, "cls") for part in DEFAULT]
    assert run.measure_keys() == ()


def test_bad_values_are_named_with_run_stream_and_layer(bare, monkeypatch):
    store = bare()
    run = store.run("early-seed0")
    read = type(run).vectors

    def with_nan(self, stream, layer, pooling="cls"):
        vectors = read(self, stream, layer, pooling)
        if stream == "text" and layer.label == "2":
            vectors[3:5] = np.nan
        return vectors

    monkeypatch.setattr(type(run), "vectors", with_nan)
    job._cached_layers.cache_clear()
    with pytest.raises(InputError, match=r"run early-seed0, layer 2 of text: NaN in 2 of 26 rows"):
        measure_store(store)
    assert run.measure_keys() == ()
    job._cached_layers.cache_clear()


def test_unknown_presets_and_poolings_are_refused(bare):
    store = bare()
    with pytest.raises(InputError, match=r"unknown preset 'these'.*Presets of this version"):
        measure_store(store, preset="these")
    with pytest.raises(InputError, match="unknown pooling 'max'"):
        measure_store(store, poolings=["max"])


def test_the_thesis_preset_repeats_its_conventions(bare):
    store = bare(n=60, width=14)
    done = measure_store(store, preset="thesis")
    assert {(task.part, task.pooling) for task in done} == {(p.name, "cls") for p in THESIS}
    run = store.run("early-seed0")
    frame = run.measures()
    unit = [run.vectors(s, 2) for s in ("vision", "text")]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in unit]
    pair = {"stream_a": "vision", "layer_a": 2, "stream_b": "text", "layer_b": 2}
    left = [np.linalg.svd(x - x.mean(0), full_matrices=False)[0][:, :10] for x in unit]
    near = [set_of_neighbours(x, 32) for x in unit]
    expected = {
        "cka": float(cka(*unit, estimator="biased")),
        "procrustes": np.sqrt(
            sum((x**2).sum() for x in unit)
            - 2 * np.linalg.svd(unit[0].T @ unit[1], compute_uv=False).sum()
        ),
        "svcca": np.linalg.svd(left[0].T @ left[1], compute_uv=False).mean(),
        "mutual_knn": np.mean([len(a & b) / 32 for a, b in zip(*near, strict=True)]),
    }
    for name, value in expected.items():
        assert one(frame, measure=name, **pair)["value"] == pytest.approx(value, rel=1e-5), name
    variances = np.linalg.svd(unit[0] - unit[0].mean(0), compute_uv=False) ** 2
    needed = int(np.searchsorted(np.cumsum(variances) / variances.sum(), 0.95) + 1)
    row = one(frame, measure="effective_dimension", stream_a="vision", layer_a=2)
    assert row["value"] == needed
    assert frame["layer_a"].min() == 1
    assert set(frame["estimator"]) == {"biased", "sample"}


def test_the_thesis_preset_takes_the_first_1024_samples():
    rng = np.random.default_rng(0)
    arrays = {
        LayerRef(s, k): rng.normal(size=(1100, 4)) for s in ("vision", "text") for k in (0, 1)
    }
    unit = thesis_layers(Layers(arrays, "cls"))
    assert set(unit.arrays) == {LayerRef("vision", 1), LayerRef("text", 1)}
    x = arrays[LayerRef("text", 1)][:1024]
    expected = x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(unit.arrays[LayerRef("text", 1)], expected, atol=1e-6)


def test_too_few_samples_for_the_neighbours_are_undefined_with_the_reason(bare):
    store = bare(n=9)
    measure_store(store, poolings=["cls"])
    frame = store.run("early-seed0").measures()
    rows = frame[frame["measure"].isin(["mutual_knn", "jaccard_knn", "cknna"])]
    assert rows["value"].isna().all()
    assert "n = 9 samples are too few for 10 neighbours" in set(rows["reason"])
    assert all("too few" in text or "constant" in text for text in rows["reason"])
    recall = frame[frame["measure"].eq("recall_at_5")]
    assert "a gallery of 4 samples is too small for recall at 5" in set(recall["reason"])
    assert frame[frame["measure"].eq("recall_at_1")]["value"].notna().any()


def test_pwcca_is_the_mean_of_both_directions_since_a_pair_is_stored_once(bare):
    store = bare(n=60)
    measure_store(store, poolings=["cls"])
    run = store.run("early-seed0")
    x, y = run.vectors("vision", 2), run.vectors("text", 3)
    pair = {"stream_a": "vision", "layer_a": 2, "stream_b": "text", "layer_b": 3}
    row = one(run.measures(), measure="pwcca", **pair)
    there, back = float(pwcca(x, y)), float(pwcca(y, x))
    assert abs(there - back) > 1e-4
    assert row["value"] == pytest.approx((there + back) / 2, rel=1e-5)


def test_warnings_of_a_cell_are_about_its_own_layers_and_call_them_by_name():
    rng = np.random.default_rng(0)
    arrays = {
        LayerRef(s, k): rng.normal(size=(60, 5)).astype(np.float32)
        for s in ("vision", "text")
        for k in range(2)
    }
    arrays[LayerRef("text", 1)][30:] = arrays[LayerRef("text", 1)][:30]
    layers = Layers(arrays, "cls")
    for part in DEFAULT:
        if part.labelled:
            continue
        frame, _ = part.compute(layers)
        warned = frame[frame["warnings"].str.contains("copies")]
        mine = warned["stream_a"].eq("text") & warned["layer_a"].eq(1)
        mine |= warned["stream_b"].eq("text") & warned["layer_b"].eq(1)
        assert mine.all(), part.name
        assert not warned["warnings"].str.contains(r"\b[xy]\b").any(), part.name
        assert len(warned) or part.name in ("retrieval", "gap"), part.name


def test_a_layer_that_is_constant_up_to_rounding_is_called_so_by_every_part():
    rng = np.random.default_rng(0)
    arrays = {LayerRef("vision", k): rng.normal(size=(60, 5)).astype(np.float32) for k in range(2)}
    still = np.full((60, 5), 3.0, dtype=np.float32)
    still[7] = np.nextafter(still[7], np.float32(9))
    arrays[LayerRef("vision", 0)] = still
    layers = Layers(arrays, "cls", {"vision": "vision"})
    for part in DEFAULT:
        if part.name in ("cka", "dimension", "cca", "shape", "rbf"):
            reasons = set(part.compute(layers)[0]["reason"]) - {""}
            assert any(
                "the summary token does not depend on the image yet" in r for r in reasons
            ), part.name


def test_lost_driving_samples_are_found_again(bare):
    store = bare()
    measure_store(store, poolings=["cls"])
    run = store.run("early-seed0")
    before = run.drivers()
    run.paths.driver(measure_key("default", "cka", "cls")).unlink()
    assert [task.part for task in measure_store(store, poolings=["cls"])] == ["cka"]
    assert run.drivers().equals(before)
    assert measure_store(store, poolings=["cls"]) == []


def set_of_neighbours(x, k):
    distance = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    return [set(row) for row in np.argsort(distance, axis=1)[:, :k]]
