"""The demo: what is shipped is whole, small, right, and what its command describes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.errors import InputError
from backend.jobs import demo
from backend.paths import shipped_demo
from backend.store import Store, assert_comparable, kinds, verify

# 30 MiB until runs kept their predictions (3.3 MB in all) and nearest neighbours (2.4 MB).
MOST_BYTES = 36 * 2**20


@pytest.fixture(scope="module")
def store() -> Store:
    if not demo.is_demo(shipped_demo()):
        pytest.skip("the demo store is not here")
    return Store(shipped_demo())


def test_five_placements_times_three_seeds(store: Store) -> None:
    runs = store.runs()
    assert sorted(zip(runs["placement"], runs["seed"], strict=True)) == sorted(
        (cell.placement, cell.seed) for cell in demo.cells()
    )
    assert set(runs["n"]) == {demo.SAMPLES}
    assert runs["has_activations"].sum() == runs["has_checkpoint"].sum() == len(demo.PLACEMENTS)


def test_it_is_whole_and_small(store: Store) -> None:
    assert [finding for finding in verify(store) if finding.kind == "problem"] == []
    size = sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())
    assert size < MOST_BYTES


def test_every_run_has_scores_measures_and_maps_of_both_poolings(store: Store) -> None:
    for run_id in store.run_ids():
        run = store.run(run_id)
        scores = run.scores()
        assert {"irony", "topics", "object"} == set(scores["task"])
        measures = run.measures()
        assert set(measures["measure"]) >= {"cka", "effective_dimension", "participation_ratio"}
        assert set(measures["pooling"]) == {"cls", "mean"}
        for pooling in ("cls", "mean"):
            for stream in ("vision", "text"):
                assert len(run.projections(stream, 12, pooling, "umap")) == demo.SAMPLES


def test_every_fused_run_is_asked_with_other_partners_in_the_same_way(store: Store) -> None:
    asked = {
        run_id: store.run(run_id).keys(kinds.INTERVENTIONS)
        for run_id in store.run_ids()
        if "-none-" not in run_id
    }
    assert len(asked) == 12 and len(set(asked.values())) == 1
    assert all(len(keys) == 1 for keys in asked.values())


def test_all_runs_show_the_same_samples(store: Store) -> None:
    assert_comparable([store.run(run_id) for run_id in store.run_ids()])


def test_fusion_learns_irony(store: Store) -> None:
    best = {
        placement: max(
            float(store.run(f"macros-{placement}-s{seed}").score_summary()["irony.auroc"])
            for seed in demo.SEEDS
        )
        for placement in ("full", "early", "middle", "late")
    }
    assert max(best.values()) > 0.95


def batched(words: list[str]) -> Iterator[tuple[str, str]]:
    return zip(words[::2], words[1::2], strict=True)


def test_the_runs_remember_the_plan_of_this_code(store: Store) -> None:
    for cell in demo.cells():
        run = store.run(cell.run_id)
        ours = shlex.split(demo.plan_of(cell.placement).command(cell.seed))
        shipped = shlex.split(run.manifest.origin.train)
        assert shipped[:2] == ours[:2]
        options = [dict(batched(words[2:])) for words in (ours, shipped)]
        assert options[1].pop("--out").startswith("cache/demo-work")
        assert options[0] == options[1]
        assert run.manifest.placement.name == cell.placement


def test_no_path_of_the_machine_that_made_it_is_shipped(store: Store) -> None:
    for path in store.path.rglob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert '"/' not in text, path
        assert "/tmp" not in text, path  # noqa: S108


@pytest.mark.parametrize("placement", ["none", "late"])
def test_the_shipped_checkpoint_gives_the_shipped_activations(store: Store, placement: str) -> None:
    from backend.capture.sinks import PooledSink
    from backend.capture.tap import Tap
    from backend.data.registry import open_source
    from backend.models.registry import open_model

    run = store.run(f"macros-{placement}-s{demo.KEPT_SEED}")
    adapter = open_model(str(run.checkpoint))
    pairs = list(open_source(demo.DATA).pairs("test", 32))
    pooled = PooledSink(("cls", "mean"), "float16")
    with Tap(adapter, pooled) as tap:
        tap(adapter.encode([pair.sample for pair in pairs]))
    vectors = pooled.vectors()
    assert list(run.sample_ids()[:32]) == [p.record.sample_id for p in pairs]
    for ref, pooling in run.captured():
        theirs = run.vectors(ref.stream, ref.label, pooling)[:32]
        ours = vectors[ref, pooling]
        assert np.allclose(ours, theirs, rtol=0.02, atol=0.02), (ref, pooling)


def test_a_missing_demo_is_copied_and_another_store_is_left_alone(
    store: Store, tmp_path: Path
) -> None:
    assert demo.ensure_demo(tmp_path / "new")
    assert demo.is_demo(tmp_path / "new")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and not the demo"):
        demo.ensure_demo(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


def test_the_fifteen_scores_are_on_the_test_split(store: Store) -> None:
    for run_id in store.run_ids():
        checkpoint = store.run(run_id).checkpoint
        if checkpoint is None:
            continue
        shipped = json.loads((checkpoint / "scores.json").read_text())
        stored = store.run(run_id).scores()
        assert len(shipped) == len(stored)
        assert set(stored["split"]) == {"dev", "test"}


def test_a_cell_is_measured_after_every_epoch_while_it_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AskedError(Exception):  # what comes after training takes minutes
        pass

    def train_seed(*given: object, **also: object) -> Path:
        raise AskedError(given[2:], also)

    monkeypatch.setattr("backend.train.loop.train_seed", train_seed)
    monkeypatch.setattr(
        "backend.jobs.training_measures.TrainingMeasures", lambda every: f"every {every}"
    )
    with pytest.raises(AskedError) as asked:
        demo.build_cell(demo.Cell("late", 1), tmp_path / "store", tmp_path)
    assert asked.value.args == ((1, tmp_path / "late"), {"observer": "every epoch"})


@pytest.mark.parametrize("seed", demo.SEEDS)
def test_every_cell_is_asked_with_other_partners_while_its_checkpoint_is_there(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []

    class Opened:
        adapter, source = "adapter", "source"

    def run_capture(request: object, opened: object, **also: Any) -> None:
        assert isinstance(opened, Opened) and also["keep_activations"] is (seed == demo.KEPT_SEED)
        also["before_commit"]("writer")

    monkeypatch.setattr("backend.train.loop.train_seed", lambda *given, **also: tmp_path / "one")
    monkeypatch.setattr("backend.jobs.capture.open_request", lambda request: Opened())
    monkeypatch.setattr("backend.jobs.capture.run_capture", run_capture)
    monkeypatch.setattr(
        "backend.jobs.capture.measure_and_project",
        lambda writer, keep_probes: done.append((writer, keep_probes)),
    )
    monkeypatch.setattr(
        "backend.interventions.run.add_interventions", lambda *given: done.append(given)
    )
    demo.build_cell(demo.Cell("late", seed), tmp_path / "store", tmp_path)
    assert done == [("writer", seed == demo.KEPT_SEED), ("writer", "adapter", "source")]


def test_a_checkpoint_finished_without_training_measures_is_trained_again_beside_it(
    tmp_path: Path,
) -> None:
    cell = demo.Cell("late", 1)
    assert demo.folder_of(cell, tmp_path) == tmp_path / "late"
    (tmp_path / "late" / "seed-1").mkdir(parents=True)
    assert demo.folder_of(cell, tmp_path) == tmp_path / "late-measured"
    assert demo.folder_of(demo.Cell("late", 2), tmp_path) == tmp_path / "late"


def test_an_unfinished_demo_names_the_cells_that_it_lacks(tmp_path: Path) -> None:
    assert len(demo.missing_cells(tmp_path / "gone")) == 15
    unfinished, finished = (tmp_path / "runs" / f"macros-late-s{seed}" for seed in (0, 1))
    unfinished.mkdir(parents=True)
    finished.mkdir()
    (finished / "run.json").touch()
    missing = demo.missing_cells(tmp_path)
    assert len(missing) == 14
    assert demo.Cell("late", 1) not in missing
