"""Measuring, projecting and comparing runs of any streams, with and without placements."""

from __future__ import annotations

import logging
from pathlib import Path
from types import ModuleType

import pytest

from backend.errors import InputError
from backend.jobs.compare import compare_runs
from backend.jobs.measure import measure_frames, measure_store
from backend.jobs.project import project_run
from backend.jobs.streaming import StreamPlan
from backend.store import Run, Store, kinds, verify

PLACE = ["stream_a", "layer_a", "site_a"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType) -> Store:
    """Three released models and one of ours, with vectors only."""
    path = tmp_path_factory.mktemp("jobs") / "store"
    store_factory.make_store(
        path, ("late",), (0,), 24, 4, 6, measures=False, projections=False, checkpoint=False
    )
    made: Store = store_factory.make_released_store(path, n=24, measures=False, projections=False)
    measure_store(made, workers=1)
    return made


def run_of(store: Store, model: str) -> Run:
    return next(run for run in map(store.run, store.run_ids()) if run.manifest.model.name == model)


def test_everything_that_is_measured_belongs_to_its_run(store: Store) -> None:
    assert verify(store) == []
    assert measure_store(store, workers=1) == []
    for run in map(store.run, store.run_ids()):
        keys = run.keys(kinds.MEASURES)
        assert {key.rsplit("-", 2)[1] for key in keys} == {"cls", "mean"}, run.run_id


def test_a_stream_without_a_summary_is_left_out_of_that_poolings_rows(store: Store) -> None:
    rows = run_of(store, "tiny-three").measures(["participation_ratio"])
    cls, mean = (rows[rows["pooling"].eq(pooling)] for pooling in ("cls", "mean"))
    sites = set(cls[cls["stream_a"].eq("vision")][PLACE].itertuples(index=False, name=None))
    assert sites == {("vision", 4, "projected")}
    sites = set(mean[mean["stream_a"].eq("vision")][PLACE].itertuples(index=False, name=None))
    assert sites == {("vision", k, "block") for k in range(5)}


def test_the_shared_space_of_a_contrastive_model_is_measured(store: Store) -> None:
    run = run_of(store, "tiny-two")
    rows = run.measures()
    shared = rows[rows["site_a"].eq("projected") & rows["site_b"].eq("projected")]
    assert {"cka", "cknna", "procrustes", "recall_at_1", "modality_gap"} <= set(shared["measure"])
    named = run.drivers()
    assert set(named["site_a"]) == {"block", "norm", "projected"}


def test_streams_whose_names_contain_each_other_are_kept_apart(store: Store) -> None:
    rows = run_of(store, "tiny-three").measures(["cka"])
    among = rows[rows["stream_a"].eq("text") & rows["stream_b"].eq("text_decoder")]
    assert len(among) == 2 * 2 * 5 * 4  # poolings, estimators, layers 0..4 with 0..3
    crossing = rows[rows["site_a"].eq("cross") | rows["site_b"].eq("cross")]
    assert set(crossing["stream_a"]) == set(crossing["stream_b"]) == {"text_decoder"}
    assert len(crossing) == 2 * 2 * 4


def test_every_captured_site_is_projected(store: Store) -> None:
    for model in ("tiny-one", "tiny-two", "tiny-three"):
        run = run_of(store, model)
        project_run(run, method="pca")
        rows = run.projections(method="pca")
        columns = ["stream", "layer", "site", "pooling"]
        places = set(rows[columns].itertuples(index=False, name=None))
        assert places == {(r.stream, r.layer, r.site, p) for r, p in run.captured()}
    assert verify(store) == []


def test_models_of_other_kinds_are_compared(store: Store) -> None:
    ids = [run_of(store, model).run_id for model in ("tiny-late", "tiny-three")]
    tasks = compare_runs(store, ids)
    assert {task.pooling for task in tasks} == {"cls", "mean"}
    rows = store.pair(*ids).measures()
    cls = rows[rows["pooling"].eq("cls")]
    assert set(cls["stream_b"]) == {"text", "text_decoder"}
    assert set(rows[rows["pooling"].eq("mean")]["stream_b"]) == {"vision", "text", "text_decoder"}
    assert verify(store) == []


def test_runs_without_a_layer_of_a_common_pooling_are_refused(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store = store_factory.make_released_store(
        tmp_path, ("one",), 8, poolings=("cls",), measures=False, projections=False
    )
    store_factory.make_released_store(
        tmp_path, ("two",), 8, poolings=("mean",), measures=False, projections=False
    )
    with pytest.raises(InputError, match="no pooling in common"):
        compare_runs(store, store.run_ids())
    with pytest.raises(InputError, match="no mean vectors of text, only cls"):
        compare_runs(store, store.run_ids(), poolings=["mean"])


def test_a_pooling_that_no_stream_has_is_no_work_and_asking_for_it_says_why(
    tmp_path: Path, store_factory: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    made = store_factory.make_released_manifest("three")
    vision = made.model.streams[0].model_copy(update={"sites": ("0-1:8",), "meets": ()})
    model = made.model.model_copy(update={"streams": (vision,)})
    made = made.model_copy(update={"model": model})
    store = Store.create(tmp_path)
    with store.writer(made) as writer:
        vectors = store_factory.make_vectors(made, 8)
        writer.write_part(store_factory.make_samples(8), vectors)
        assert {key.split("-")[2] for key, _ in measure_frames(writer)} == {"mean"}
        writer.commit()
    caplog.set_level(logging.WARNING)
    assert {task.pooling for task in measure_store(store, workers=1)} == {"mean"}
    assert caplog.text == "" and verify(store) == []
    assert measure_store(store, poolings=["cls"], workers=1) == []
    assert "stream vision has no summary token, so no cls. Use mean" in caplog.text


def test_a_streaming_plan_has_the_sites_and_widths_of_each_pooling(
    store_factory: ModuleType,
) -> None:
    plan = StreamPlan.of(store_factory.make_released_manifest("three"))
    cls, mean = plan.poolings["cls"], plan.poolings["mean"]
    assert [ref.label for ref in cls.refs if ref.stream == "vision"] == ["4.projected"]
    assert cls.widths == (6, 10, 10, 10, 10, 10, 6, 14, 14, 14, 14, 14, 14)
    assert mean.widths[:5] == (8, 8, 12, 12, 16)
    assert (0, 6) in cls.pairs  # projected with projected
    assert plan.nbytes > 0
    assert {p: len(s.tracked) for p, s in plan.fresh().items()} == {"cls": 0, "mean": 0}
