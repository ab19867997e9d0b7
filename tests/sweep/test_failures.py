"""Every way in which a cell or its surroundings can fail: what is said, and what is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from backend.cli import main
from backend.errors import InputError
from backend.store import Store, kinds
from backend.sweep.cell import Cell
from backend.sweep.making import is_done, run_cell
from backend.sweep.reasons import reason_of
from backend.sweep.run import CellState, run_sweep
from tests.sweep.test_sweep import DATA, TRAIN, cells_in


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*args: object, **kwargs: object) -> Any:
        raise error

    return fail


def reason(cell: Cell) -> str:
    """Why the cell fails."""
    with pytest.raises(Exception) as caught:
        run_cell(cell, "cpu", lambda: 1.0)
    assert not is_done(cell)
    return reason_of(caught.value, "the files of a cell")


def test_a_failure_in_each_stage_is_told_and_costs_that_stage_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cells_in(tmp_path, placements=["late"])[0]
    (cell.folder).mkdir(parents=True)
    (cell.folder / "error.txt").write_text("a traceback")
    full = OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("backend.train.state.torch.save", failing(full))
        assert reason(cell).startswith("disk full while writing ")
    with monkeypatch.context() as patch:
        patch.setattr("backend.train.loop._Training.write", failing(MemoryError()))
        assert reason(cell).startswith("out of memory: lower batch_size")
    with monkeypatch.context() as patch:
        patch.setattr("backend.train.engine.Engine._epoch", failing(AssertionError("trained")))
        patch.setattr("backend.store.written.WrittenParts.append", failing(full))
        assert reason(cell).startswith("disk full while writing ")
    with monkeypatch.context() as patch:
        patch.setattr("backend.sweep.making._train", lambda cell, *_: cell.folder / "seed-0")
        patch.setattr("backend.jobs.measure._add", failing(OSError(12, "Cannot allocate memory")))
        assert reason(cell).startswith("out of memory")
    with monkeypatch.context() as patch:
        patch.setattr("backend.jobs.capture.capture", failing(AssertionError("captured again")))
        patch.setattr("backend.jobs.project.project_layers", failing(RuntimeError("odd\nfault")))
        assert reason(cell) == "fault: RuntimeError: odd fault"
    with monkeypatch.context() as patch:
        patch.setattr("backend.jobs.measure._add", failing(AssertionError("measured again")))
        run_cell(cell, "cpu", lambda: 1.0)
    assert is_done(cell)
    assert not (cell.folder / "error.txt").exists()
    assert len(Store(cell.store).run(cell.run_id).keys(kinds.PROJECTIONS)) == 2


def test_a_store_that_cannot_be_written_is_refused_before_anything_trains(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    work = str(tmp_path / "work")
    for store, said in ((tmp_path / "file", "File exists"), (tmp_path / "file/s", "Not a direct")):
        cells = cells_in(tmp_path, store=str(store), work=work)
        with pytest.raises(InputError, match=f"{store}: cannot be written .{said}.* Choose anoth"):
            run_sweep([CellState(cell) for cell in cells], ["cpu"])
    assert not list((tmp_path / "work").iterdir())


def test_a_second_sweep_of_the_same_study_is_refused_and_disturbs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, work = tmp_path / "store", tmp_path / "store-work"
    work.mkdir()
    flags = ["--data", DATA, "--placement", "none", "--store", str(store), "--workers", "1"]
    flags += ["--set", f"train.text_encoder={TRAIN['text_encoder']}"]
    monkeypatch.setattr(sys, "argv", ["fusionscope", "sweep", *flags])
    with FileLock(work / "sweep.lock"), pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.strip() == (
        f"fusionscope: {work}: another sweep is running there. "
        "Wait for it, or give this study another store."
    )
    assert [path.name for path in work.iterdir()] == ["sweep.lock"]
