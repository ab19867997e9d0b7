"""When a training is given up, and that an interruption does not change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from backend.search.pruning import Pruning, judge, read_epochs
from backend.train.observe import TrainingStopped

NOTHING: Any = None


def finished(*values: float, **rungs: float) -> FrozenTrial:
    return create_trial(
        state=TrialState.COMPLETE,
        value=values[-1],
        intermediate_values=dict(enumerate(values, start=1)),
        system_attrs=dict(rungs),
    )


FIVE = [finished(0.5, 0.5 + i / 100, 0.7) for i in range(5)]


def test_below_the_median_of_five_is_given_up_from_the_second_epoch_on() -> None:
    assert judge("median", 9, FIVE, [0.1])[0] == ""
    why, _ = judge("median", 9, FIVE, [0.1, 0.51])
    assert why == "dev 0.510 after epoch 2 is below the median of 5 trials, 0.520"
    assert judge("median", 9, FIVE, [0.1, 0.53])[0] == ""
    assert judge("median", 9, FIVE[:4], [0.1, 0.2])[0] == ""
    assert judge("none", 9, FIVE, [0.1, 0.2]) == ("", {})


def test_halving_lets_half_go_on_after_a_quarter_and_after_half() -> None:
    rivals = [finished(0.3, 0.4 + i / 10, completed_rung_0=0.4 + i / 10) for i in range(3)]
    assert judge("halving", 8, rivals, [0.1])[0] == ""  # not yet a quarter of eight
    why, rungs = judge("halving", 8, rivals, [0.1, 0.45])
    assert why == "dev 0.450 after epoch 2 is not in the upper half of 4 trials"
    assert rungs == {"completed_rung_0": 0.45}
    assert judge("halving", 8, rivals, [0.1, 0.7])[0] == ""


def watch(path: Path, pruner: str = "median", epochs: int = 4) -> Pruning:
    made = Pruning(pruner, epochs, FIVE, path)
    made.begin(NOTHING, NOTHING, NOTHING, NOTHING, path, 0)
    return made


def test_the_best_so_far_is_kept_and_judged(tmp_path: Path) -> None:
    path = tmp_path / "epochs" / "run.json"
    one = watch(path)
    one.evaluated(1, 0.6)
    one.evaluated(2, 0.3)  # the first epoch's model would be kept
    assert read_epochs(path).best == (0.6, 0.6)
    with pytest.raises(TrainingStopped, match="below the median"):
        one.evaluated(3, 0.65)
    found = read_epochs(path)
    assert found.best == (0.6, 0.6, 0.65)
    assert "0.650 after epoch 3" in found.stopped


def test_a_training_that_goes_on_is_judged_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    watch(path).evaluated(1, 0.6)
    again = watch(path)
    again.evaluated(1, 0.6)
    again.evaluated(2, 0.61)
    assert read_epochs(path).best == (0.6, 0.61)


def test_after_the_last_epoch_there_is_nothing_to_give_up(tmp_path: Path) -> None:
    one = watch(tmp_path / "run.json", epochs=2)
    one.evaluated(1, 0.1)
    one.evaluated(2, 0.1)
    assert read_epochs(tmp_path / "run.json").stopped == ""


def test_without_a_finished_epoch_there_is_nothing(tmp_path: Path) -> None:
    assert read_epochs(tmp_path / "run.json").best == ()
