"""`fusionscope intervene`: what is printed, written, and said of models that cannot be asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from backend.interventions.files import read_interventions
from backend.store import Store, kinds
from tests.command_line import Run, runner
from tests.tiny import tiny_checkpoint


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def test_checkpoints_are_asked_and_the_answers_printed_and_written(
    run: Run, tmp_path: Path
) -> None:
    fused = tiny_checkpoint(tmp_path / "fused")
    plain = tiny_checkpoint(tmp_path / "plain", (), ())
    words = ("intervene", fused, plain, "--data", "macros:n=120", "--samples", 8, "--device", "cpu")
    code, out, err = run(*words, "--out", tmp_path / "out")
    assert code == 0, err
    assert f"{plain}: has no fusion" in err and "untrained: which weights" in err
    flat = " ".join(out.split())
    assert "CKA at transitions that cross a fusion minus that at the others" in flat
    assert "[not enough runs] “A partner that varies makes CKA lower”: on macros" in flat
    assert "one seed of" in flat and "so nothing is judged" in flat
    assert "what training changes cannot be asked" in flat
    read = read_interventions(tmp_path / "out" / "interventions.parquet")
    assert set(read.table["weights"]) == {"trained", "fresh fusion"}
    assert read.about["samples"] == 8 and len(read.facts) == 2 and not read.failures
    told = json.loads((tmp_path / "out" / "interventions.json").read_text())
    verdicts = {one["verdict"] for one in told["claim"]["findings"]}
    assert verdicts == {"not enough runs", "described"}
    code, _, err = run(*words, "--out", tmp_path / "out")
    assert code == 2 and "exists" in err


def test_a_stores_run_is_asked_kept_and_told_of_as_json(run: Run, tmp_path: Path) -> None:
    fused, store = tiny_checkpoint(tmp_path / "fused"), tmp_path / "store"
    given = ("--data", "macros:n=120", "--device", "cpu")
    words = ("--model", fused, "--store", store, "--limit", 6, "--run-id", "one")
    code, _, err = run("capture", *given, *words, "--with-checkpoint")
    assert code == 0, err
    for _ in range(2):
        code, out, err = run("intervene", store, *given, "--samples", 8, "--json")
        assert code == 0, err
        told = json.loads(out)
        assert set(told["about"]["models"]) == {"one"} and told["about"]["samples"] == 8
        assert told["claim"]["claim"] == "interventions" and told["contrasts"]
    assert len(Store(store).run("one").keys(kinds.INTERVENTIONS)) == 1


def test_a_run_that_cannot_be_asked_ends_the_command_with_its_code(
    run: Run, tmp_path: Path
) -> None:
    store, given = tmp_path / "store", ("--data", "macros:n=120", "--device", "cpu")
    for name, keep in (("kept", ("--with-checkpoint",)), ("lost", ())):
        model = tiny_checkpoint(tmp_path / name, (2,), (2,) if keep else (3,))
        words = ("--model", model, "--store", store, "--limit", 6, "--run-id", name)
        assert run("capture", *given, *words, *keep)[0] == 0
        shutil.rmtree(model)
    code, out, err = run("intervene", store, *given, "--samples", 8, "--json")
    assert code == 2
    assert "1 model of 2 could not be asked or kept; the others are" in err
    told = json.loads(out)["about"]
    assert set(told["models"]) == {"kept"}
    assert [line.partition(":")[0] for line in told["failures"]] == ["lost"]
    assert "untrained" in told["facts"][0]


def test_bad_input_is_one_line(run: Run, tmp_path: Path) -> None:
    plain = tiny_checkpoint(tmp_path / "plain", (), ())
    data = ("--data", "macros:n=120", "--samples", 8)
    for words, said in (
        ((plain, *data), "no model could be asked"),
        ((plain, *data, "--pooling", "max"), "'max' is not one of cls or mean"),
        ((plain, *data, "--seeds", "one"), "is not a list of whole numbers"),
        ((tmp_path, *data), "is neither a store nor a checkpoint"),
    ):
        code, _, err = run("intervene", *words)
        assert code == 2 and said in err, err
        assert err.strip().count("\n") <= 1
