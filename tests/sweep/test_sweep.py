"""Sweeps at small size: cells, failures that stay where they are, and kills at any moment."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from backend.cli import main
from backend.errors import InputError
from backend.store import Run, Store, kinds
from backend.store.verify import verify
from backend.sweep.cell import Cell, read_status
from backend.sweep.making import STAGES, is_done, run_cell
from backend.sweep.run import CellState, left_s, run_sweep
from backend.sweep.study import study_of
from backend.sweep.table import SweepTable, duration, table_of
from tests.sweep.kills import draw_kills, moments_in, sweep
from tests.watch import Watch

SEED = 5  # of the kills' moments
DATA = "macros:n=48,dev=24,test=24"
TRAIN = {
    "text_encoder": "small:depth=2,width=16,heads=2",
    "vision_encoder": "small:depth=2,width=16,heads=2,patch=16",
    "epochs": 3,  # FIRST_EPOCH of kills.py
    "freeze": "text=1;vision=1",
    "measure_every": "epoch",
}


def cells_in(folder: Path, data: Sequence[str] = (DATA,), **changes: object) -> list[Cell]:
    """Cells of which the one without fusion keeps no vectors."""
    content = {
        "store": str(folder / "store"),
        "placements": ["none", "late"],
        "datasets": [{"data": one, "name": f"d{i}"} for i, one in enumerate(data)],
        "train": TRAIN,
        "measure": ["thesis"],  # a tenth of a second
        "project": ["pca"],
        "intervene": True,
        **changes,
    }
    cells = study_of(content)[1]
    return [replace(cell, keep_activations=cell.placement != "none") for cell in cells]


def results(folder: Path) -> dict[str, bytes]:
    """Every file of every run: scores, vectors, measures, coordinates. Not when it was made."""
    runs = folder / "store" / "runs"
    return {
        path.relative_to(runs).as_posix(): path.read_bytes()
        for path in sorted(runs.rglob("*"))
        # What lies beside the runs is no run's: a killed capture leaves its lock there.
        if path.is_file() and path.name != "run.json" and path.parent != runs
    }


def assert_same_results(a: Path, b: Path) -> None:
    """Of every run in ``b``: the same files as in ``a``, bit by bit."""
    right = results(b)
    held = {name.partition("/")[0] for name in right}
    left = {name: data for name, data in results(a).items() if name.partition("/")[0] in held}
    assert right
    assert left.keys() == right.keys()
    assert [name for name, data in right.items() if data != left[name]] == []
    assert not verify(Store(b / "store"))


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that nobody disturbed, two cells side by side; ``events`` beside it."""
    folder = tmp_path_factory.mktemp("through")
    ending = sweep(cells_in(folder), 2, events=folder / "events")
    assert ending.states == [("done", ""), ("done", "")]
    return folder


def test_every_cell_is_a_run_with_scores_measures_and_coordinates(through: Path) -> None:
    store = Store(through / "store")
    assert set(store.run_ids()) == {"d0-none-s0", "d0-late-s0"}
    run = store.run("d0-late-s0")
    assert run.manifest.placement.text == (2,)
    assert set(run.scores()["split"]) == {"dev", "test"}
    assert {"cka", "effective_dimension"} <= set(run.measure_names())
    assert len(run.keys(kinds.PROJECTIONS)) == 2
    assert len(run.keys(kinds.INTERVENTIONS)) == 1
    assert not store.run("d0-none-s0").keys(kinds.INTERVENTIONS)  # no partner to exchange
    assert sorted(set(run.training_measures()["epoch"])) == [0, 1, 2, 3]
    assert run.manifest.origin.train.startswith("fusionscope train --data")
    assert not verify(store)
    assert not (through / "store-work" / "frozen").exists()


def test_a_finished_sweep_is_not_made_again(through: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (through / "store").rglob("*") if p.is_file()}
    states, watch = [CellState(cell) for cell in cells_in(through)], Watch()
    run_sweep(states, ["cpu"], watch)
    assert all(one.made_before and one.state == "done" for one in states)
    assert watch.told == [(2.0, 2, "")]
    assert before == {p: p.stat().st_mtime_ns for p in before}
    # With other options the cells are not done, although their runs are there.
    assert not any(is_done(cell) for cell in cells_in(through, train={**TRAIN, "epochs": 2}))


def test_other_partners_are_asked_of_a_run_that_is_there_and_kept_no_vectors(
    tmp_path: Path,
) -> None:
    for asks in (False, True):
        cell = replace(cells_in(tmp_path, intervene=asks)[1], keep_activations=False)
        assert not is_done(cell)
        run_cell(cell, "cpu", lambda: 1.0)
        run = Store(tmp_path / "store").run(cell.run_id)
        assert len(run.keys(kinds.INTERVENTIONS)) == asks
        assert is_done(cell) and not verify(Store(tmp_path / "store"))


def made(cell: Cell) -> Run:
    """The run of a cell that was not done before and is now."""
    assert not is_done(cell)
    run_cell(cell, "cpu", lambda: 1.0)
    assert is_done(cell) and not verify(Store(cell.store))
    return Store(cell.store).run(cell.run_id)


def test_what_is_asked_for_later_of_a_run_without_vectors_is_made_and_the_rest_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = replace(cells_in(tmp_path, measure=[], project=[])[1], keep_activations=False)
    run = made(cell)
    asked = run.table(kinds.INTERVENTIONS).to_pandas()
    monkeypatch.setattr("backend.train.engine.Engine._epoch", None)  # the checkpoint is there
    assert not run.keys(kinds.MEASURES)
    measured = replace(cell, presets=("thesis",))
    assert {"cka", "effective_dimension"} <= set(made(measured).measure_names())
    mapped = replace(measured, methods=("pca",))
    with monkeypatch.context() as patch:
        patch.setattr("backend.jobs.measure.compute", None)  # what is there is not made again
        run = made(mapped)
    assert len(run.keys(kinds.PROJECTIONS)) == 2 and not run.has_activations
    run = made(replace(mapped, keep_activations=True))
    assert run.has_activations and len(run.keys(kinds.PROJECTIONS)) == 2
    pd.testing.assert_frame_equal(run.table(kinds.INTERVENTIONS).to_pandas(), asked)


def test_a_measure_that_is_gone_is_made_again_from_the_vectors_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = replace(cells_in(tmp_path)[1], keep_checkpoint=False)
    run = made(cell)
    before = run.measures()
    (
        tmp_path
        / "store/runs"
        / cell.run_id
        / "measures"
        / f"{run.keys(kinds.MEASURES)[0]}.parquet"
    ).unlink()
    monkeypatch.setattr("backend.train.engine.Engine._epoch", None)
    monkeypatch.setattr("backend.jobs.capture.capture", None)
    pd.testing.assert_frame_equal(made(cell).measures(), before)


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        ({"presets": ("default",)}, "measures of default"),
        ({"methods": ("pca",), "keep_activations": True}, "vectors and maps by pca"),
        ({"intervene": True}, "interventions"),
    ],
)
def test_what_needs_a_checkpoint_that_is_gone_is_said_before_anything_is_trained(
    changes: dict[str, object], lacks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = replace(
        cells_in(tmp_path, project=[], intervene=False)[1],
        keep_activations=False,
        keep_checkpoint=False,
    )
    made(cell)
    monkeypatch.setattr("backend.train.engine.Engine._epoch", None)
    asked = replace(cell, **changes)
    state = CellState(asked)
    run_sweep([state], ["cpu"])
    assert state.reason == (
        f"store {cell.store}: run {cell.run_id} lacks {lacks}, and its checkpoint is not kept. "
        "Delete the run to have it trained again, or leave out what it lacks."
    )
    assert state.state == "failed" and not is_done(asked)


class Stop(BaseException):
    """Ends a cell as a kill would, at a known place."""


def reached(stage: str, part: float, done: float, _: float | None, what: str) -> bool:
    return what == stage and done >= part - 1e-9


def test_a_cell_stopped_in_each_stage_ends_the_same(through: Path, tmp_path: Path) -> None:
    cell = replace(cells_in(tmp_path)[1], keep_checkpoint=False)
    for stage, part in (
        *(("train", 0.0), ("train", 0.35), ("train", 0.7)),
        *(("capture", 0.7), ("capture", 0.79), ("measure", 0.8), ("project", 0.9)),
        ("intervene", 0.95),
    ):
        until = Watch(partial(reached, stage, part), Stop)
        with pytest.raises(Stop):
            run_cell(cell, "cpu", lambda: 1.0, until)
        assert not is_done(cell)
    watch = Watch()
    run_cell(cell, "cpu", lambda: 1.0, watch)
    assert is_done(cell)
    assert list(dict.fromkeys(what for _, _, what in watch.told)) == list(STAGES)[1:]
    assert [done for done, _, _ in watch.told] == sorted(done for done, _, _ in watch.told)
    assert watch.told[-1][:2] == pytest.approx((1.0, 1.0))
    assert not (cell.folder / "seed-0").exists()  # keep_checkpoint is False
    one, other = Store(through / "store").run(cell.run_id), Store(cell.store).run(cell.run_id)
    # This process may compute on more threads than the sweep's: equal up to rounding.
    pd.testing.assert_frame_equal(one.scores(), other.scores(), atol=0.05)
    assert one.keys(kinds.MEASURES) == other.keys(kinds.MEASURES)


def test_a_run_of_the_same_name_from_other_options_is_not_taken_for_the_cell_s(
    through: Path, tmp_path: Path
) -> None:
    cell = replace(cells_in(through)[0], work=tmp_path / "work", seed=7)
    with pytest.raises(InputError, match="run d0-none-s0 exists, from other options"):
        run_cell(cell, "cpu", lambda: 1.0)
    assert not is_done(cell)


def test_a_sweep_given_from_another_directory_is_the_same(
    through: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = cells_in(through)[1]
    (through / "store-work" / cell.run_id / "status.json").unlink()
    before = results(through)
    for folder in (tmp_path, through / "store-work" / cell.run_id):
        monkeypatch.chdir(folder)
        (through / "store-work" / cell.run_id / "status.json").unlink(missing_ok=True)
        run_cell(cell, "cpu", lambda: 1.0)
        assert is_done(cell) and results(through) == before


def test_what_fails_is_marked_and_the_rest_goes_on(through: Path, tmp_path: Path) -> None:
    gone = f"folder:{tmp_path / 'gone'}"
    cells = cells_in(tmp_path, [gone, DATA], placements=["none"])
    cells.append(replace(cells[1], run_id="d1-killed-s0", seed=3))
    ending = sweep(cells, 2, kill_cell=("d1-killed-s0", "train"))
    (first, why), (second, _), (third, killed) = ending.states
    assert [first, second, third] == ["failed", "done", "failed"]
    assert "gone: no such folder" in why
    assert "killed (SIGKILL): most likely out of memory" in killed
    assert set(Store(tmp_path / "store").run_ids()) == {"d1-none-s0"}
    for cell, said in zip(cells, ending.states, strict=True):
        status = read_status(cell)
        assert status is not None
        assert (status.state, status.reason) == said
    # Given again, what failed is tried again and what is done is left.
    again = sweep(cells[1:], 1)
    assert again.states == [("done", ""), ("done", "")]
    assert again.made_before == ["d1-none-s0"]


def test_a_sweep_killed_ten_times_at_random_moments_gives_the_same_results(
    through: Path, tmp_path: Path
) -> None:
    cells = cells_in(tmp_path)
    kills = draw_kills(moments_in(through / "events"), 10, SEED)
    shown = f"seed {SEED}: {'; '.join(map(str, kills))}"
    # One more, of the sweep's own process: its cell sees that, ends, and is waited for.
    for kill in (*kills[:5], replace(kills[5], whole=False), *kills[5:]):
        assert sweep(cells, 1, kill=kill).killed_by == signal.SIGKILL, f"at {kill} of {shown}"
    assert sweep(cells, 1).states == [("done", ""), ("done", "")], shown
    assert_same_results(through, tmp_path)
    left = [path for path in tmp_path.rglob(".*") if path.suffix != ".lock"]
    assert not left, shown


def test_the_command_ends_with_1_if_a_cell_failed_names_it_and_makes_the_others(
    through: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command line as it is, with processes that start from nothing."""
    study = tmp_path / "study.toml"
    study.write_text(
        f"""
        store = "{tmp_path / "store"}"
        placements = ["late"]
        measure = ["thesis"]
        project = ["pca"]
        intervene = true
        datasets = [{{data = "folder:{tmp_path}/gone"}}, {{data = "{DATA}", name = "d0"}}]
        [train]
        """
        + "\n".join(f"{key} = {json.dumps(value)}" for key, value in TRAIN.items())
    )
    words = ["fusionscope", "sweep", str(study), "--workers", "2", "--json"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    assert left.value.code == 1
    assert "gone-late-s0: failed: " in said.err
    first, second = json.loads(said.out)
    assert (first["run_id"], first["state"]) == ("gone-late-s0", "failed")
    assert f"{tmp_path}/gone: no such folder" in first["reason"]
    assert (second["run_id"], second["state"]) == ("d0-late-s0", "done")
    assert_same_results(through, tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--placement none --data macros", "store is missing"),
        ("--placement sooner --data macros --store s", "no placement is called so"),
        ("study.toml --data macros", "--data: cannot be given with study.toml. Use --set for what"),
        ("study.toml", "study study.toml: cannot be read"),
        ("--placement none --data macros --store s --devices tpu", "no such device"),
        ("--placement none --data macros --devices cpu --workers 2", "--devices: cannot be"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fusionscope", "sweep", *words.split()])
    with pytest.raises(SystemExit) as left:
        main()
    shown = capsys.readouterr().err
    assert left.value.code == 2
    assert said in shown
    assert shown.strip().count("\n") == 0
    assert not Path("s").exists()


def states_of(tmp_path: Path) -> list[CellState]:
    cells = cells_in(tmp_path, seeds=[0, 1])
    return [
        CellState(cells[0], "done", fraction=1.0, seconds=100.0),
        CellState(cells[1], "running", "train", 0.25, device="cpu", seconds=30.0),
        CellState(cells[2], "failed", reason="out of [memory]"),
        CellState(cells[3]),
    ]


def test_the_time_left_is_of_what_runs_and_what_waits(tmp_path: Path) -> None:
    states = states_of(tmp_path)
    assert states[1].left_s == pytest.approx(90)
    assert left_s(states, 1) == pytest.approx(100 + 90)
    assert left_s(states, 2) == pytest.approx(95)
    assert left_s([CellState(states[3].cell)], 1) is None


def test_the_table_shows_states_and_reasons_as_they_are(tmp_path: Path) -> None:
    states, text = states_of(tmp_path), StringIO()
    console = Console(file=text, width=140)
    console.print(table_of(states))
    with SweepTable(states, 1, console) as table:  # no terminal: a line a change
        table.advance(1, 4)
        table.advance(2, 4)
    said = text.getvalue()
    assert "running: train" in said
    assert "out of [memory]" in said
    assert said.count("d0-none-s0: done in 2 min") == 1
    assert said.count("d0-none-s1: failed: out of [memory]") == 1


def test_a_terminal_gets_a_live_table(tmp_path: Path) -> None:
    text = StringIO()
    console = Console(file=text, width=140, force_terminal=True)
    with SweepTable(states_of(tmp_path), 1, console) as table:
        table.advance(1, 4)
    assert "about 3 min left" in text.getvalue()


@pytest.mark.parametrize(("s", "text"), [(4.2, "4 s"), (200, "3 min"), (7500, "2 h 05 min")])
def test_durations(s: float, text: str) -> None:
    assert duration(s) == text
