"""Runs' predictions, read from a store for verdicts on differences of scores."""

import numpy as np
import pandas as pd
import pytest

from backend.store import Run, kinds
from backend.train.metrics import scores
from backend.train.predictions import predictions
from backend.views.items import items_of
from backend.views.store_access import overview
from backend.views.study import claims_of, findings

PLACED = ("early", "late")


def predict(store, run_id: str, seed: int, n: int | None = None) -> None:
    """Add predictions of all captured samples, or of the first n, and the scores that they give."""
    run = store.run(run_id)
    task = next(task for task in run.manifest.tasks if task.kind == "binary")
    ids = run.sample_ids()[:n]
    labels = np.arange(len(ids)) % 2
    noise = np.random.default_rng([seed, run_id.startswith("late")]).normal(size=len(ids))
    logits = (2.0 * labels - 1 + noise)[:, None]
    run.add(kinds.PREDICTIONS, predictions(task, logits, labels, list(ids), "test"))
    rows = [vars(score) for score in scores(task, logits, labels, "test")]
    run.add(kinds.SCORES, pd.DataFrame(rows))


@pytest.fixture
def store(tmp_path, store_factory):
    return store_factory.make_store(
        tmp_path / "s", placements=PLACED, seeds=(0, 1, 2), n=24, depth=4, scores=False,
        measures=False, projections=False,
    )  # fmt: skip


def late_wins(store, task="irony"):
    results, problems = findings(str(store.path))
    result = next(one for one in results if one.claim.key == "scores")
    return next(one for one in result.findings if one.task == task), problems


def test_predictions_make_the_test_set_a_sample_of_every_finding_on_scores(store):
    for placement in PLACED:
        for seed in (0, 1, 2):
            predict(store, f"{placement}-seed{seed}", seed)
    runs = overview(str(store.path)).runs
    items = items_of(runs)
    assert {key[1:] for key in items.jackknives} == {
        ("irony", "test", metric) for metric in ("auroc", "macro_f1", "accuracy")
    }  # fmt: skip
    found, problems = late_wins(store)
    assert problems == () and "of the uncertainty comes from" in found.notes[0]
    assert "24 test samples" in found.unit
    # The page of a data set says the same.
    claims, _ = claims_of(runs, found.dataset, pd.DataFrame(), "cls", "debiased")
    same = next(one for one in claims if one.claim.key == "scores")
    assert same.findings[0].unit == found.unit


def test_samples_that_the_run_groups_are_left_out_together(store, monkeypatch):
    predict(store, "late-seed0", 0)
    names = np.array([f"photo{at // 2}" for at in range(24)], dtype=object)
    monkeypatch.setattr(Run, "groups", lambda self: names)
    held = items_of(overview(str(store.path)).runs).jackknives
    assert {(key[0], len(one.without), one.n) for key, one in held.items()} == {
        ("late-seed0", 12, 24)
    }  # fmt: skip


def test_an_old_run_without_predictions_is_named(store):
    for placement in PLACED:
        for seed in (0, 1, 2):
            predict(store, f"{placement}-seed{seed}", seed)
    (store.path / "runs/late-seed1/predictions.parquet").unlink()
    found, _ = late_wins(store)
    assert found.notes[0] == (
        "The test set is taken as given: run late-seed1 keeps no predictions."
    )  # fmt: skip


def test_predictions_of_other_samples_are_named(store):
    for placement in PLACED:
        for seed in (0, 1, 2):
            predict(store, f"{placement}-seed{seed}", seed, n=23 if seed == 2 else None)
    found, _ = late_wins(store)
    assert "cannot be compared: run early-seed2 was scored on other test samples" in found.sentence


def test_where_some_belong_together_the_groups_of_those_not_captured_are_not_known(
    store, monkeypatch
):
    predict(store, "late-seed0", 0)
    names = np.array([f"photo{at // 2}" for at in range(20)], dtype=object)
    monkeypatch.setattr(Run, "groups", lambda self: names)
    captured = store.run("late-seed0").sample_ids()[:20]
    monkeypatch.setattr(Run, "sample_ids", lambda self: captured)
    items = items_of(overview(str(store.path)).runs)
    assert not items.jackknives
    problem = items.problems["late-seed0"]
    assert "late-seed0 cannot be used (4 of 24 test samples were not captured" in problem


def test_a_damaged_table_is_named_and_the_finding_still_stands(store):
    for placement in PLACED:
        for seed in (0, 1, 2):
            predict(store, f"{placement}-seed{seed}", seed)
    file = store.path / "runs/early-seed0/predictions.parquet"
    file.write_bytes(file.read_bytes()[:100])
    found, _ = late_wins(store)
    assert "predictions of run early-seed0 cannot be used" in found.notes[0]
    assert found.verdict != "not enough runs"


def test_a_pair_of_equal_samples_among_many_does_not_hide_the_others(store, monkeypatch):
    predict(store, "late-seed0", 0)
    names = np.array(["both", "both", *(f"s{at}" for at in range(98))], dtype=object)
    captured = [*store.run("late-seed0").sample_ids()[:20], *(f"other{at}" for at in range(80))]
    monkeypatch.setattr(Run, "groups", lambda self: names)
    monkeypatch.setattr(Run, "sample_ids", lambda self: np.array(captured, dtype=object))
    held = items_of(overview(str(store.path)).runs)
    assert {len(one.without) for one in held.jackknives.values()} == {23} and not held.problems
