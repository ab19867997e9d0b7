"""``measure``: only what is missing, in parts, on finished runs and on runs still being written."""

import json
import multiprocessing
from shutil import copytree
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from backend.errors import InputError
from backend.jobs import measure as job
from backend.jobs.measure import (
    measure_frames,
    measure_source,
    measure_store,
    missing_in_store,
    missing_tasks,
)
from backend.measures import (
    cka,
    cka_contributions,
    linear_predictivity,
    linear_probe,
    procrustes,
    pwcca,
)
from backend.measures.suite import parts as keyed
from backend.measures.suite.compute import compute, thesis_layers
from backend.measures.suite.layers import Layers
from backend.measures.suite.parts import measure_key, measures_of, parts_of, preset_of
from backend.measures.suite.rows import tidy_frame
from backend.progress import SILENT
from backend.remarks import in_words
from backend.store import Store, kinds
from backend.sweep.making import _measure_unfinished
from backend.types import LayerRef

DEFAULT = parts_of("default")


SMALL = {"placements": ["early"], "seeds": [0], "n": 26, "depth": 3, "width": 6}
SITE = ("stream", "layer", "site")
BARE = {"measures": False, "projections": False}


@pytest.fixture
def bare(store_factory, tmp_path):
    """Options for a store of runs without measures and projections."""

    def make(**options):
        return store_factory.make_store(tmp_path / "store", **SMALL | BARE | options)

    return make


@pytest.fixture(scope="module")
def once(store_factory, tmp_path_factory):
    """A store that was measured, first its cls vectors and then the rest; the tasks of either."""
    path = tmp_path_factory.mktemp("measured") / "store"
    store = store_factory.make_store(path, **SMALL | BARE)
    return path, measure_store(store, poolings=["cls"]), measure_store(store)


@pytest.fixture
def measured(once, tmp_path):
    """A copy of it."""
    return Store(copytree(once[0], tmp_path / "measured"))


@pytest.fixture(scope="module")
def both_presets(store_factory, tmp_path_factory):
    """A run of more samples, measured under either preset."""
    path = tmp_path_factory.mktemp("presets") / "store"
    store = store_factory.make_store(path, **SMALL | BARE | {"n": 70, "width": 14})
    for preset in ("default", "thesis"):
        measure_store(store, poolings=["cls"], preset=preset)
    return store.run("early-seed0")


class Told:
    """What the progress of a command was told."""

    def __init__(self, stop_after=None):
        self.what, self.stop_after = [], stop_after

    def advance(self, done, total, what=""):
        self.what.append(what)
        self.done, self.total = done, total
        if len(self.what) == self.stop_after:
            raise KeyboardInterrupt


def one(frame, **equal):
    for column, value in equal.items():
        frame = frame[frame[column].eq(value)]
    assert len(frame) == 1
    return frame.iloc[0]


def test_every_part_of_every_pooling_is_added_and_matches_the_vectors(measured, once):
    done = [*once[1], *once[2]]
    run = measured.run("early-seed0")
    assert {(task.part, task.pooling) for task in done} == {
        (part.name, pooling) for part in DEFAULT for pooling in ("cls", "mean")
    }
    assert set(run.keys(kinds.MEASURES)) == {task.key for task in done}
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
def test_every_measure_that_a_part_names_is_computed_and_no_other(both_presets, preset):
    run = both_presets
    parts = {part.name: {one.name for one in part.measures} for part in parts_of(preset)}
    keys = [key for key in run.keys(kinds.MEASURES) if preset_of(key) == preset]
    assert {key.split("-")[1] for key in keys} == set(parts)
    for key in keys:
        rows = run.measures(keys=[key])
        assert set(rows["measure"]) == parts[key.split("-")[1]] == set(measures_of(key) or ()), key
        assert set(rows["pooling"]) == {"cls"}


def test_each_fusion_output_is_compared_with_its_neighbours_by_every_measure_of_two_layers(
    measured,
):
    run = measured.run("early-seed0")
    frame = run.measures()
    frame = frame[frame["pooling"].eq("cls")]
    (k,) = run.streams[0].fusion_layers
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
        store_factory.write_parts(writer, samples, vectors, 7)
        keys = measure_source(writer, poolings=["cls"])
        writer.commit()
    parts = {part.name for part in DEFAULT} - {"probes"}
    assert {key.split("-")[1] for key in keys} == parts
    run = store.run(manifest.run_id)
    assert missing_tasks(run, poolings=["cls"]) == []
    assert {task.part for task in missing_tasks(run)} == parts
    assert {key.split("-")[1] for key, _ in measure_frames(run, poolings=["mean"])} == parts


def test_the_driving_samples_are_stored_by_id(measured):
    run = measured.run("early-seed0")
    found = run.drivers(LayerRef("vision", 2), LayerRef("text", 1), "cls")
    share = cka_contributions(run.vectors("vision", 2), run.vectors("text", 1))
    best = run.sample_ids()[int(np.argmax(share))]
    row = one(found, rank=1)
    assert row["sample_id"] == best
    assert row["share"] == pytest.approx(share.max(), rel=1e-4)
    assert sorted(found["rank"]) == [-5, -4, -3, -2, -1, 1, 2, 3, 4, 5]


def test_what_is_present_is_not_computed_again(measured, once, monkeypatch):
    assert len(once[1]) == len(DEFAULT) and {task.pooling for task in once[2]} == {"mean"}
    monkeypatch.setattr(job, "perform", None)
    assert measure_store(measured) == []


def test_a_part_that_is_gone_is_the_only_one_made_again(measured):
    run = measured.run("early-seed0")
    run.contents.file(kinds.MEASURES, measure_key("default", "rsa", "mean")).unlink()
    assert [(t.part, t.pooling) for t in measure_store(measured)] == [("rsa", "mean")]


def test_two_commands_at_once_do_the_work_once_and_neither_fails(bare, monkeypatch):
    store = bare()
    tasks = job.missing_in_store(store, poolings=["cls"])
    add = job._add

    def late(sink, part, layers):
        if part.name == "gap" and not getattr(late, "raced", False):
            late.raced = True
            add(sink, part, layers)  # the other command writes first
        return add(sink, part, layers)

    monkeypatch.setattr(job, "_add", late)
    job.perform_all(store, tasks)
    job.perform_all(store, tasks)
    assert late.raced
    assert set(store.run("early-seed0").keys(kinds.MEASURES)) == {task.key for task in tasks}


def test_an_interrupted_command_keeps_what_is_finished_and_goes_on(bare):
    store = bare()
    run = store.run("early-seed0")
    tasks = missing_tasks(run)
    told = Told(stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        measure_store(store, progress=told)
    assert set(run.keys(kinds.MEASURES)) == {task.key for task in tasks[:3]}
    assert told.what == [f"early-seed0: {task.part} of {task.pooling}" for task in tasks[:3]]
    assert measure_store(store) == tasks[3:]
    assert missing_tasks(run) == []


def test_several_runs_are_shared_by_processes_with_the_same_numbers(bare, tmp_path, store_factory):
    store = bare(placements=["early", "middle"], keep_activations="all")
    told = Told()
    tasks = measure_store(store, poolings=["cls"], workers=2, progress=told)
    assert sorted(told.what) == sorted(map(str, tasks))
    assert told.done == told.total == sum(task.weight for task in tasks)
    alone = store_factory.make_store(
        tmp_path / "alone", placements=["middle"], seeds=[0], n=26, depth=3, width=6,
        measures=False, projections=False,
    )  # fmt: skip
    measure_store(alone, poolings=["cls"])
    one_by_one, shared = (s.run("middle-seed0").measures() for s in (alone, store))
    np.testing.assert_allclose(one_by_one["value"], shared["value"], atol=1e-7)


def test_a_process_that_is_killed_is_one_line_and_what_was_made_stays(bare):
    store = bare(placements=["early", "middle"], keep_activations="all")
    tasks = missing_in_store(store, poolings=["cls"])

    class Kills(Told):
        def advance(self, done, total, what=""):
            super().advance(done, total, what)
            if len(self.what) == 2:
                multiprocessing.active_children()[0].kill()

    told = Kills()
    with pytest.raises(InputError, match=r"was killed.*give the command again") as caught:
        job.perform_all(store, tasks, workers=2, progress=told)
    assert "\n" not in str(caught.value) and str(store.path) in str(caught.value)
    left = missing_in_store(store, poolings=["cls"])
    assert {*map(str, tasks)} - {*map(str, left)} >= {*told.what}
    job.perform_all(store, left[:1], workers=1)
    assert missing_in_store(store, poolings=["cls"]) == left[1:]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_cannot_be_measured_stops_no_other(bare, workers):
    store = bare(placements=["early", "middle"], keep_activations="all")
    paths = store.run("early-seed0").contents.paths
    for path in paths.dir.rglob("part-*.parquet"):
        if path.parent != paths.samples:
            path.write_bytes(path.read_bytes()[:-40])
    tasks = missing_in_store(store, poolings=["cls"])
    told = Told()
    failed = job.perform_all(store, tasks, workers=workers, progress=told)
    assert list(failed) == ["early-seed0"] and "early-seed0" in str(failed["early-seed0"])
    assert told.done == told.total
    assert missing_tasks(store.run("middle-seed0"), poolings=["cls"]) == []
    with pytest.raises(InputError, match="early-seed0"):
        measure_store(store, poolings=["cls"])


def test_other_parameters_or_another_version_have_other_keys(monkeypatch):
    before = measure_key("default", "cka", "cls")
    assert measure_key("thesis", "cka", "cls") != before != measure_key("default", "cka", "mean")
    monkeypatch.setattr(keyed, "VERSION", keyed.VERSION + 1)
    assert measure_key("default", "cka", "cls") != before


def test_a_run_without_activations_is_skipped_with_the_command_that_makes_them(bare, caplog):
    store = bare(keep_activations="none")
    assert measure_store(store, poolings=["cls"]) == []
    assert store.run("early-seed0").keys(kinds.MEASURES) == ()
    message = caplog.messages[0]
    assert "early-seed0" in message and "fusionscope capture --model" in message


def test_an_unfinished_run_is_measured_from_its_parts(measured, store_factory, tmp_path):
    finished = measured
    manifest = finished.run("early-seed0").manifest
    store = store_factory.make_store(tmp_path / "other", placements=[], seeds=[])
    samples = store_factory.make_samples(26)
    vectors = store_factory.make_vectors(manifest, 26)
    with store.writer(manifest) as writer:
        store_factory.write_parts(writer, samples, vectors, 7)
        keys = measure_source(writer)
        writer.commit(keep_activations=False)
    run = store.run("early-seed0")
    assert not run.has_activations
    assert list(run.keys(kinds.MEASURES)) == sorted(keys)
    assert run.measures().equals(finished.run("early-seed0").measures())
    assert run.drivers().equals(finished.run("early-seed0").drivers())
    assert run.table(kinds.PROBES).equals(finished.run("early-seed0").table(kinds.PROBES))
    assert measure_store(store) == []


def test_a_cell_of_a_sweep_that_drops_its_vectors_keeps_no_probes(tmp_path, store_factory):
    manifest = store_factory.make_manifest(depth=1, width=6, placement="none")
    store = store_factory.make_store(tmp_path / "other", placements=[], seeds=[])
    cell = SimpleNamespace(presets=("default",), methods=())
    with store.writer(manifest) as writer:
        vectors = store_factory.make_vectors(manifest, 26)
        store_factory.write_parts(writer, store_factory.make_samples(26), vectors, 26)
        _measure_unfinished(cell, writer, SILENT)
        writer.commit(keep_activations=False)
    run = store.run(manifest.run_id)
    assert len(run.measures(["linear_probe"])) and not run.keys(kinds.PROBES)
    assert measure_store(store) == []


@pytest.fixture
def refitted(monkeypatch):
    """Fails the test where a probe is cross-validated."""

    def refuse(*_, **__):
        raise AssertionError("cross-validated again")

    monkeypatch.setattr("backend.measures.suite.layer_probes.linear_probe", refuse)


def test_the_probes_are_kept_beside_their_measures(measured):
    run = measured.run("early-seed0")
    keys = [measure_key("default", "probes", pooling) for pooling in ("cls", "mean")]
    assert list(run.keys(kinds.PROBES)) == sorted(keys)
    probes = run.table(kinds.PROBES).to_pandas()
    frame = run.measures(["linear_probe"])
    single = frame[frame["stream_b"].eq("") & frame["value"].notna()]
    valued = set(single[["key", "estimator", "stream_a", "layer_a"]].itertuples(index=False))
    of_layers = probes[probes["site"].eq("block")][["key", "task", "stream", "layer"]]
    assert set(of_layers.itertuples(index=False)) == valued and valued
    named = probes[probes["site"].eq("fusion")]
    assert set(named[["stream", "layer"]].itertuples(index=False)) == {("vision", 2), ("text", 2)}


def test_an_older_store_gets_its_probes_and_nothing_is_measured_again(measured, refitted):
    run = measured.run("early-seed0")
    before = run.table(kinds.PROBES)
    measures = run.contents.files(kinds.MEASURES)
    written = {path: path.stat().st_mtime_ns for path in measures.values()}
    for path in run.contents.files(kinds.PROBES).values():
        path.unlink()
    assert [(t.part, t.pooling) for t in measure_store(measured)] == [
        ("probes", "cls"),
        ("probes", "mean"),
    ]
    assert run.table(kinds.PROBES).equals(before)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert measure_store(measured) == []


def test_lost_measures_of_probes_leave_the_fitted_ones_alone(measured, monkeypatch):
    run = measured.run("early-seed0")
    before = run.measures(["linear_probe"])
    for pooling in ("cls", "mean"):
        run.contents.file(kinds.MEASURES, measure_key("default", "probes", pooling)).unlink()
    monkeypatch.setattr("backend.measures.suite.layer_probes.fit_linear_probe", None)
    assert {task.part for task in measure_store(measured)} == {"probes"}
    assert run.measures(["linear_probe"]).equals(before)


def test_a_run_that_keeps_no_vectors_is_whole_without_probes(measured, caplog):
    run = measured.run("early-seed0")
    for path in run.contents.files(kinds.PROBES).values():
        path.unlink()
    run.contents.paths.activations.rename(measured.path / "gone")
    assert missing_tasks(run) == [] and caplog.messages == []
    run.contents.file(kinds.MEASURES, measure_key("default", "probes", "cls")).unlink()
    assert missing_tasks(run) == [] and len(caplog.messages) == 1


def test_where_nothing_can_be_fitted_an_empty_table_says_that_it_was_tried(bare):
    store = bare(n=8)
    measure_store(store, poolings=["cls"])
    run = store.run("early-seed0")
    assert run.keys(kinds.PROBES) == (measure_key("default", "probes", "cls"),)
    assert run.table(kinds.PROBES).num_rows == 0
    assert measure_store(store, poolings=["cls"]) == []


def test_frames_can_be_had_without_a_store_to_write_to(bare):
    run = bare().run("early-seed0")
    frames = dict(measure_frames(run, poolings=["cls"]))
    assert list(frames) == [measure_key("default", part.name, "cls") for part in DEFAULT]
    assert run.keys(kinds.MEASURES) == ()


def test_a_layer_that_is_not_finite_has_reasons_and_the_others_have_values(bare, once, monkeypatch):
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
    measure_store(store, poolings=["cls"])
    measure_store(store, poolings=["cls"], preset="thesis")
    job._cached_layers.cache_clear()
    rows = run.measures()
    broken = np.zeros(len(rows), dtype=bool)
    for side in "ab":
        block = rows[f"site_{side}"].eq("block") & rows[f"layer_{side}"].eq(2)
        broken |= rows[f"stream_{side}"].eq("text") & block
    assert 0 < broken.sum() < len(rows)
    said = rows["reason"].map(in_words)
    told = "layer 2 of text has NaN or infinite values in 2 of 26 samples"
    assert said[broken].eq(told).all() and not said[~broken].eq(told).any()
    assert rows.loc[broken, ["value", "ci_low", "null_mean", "p_value"]].isna().all(axis=None)
    cell = ["measure", *(f"{what}_{side}" for side in "ab" for what in ("stream", "layer", "site"))]
    whole = Store(once[0]).run("early-seed0").measures()
    own, theirs = (
        frame[frame["key"].str.startswith("default-") & frame["pooling"].eq("cls")]
        for frame in (rows.assign(broken=broken), whole)
    )
    same = [*cell, "estimator", "params"]
    both = own.merge(theirs, on=same, how="outer", suffixes=("", "_whole"), indicator=True)
    assert both["_merge"].eq("both").all()
    kept = both[~both["broken"]]
    np.testing.assert_allclose(kept["value"], kept["value_whole"], atol=1e-6)
    fitted = run.table(kinds.PROBES).to_pandas()
    assert len(fitted)
    assert ("text", 2, "block") not in set(zip(*(fitted[c] for c in SITE), strict=True))


def test_unknown_presets_and_poolings_are_refused(bare):
    store = bare()
    with pytest.raises(InputError, match=r"unknown preset 'these'.*Presets of this version"):
        measure_store(store, preset="these")
    with pytest.raises(InputError, match="unknown pooling 'max'"):
        measure_store(store, poolings=["max"])


def test_the_thesis_preset_repeats_its_conventions(both_presets):
    run = both_presets
    frame = run.measures(keys=[measure_key("thesis", p.name, "cls") for p in parts_of("thesis")])
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
    assert frame["layer_a"].min() == 1 and set(frame["pooling"]) == {"cls"}
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
    said = set(rows["reason"].map(in_words))
    assert said == {"n = 9 samples are too few for 10 neighbours"}
    predicted = frame[frame["measure"].eq("linear_predictivity")]
    said = set(predicted["reason"].map(in_words))
    assert said == {"n = 9 samples are too few: it takes 10"}
    recall = frame[frame["measure"].eq("recall_at_5")]
    said = set(recall["reason"].map(in_words))
    assert "a gallery of 4 samples is too small for recall at 5" in said
    assert frame[frame["measure"].eq("recall_at_1")]["value"].notna().any()


@pytest.mark.parametrize("function", [pwcca, linear_predictivity])
def test_both_directions_of_a_measure_that_is_not_symmetric_are_stored(both_presets, function):
    run = both_presets
    name, frame = function.__name__, run.measures()
    a, b = LayerRef("vision", 2), LayerRef("text", 3)
    fused = LayerRef("vision", run.streams[0].fusion_layers[0], "fusion")
    for x, y in ((a, b), (b, a), (LayerRef("text", 1), b), (b, LayerRef("text", 1)),
                 (fused, LayerRef("vision", fused.layer))):  # fmt: skip
        sides = {f"{what}_{side}": getattr(ref, what) for side, ref in (("a", x), ("b", y))
                 for what in ("stream", "layer", "site")}  # fmt: skip
        row = one(frame, measure=name, **sides)
        expected = function(run.vectors(x.stream, x), run.vectors(y.stream, y))
        assert row["value"] == pytest.approx(expected, rel=1e-5)
    mine = frame[frame["measure"].eq(name)]
    counts = mine.groupby(["stream_a", "stream_b"]).size()
    assert counts["vision", "text"] == counts["text", "vision"] == 16


@pytest.mark.parametrize("preset", ["default", "thesis"])
def test_all_parameters_that_the_rows_name_are_in_the_key(both_presets, preset):
    for part in parts_of(preset):
        key = measure_key(preset, part.name, "cls")
        for text in both_presets.measures(keys=[key])["params"].unique():
            said = {k: v for k, v in json.loads(text).items() if k not in FACTS}
            assert {name: part.parameters.get(name, FIXED.get(name)) for name in said} == said, key


FACTS = ("direction", "k", "task", "kind", "metric")
"""What tells the rows of one file apart."""
FIXED = {"kernel": "linear"}
"""What the one pass of linear CKA cannot do otherwise."""


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
        frame = tidy_frame(compute(part, layers).rows)
        said = frame["warnings"].map(in_words)
        warned = frame.assign(said=said)[said.str.contains("copies")]
        mine = warned["stream_a"].eq("text") & warned["layer_a"].eq(1)
        mine |= warned["stream_b"].eq("text") & warned["layer_b"].eq(1)
        assert mine.all(), part.name
        assert not warned["said"].str.contains(r"\b[xy]\b").any(), part.name
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
            rows = tidy_frame(compute(part, layers).rows)
            assert rows["reason"].str.contains("constant_input").any(), part.name


def test_lost_driving_samples_are_found_again(measured):
    store = measured
    run = store.run("early-seed0")
    before = run.drivers()
    run.contents.file(kinds.DRIVERS, measure_key("default", "cka", "cls")).unlink()
    assert [task.part for task in measure_store(store, poolings=["cls"])] == ["cka"]
    assert run.drivers().equals(before)
    assert measure_store(store, poolings=["cls"]) == []


def set_of_neighbours(x, k):
    distance = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    return [set(row) for row in np.argsort(distance, axis=1)[:, :k]]


BOTH = "text=mean;vision=cls"


def test_two_streams_of_different_poolings_are_compared_with_each_other(measured):
    run = measured.run("early-seed0")
    before = run.measures()
    done = measure_store(measured, poolings=["vision=cls;text=mean"])
    # A part that has a measure of two streams, and of these parts what is of two streams.
    two = [part.name for part in DEFAULT if any(m.kind == "pairwise" for m in part.measures)]
    assert [(task.part, task.pooling) for task in done] == [(name, BOTH) for name in two]
    run = measured.run("early-seed0")
    frame = run.measures()
    rows = frame[frame["pooling"].eq(BOTH)]
    assert len(frame) == len(before) + len(rows)
    assert rows["stream_a"].ne(rows["stream_b"]).all() and (rows["stream_b"] != "").all()
    assert set(rows["measure"]) == {
        m.name for part in DEFAULT for m in part.measures if m.kind == "pairwise"
    }
    x, y = run.vectors("vision", 2, "cls"), run.vectors("text", 3, "mean")
    at = {"stream_a": "vision", "stream_b": "text", "layer_a": 2, "layer_b": 3,
          "site_a": "block", "site_b": "block"}  # fmt: skip
    for estimator in ("biased", "debiased"):
        row = one(rows, measure="cka", estimator=estimator, **at)
        assert row["value"] == pytest.approx(float(cka(x, y, estimator=estimator)), abs=1e-6)
        assert np.isfinite([row["null_mean"], row["ci_low"]]).all()
    row = one(rows, measure="procrustes", **at)
    assert row["value"] == pytest.approx(float(procrustes(x, y)), abs=1e-6)
    # Neither pooling alone gives these values.
    alone = [one(before, measure="procrustes", pooling=p, **at)["value"] for p in ("cls", "mean")]
    assert np.abs(np.array(alone) - row["value"]).min() > 1e-3
    driving = run.drivers(LayerRef("vision", 2), LayerRef("text", 3), BOTH)
    shares = cka_contributions(x, y)
    (best,) = driving.loc[driving["rank"].eq(1), "sample_id"]
    assert best == run.sample_ids()[int(np.argmax(shares))]
    assert not measure_store(measured, poolings=[BOTH])
    assert run.manifest.poolings == ("cls", "mean")


@pytest.mark.parametrize(
    ("pooling", "preset", "problem"),
    [
        ("vision=cls;video=mean", "default", "run early-seed0 has no stream 'video'"),
        ("vision=mean;text=mean", "default", "both are mean: say mean"),
        (
            "vision=max;text=mean",
            "default",
            "is not a pooling of two.*or of two 'vision=cls;text=me",
        ),
        (BOTH, "thesis", "the preset thesis has no pooling of two streams"),
    ],
)
def test_a_pooling_of_two_streams_that_cannot_be_is_refused(measured, pooling, preset, problem):
    with pytest.raises(InputError, match=problem):
        measure_store(measured, poolings=[pooling], preset=preset)


def test_a_stream_without_vectors_of_its_pooling_is_skipped_with_the_command(bare, caplog):
    store = bare(poolings=("cls",))
    assert measure_store(store, poolings=[BOTH]) == []
    assert "no mean vectors of text" in caplog.text and "--pooling" in caplog.text
