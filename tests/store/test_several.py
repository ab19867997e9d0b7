"""Commands over several runs: what is wrong with one never stops the others."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from backend.cli import app
from backend.errors import InputError
from backend.jobs import measure as job
from backend.jobs.project import project_run
from backend.store import Run, Store
from backend.store.kinds import COMPARISONS, NEIGHBOURS, PROJECTIONS
from backend.types import LayerRef

GOOD = ("late-seed0", "late-seed1")


def command(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def store(tmp_path: Path, store_factory: ModuleType) -> Store:
    """Two good runs between one of three samples and one that cannot be read."""
    options = {"depth": 4, "width": 4, "poolings": ("cls",), "keep_activations": "all"}
    options |= {"measures": False, "projections": False, "checkpoint": False}
    store: Store = store_factory.make_store(tmp_path / "s", ("late",), (0, 1), 12, **options)
    store_factory.make_store(store.path, ("early",), (0,), 3, **options)
    (store.path / "runs" / "late-seed0a").mkdir()
    (store.path / "runs" / "late-seed0a" / "run.json").write_text("{")
    return store


def test_a_run_that_is_too_small_or_broken_does_not_stop_project(store: Store) -> None:
    done = command("project", "--store", store.path, "--method", "pca")
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == "2 of 4 could not be done; the others are"
    assert "early-seed0" in done.output and "late-seed0a" in done.output
    assert all(store.run(run_id).keys(PROJECTIONS) for run_id in GOOD)
    assert not store.run("early-seed0").keys(PROJECTIONS)
    alone = command("project", "--store", store.path, "--method", "pca", "--run", "early-seed0")
    assert "samples" in str(alone.exception) and "could not be done" not in str(alone.exception)


def test_a_run_that_cannot_be_compared_does_not_stop_the_other_pairs(store: Store) -> None:
    done = command("compare", *store.run_ids(), "gone", "--store", store.path)
    assert str(done.exception) == "9 of 10 could not be done; the others are"
    assert store.pair(*GOOD).keys(COMPARISONS)


def test_a_run_that_cannot_be_measured_does_not_stop_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done_for = []

    def perform(path: str, task: job.Task) -> None:
        if task.run_id == "late-seed0":
            store.delete("late-seed0")  # beside the command
            Store(path).run(task.run_id)
        done_for.append(task.run_id)

    monkeypatch.setattr(job, "perform", perform)
    done = command("measure", "--store", store.path, "--workers", 1)
    assert str(done.exception) == "2 of 4 could not be done; the others are"
    assert "no run 'late-seed0'" in done.output and "late-seed0a" in done.output
    assert set(done_for) == {"early-seed0", "late-seed1"}


@pytest.mark.parametrize("words", [["project", "--method", "x"], ["measure", "--preset", "x"]])
def test_a_wrong_option_is_said_once(store: Store, words: list[str]) -> None:
    done = command(*words, "--store", store.path)
    assert "unknown" in str(done.exception) and not done.output.strip()


def test_a_layer_that_is_not_finite_is_left_out_of_the_maps(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read = Run.vectors

    def with_nan(run: Run, stream: str, layer: LayerRef, *args: object) -> np.ndarray:
        vectors = read(run, stream, layer, *args)  # type: ignore[arg-type]
        if (stream, layer.label) == ("text", "2"):
            vectors[3] = np.inf
        return vectors

    monkeypatch.setattr(Run, "vectors", with_nan)
    run = store.run(GOOD[0])
    project_run(run, method="pca")
    assert "layer 2 of text (cls) is left out" in caplog.text and "1 of 12 samples" in caplog.text
    for kind in (PROJECTIONS, NEIGHBOURS):
        places = {(row["stream"], row["layer"]) for row in run.table(kind).to_pylist()}
        assert ("text", 2) not in places and {("text", 1), ("vision", 2)} <= places
