"""`fusionscope intervene`: what is printed, written, and said of models that cannot be asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backend.cli import main
from backend.interventions.files import read_interventions
from tests.tiny import tiny_checkpoint

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fusionscope", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return call


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
    assert "one seed of" in flat and "described, not judged" in flat
    read = read_interventions(tmp_path / "out" / "interventions.parquet")
    assert set(read.table["weights"]) == {"trained", "fresh fusion"}
    assert read.about["samples"] == 8 and len(read.problems) == 2
    told = json.loads((tmp_path / "out" / "interventions.json").read_text())
    assert {one["verdict"] for one in told["answers"]} == {"one seed"}
    code, _, err = run(*words, "--out", tmp_path / "out")
    assert code == 2 and "exists" in err


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
