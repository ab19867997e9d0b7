"""``fusionscope demo --study``: the numbers where they are shipped, else how they are made."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from types import ModuleType

import pytest

from backend.paths import shipped_study
from backend.store import Store, kinds
from tests.command_line import Run, runner


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the program looks for the study's numbers."""
    monkeypatch.setattr("backend.paths.root", lambda: tmp_path)
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache" / "study-numbers.duckdb"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def test_where_the_numbers_are_not_shipped_one_line_says_what_to_run(
    shipped: Path, run: Run
) -> None:
    code, _, said = run("demo", "--study")
    assert code == 2 and len(said.strip().splitlines()) == 1
    assert "fusionscope sweep docs/study/study.toml" in said
    assert "pack cache/study" in said and "--numbers" in said


def test_the_numbers_are_made_by_pack_and_found_by_demo(
    shipped: Path, tmp_path: Path, store_factory: ModuleType, run: Run
) -> None:
    store_factory.make_store(tmp_path / "study", ("none", "late"), (0,), n=12, depth=4)
    assert run("pack", tmp_path / "study", shipped, "--numbers")[0] == 0
    code, said, _ = run("demo", "--study", "--no-serve")
    assert code == 0 and "study-numbers.duckdb" in said
    assert Store(shipped).run("late-seed0").samples()["text"].eq("").all()


@pytest.mark.parametrize("also", [["--rebuild"], ["--store", "x"]])
def test_the_study_is_not_made_or_looked_for_elsewhere(also: list[str], run: Run) -> None:
    code, _, said = run("demo", "--study", *also)
    assert code == 2 and "come as they are" in said


def test_the_shipped_numbers_are_whole_and_hold_no_image_and_no_text() -> None:
    store = Store(shipped_study())
    runs = [store.run(name) for name in store.run_ids()]
    cells = {(run.manifest.dataset.name, run.manifest.label, run.manifest.seed) for run in runs}
    names = {name for name, _, _ in cells}
    placements = ("none", "full", "early", "middle", "late")
    assert names and cells == set(product(names, placements, (0, 1, 2)))
    for run in runs:
        samples = run.samples(["text", "thumbnail"])
        assert samples["text"].eq("").all() and samples["thumbnail"].isna().all()
        assert run.keys(kinds.INTERVENTIONS) or run.manifest.label == "none"
