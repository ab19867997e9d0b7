"""A search that trains: trials become runs, what is behind is pruned, and the command's words."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from optuna.trial import TrialState, create_trial
from rich.console import Console

from backend.cli import main
from backend.models.placement import Placement
from backend.progress import Progress
from backend.search import objective as trained
from backend.search.objective import CellObjective, split_score
from backend.search.plan import SearchPlan, read_search
from backend.search.pruning import Pruning
from backend.search.report import as_json, cautions, ranked, spread
from backend.search.table import SearchTable, best_table, counts, left_s
from backend.search.trial import Outcome, SearchState, Trial
from backend.store import Store
from backend.sweep.cell import read_status
from backend.sweep.making import is_done, run_cell
from backend.sweep.run import CellState
from backend.train.observe import TrainingStopped
from tests.sweep.kills import sweep
from tests.watch import Watch

STUDY = """\
store = "store"
measure = []
project = []

[[datasets]]
data = "macros:n=48,dev=24,test=24"
name = "m"

[train]
text_encoder = "small:depth=2,width=16,heads=2"
vision_encoder = "small:depth=2,width=16,heads=2,patch=16"
epochs = 3

[search]
trials = 2
max_fusions = 1
seeds = [0, 1]
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchPlan:
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(STUDY)
    (made,) = read_search(Path("study.toml"))
    return made


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cells run in this process, which has the libraries already; the names of those that did."""
    names: list[str] = []

    def run_here(
        states: Sequence[CellState], devices: Sequence[str], progress: Progress, **_: Any
    ) -> None:
        for one in states:
            names.append(one.cell.run_id)
            try:
                if not is_done(one.cell):
                    run_cell(one.cell, "cpu", lambda: 2.0, progress)
                one.state, one.seconds = "done", 2.0
            except TrainingStopped as stop:
                one.state, one.reason = "pruned", str(stop)

    monkeypatch.setattr(trained, "run_sweep", run_here)
    return names


def asked(text: int, vision: int, number: int = 0) -> Trial:
    placement = Placement(f"t{text}-v{vision}", (text,), (vision,))
    return Trial(number, 0, placement, {}, "running")


def rivals(*values: float) -> Any:
    one = create_trial(
        state=TrialState.COMPLETE, value=values[-1], intermediate_values=dict(enumerate(values, 1))
    )
    return [one] * 5


def test_a_trial_is_worth_the_mean_dev_score_of_its_seeds_and_is_a_run(
    plan: SearchPlan, ran: list[str]
) -> None:
    state = SearchState()
    objective = CellObjective(plan.cell, plan.seeds, "median", ["cpu"], plan.folder, state)
    outcome = objective([asked(1, 2)], [])[0]
    assert outcome.run_ids == ("m-t1-v2-s0", "m-t1-v2-s1")
    runs = [Store("store").run(run_id) for run_id in outcome.run_ids]
    assert outcome.dev == tuple(split_score(run, "dev") for run in runs)
    assert outcome.test == tuple(split_score(run, "test") for run in runs)
    assert outcome.value == pytest.approx(sum(outcome.dev) / 2)
    assert outcome.seconds == 4.0
    # The epochs are those of the first seed's training, as its best so far.
    history = json.loads(Path("store-work/m-t1-v2-s0/seed-0/training.json").read_text())["history"]
    rows = pd.DataFrame([s | {"epoch": h["epoch"]} for h in history for s in h["dev"]])
    own = rows[
        rows["metric"].eq(rows["task"].map({t.name: t.metric for t in runs[0].manifest.tasks}))
    ]
    assert outcome.epochs == pytest.approx(own.groupby("epoch")["value"].mean().cummax().tolist())
    # The checkpoint is the best epoch's, so its dev score is that one.
    assert outcome.dev[0] == pytest.approx(outcome.epochs[-1])
    assert outcome.test[0] != outcome.dev[0]
    assert state.scores == {"t1-v2": outcome.epochs[-1]}
    # Again, it is found.
    ran.clear()
    again = objective([asked(1, 2)], rivals(0.9, 0.9, 0.9))[0]
    assert replace(again, seconds=outcome.seconds) == outcome


def test_a_trial_that_is_behind_is_pruned_with_its_reason_and_is_no_run(
    plan: SearchPlan, ran: list[str]
) -> None:
    objective = CellObjective(plan.cell, plan.seeds, "median", ["cpu"], plan.folder)
    trials = [asked(1, 1, number=6)]
    outcome = objective(trials, rivals(0.9, 0.95, 0.99))[6]
    assert outcome.state == "pruned"
    assert outcome.reason.endswith("is below the median of 5 trials, 0.950")
    assert len(outcome.epochs) == 2
    assert (outcome.value, outcome.run_ids) == (None, ())
    assert ran == ["m-t1-v1-s0"]  # the other seed was not even begun
    assert not Path("store-work/m-t1-v1-s0/.seed-0.partial").exists()
    assert not Path("store").exists()
    # Killed before this was recorded: the decision stands, without training again.
    assert objective(trials, rivals(0.9, 0.95, 0.99))[6] == replace(outcome, seconds=0.0)
    assert ran == ["m-t1-v1-s0"]
    # A sweep of the same cell knows nothing of it.
    cell = plan.cell(trials[0], 0)
    assert read_status(cell) is None
    assert not is_done(cell)


def test_a_trial_whose_training_fails_says_which_and_why(
    plan: SearchPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(states: Sequence[CellState], *_: Any, **__: Any) -> None:
        for one in states:
            one.state = "failed" if one.cell.seed else "done"
            one.reason = "disk full" * one.cell.seed

    monkeypatch.setattr(trained, "run_sweep", run)
    objective = CellObjective(plan.cell, plan.seeds, "median", ["cpu"], plan.folder)
    outcome = objective([asked(1, 2)], [])[0]
    assert (outcome.state, outcome.reason) == ("failed", "m-t1-v2-s1: disk full")
    assert outcome.value is None


def test_a_pruned_trial_that_was_killed_is_pruned_at_the_same_epoch(
    plan: SearchPlan, ran: list[str]
) -> None:
    class Kill(BaseException):
        pass

    objective = CellObjective(plan.cell, plan.seeds, "median", ["cpu"], plan.folder)
    epoch_is_over = Watch(lambda *_: bool(objective.state.scores), Kill)
    with pytest.raises(Kill):
        replace(objective, progress=epoch_is_over)([asked(2, 1)], rivals(0.9, 0.95, 0.99))
    cut = objective([asked(2, 1)], rivals(0.9, 0.95, 0.99))[0]
    whole = replace(objective, folder=plan.folder / "other")
    assert cut == whole([asked(2, 1)], rivals(0.9, 0.95, 0.99))[0]
    assert len(cut.epochs) == 2


def test_a_process_of_its_own_says_that_it_was_pruned(plan: SearchPlan, tmp_path: Path) -> None:
    watch = Pruning("median", 3, rivals(0.9, 0.95, 0.99), tmp_path / "epochs.json")
    ending = sweep([replace(plan.cell(asked(1, 1), 0), observer=watch)], 1)
    ((state, reason),) = ending.states
    assert state == "pruned"
    assert reason.endswith("is below the median of 5 trials, 0.950")


def test_the_command_trains_prints_and_goes_on(
    plan: SearchPlan,
    ran: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """That cells run in processes which start from nothing is the sweep's, and tested there."""
    flags = ["--trials", "1", "--workers", "1", "--set", "search.seeds=[0]"]
    words = ["fusionscope", "search", "study.toml", *flags]
    monkeypatch.setattr(sys, "argv", words)
    main_ok()
    said = capsys.readouterr()
    assert len(ran) == 1
    assert "m: 1 trial of 1 placement: 1 trained; 4 are possible" in said.out
    assert "optimistic" in said.out
    assert "--set 'seeds=[1, 2, 3]'" in said.out
    assert "m: trial 0, " in said.err
    monkeypatch.setattr(sys, "argv", [*words, "--json"])
    main_ok()
    (made,) = json.loads(capsys.readouterr().out)
    (row,) = made["trials"]
    assert len(ran) == 1  # not trained again
    assert (row["state"], row["runs"]) == ("done", list(Store("store").run_ids()))
    assert made["best"] == [0]
    assert row["dev"] == pytest.approx(split_score(Store("store").run(row["runs"][0]), "dev"))


def main_ok() -> None:
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code in (0, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nowhere.toml", "study nowhere.toml: cannot be read"),
        ("study.toml --max-fusions 3", "--set search.max_fusions=3: m: 3 fusions do not fit"),
        (
            "study.toml --pruner mean",
            "'mean' is not one of 'median', 'halving' or 'none'",
        ),
        ("study.toml --devices tpu", "no such device"),
        ("study.toml --devices cpu --workers 2", "--devices: cannot be given with --workers"),
        ("study.toml --dataset x", "no dataset is called 'x'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    plan: SearchPlan,
    words: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["fusionscope", "search", *words.split()])
    with pytest.raises(SystemExit) as left:
        main()
    shown = capsys.readouterr().err
    assert left.value.code == 2
    assert said in shown
    assert shown.strip().count("\n") == 0
    assert not Path("store-work").exists()


def done(number: int, *dev: float, copy_of: int | None = None) -> Trial:
    placement = Placement(f"t1-v{number + 1}", (1,), (number + 1,))
    outcome = Outcome("done", dev=dev, test=dev, seconds=60.0, run_ids=(f"r{number}",))
    return Trial(number, number, placement, {}, "done", outcome, copy_of)


MADE = [
    done(0, 0.70, 0.74),
    done(1, 0.80, 0.82),
    replace(done(1, 0.80, 0.82, copy_of=1), number=2),
    replace(done(3), state="pruned", outcome=Outcome("pruned", reason="is [behind]", seconds=20.0)),
    done(4, 0.79, 0.80),
    replace(done(5), state="running", outcome=None),
]


def test_the_ranking_has_each_placement_once_and_no_pruned_one() -> None:
    assert [one.number for one in ranked(MADE)] == [1, 4, 0]
    assert counts(MADE) == "6 trials of 5 placements: 3 trained, 1 pruned"


def test_the_words_at_the_end_say_how_far_to_trust_them(plan: SearchPlan) -> None:
    variances = (0.04**2 / 2, 0.02**2 / 2, 0.01**2 / 2)
    sd = (sum(variances) / 3) ** 0.5
    assert spread(MADE) == pytest.approx(sd)
    optimistic, noise, command = cautions(plan, MADE, "study.toml")
    assert "the best of 3 placements on dev" in optimistic
    assert f"{sd:.3f} (sd)" in noise
    assert f"less than {2 * sd:.3f}" in noise  # two seeds
    assert "1 other placement this near" in noise
    assert 'placements=["text=1;vision=2"]' in command
    assert "seeds=[2, 3, 4]" in command
    one_seed = [done(0, 0.7), done(1, 0.8)]
    assert "trained with one seed" in cautions(plan, one_seed, "study.toml")[1]
    assert cautions(plan, [], "study.toml") == []
    json.dumps(as_json(plan, MADE, "study.toml"))


def test_the_table_shows_what_runs_and_what_is_best(plan: SearchPlan) -> None:
    text = StringIO()
    console = Console(file=text, width=160, force_terminal=True)
    cell = plan.cell(MADE[5], 0)
    running = [CellState(cell, "running", "train", 0.25, seconds=30.0)]
    state = SearchState(10, MADE, running, {"t1-v6": 0.5})
    with SearchTable("m", state, 1, console) as table:
        state.tell(table)
    said = text.getvalue()
    assert "running: train" in said
    assert "0.500 so far" in said
    assert "m: 5 of 10 trials, best dev 0.810: text=1;vision=2" in said
    assert "is [behind]" in said
    assert "as trial 1" in said
    # 60, 60, 20 and 60 s so far, five to come.
    assert left_s(MADE, 10, 1) == pytest.approx(250)
    assert left_s([], 10, 1) is None
    plain = StringIO()
    out = Console(file=plain, width=160)
    lines = SearchTable("m", state, 1, out)
    state.tell(lines)
    state.tell(lines)
    assert plain.getvalue().splitlines() == ["m: trial 5, text=1;vision=6: begun"]
    out.print(best_table(MADE))
    assert "0.810 ± 0.014" in plain.getvalue()
