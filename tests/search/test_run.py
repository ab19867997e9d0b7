"""The search without trainings: sequences, kills, duplicates, failures."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from backend.errors import InputError
from backend.search.record import JOURNAL, Record, open_record
from backend.search.run import run_search
from backend.search.space import Space, space_of
from backend.search.trial import Outcome, SearchState, Trial
from tests.watch import Watch

DEPTHS = (6, 6)
SPACE = space_of(DEPTHS, fewest=1, most=2)


def worth(trial: Trial) -> float:
    """Late in text and early in vision is good."""
    text, vision = trial.placement.text, trial.placement.vision
    return round(0.5 + 0.05 * (sum(text) / len(text) - sum(vision) / len(vision)), 6)


class Fake:
    """Scores without training; one in three trials is pruned, ``bad`` placements fail."""

    def __init__(self, wait_s: float = 0.0, bad: Sequence[object] = ()) -> None:
        self.wait_s, self.bad = wait_s, bad
        self.tried: list[int] = []
        self.before: list[int] = []

    def __call__(
        self, trials: Sequence[Trial], before: Sequence[FrozenTrial]
    ) -> Mapping[int, Outcome]:
        self.tried += [one.number for one in trials]
        self.before.append(len(before))
        time.sleep(self.wait_s)
        return {one.number: self.outcome(one) for one in trials}

    def outcome(self, one: Trial) -> Outcome:
        value = worth(one)
        if one.placement.pairs in self.bad:
            return Outcome("failed", reason="out of memory")
        epochs = (value / 2, value)
        if sum(one.placement.text) % 3 == 0:
            return Outcome("pruned", epochs=epochs[:1], reason="behind", seconds=1.0)
        return Outcome(
            "done", dev=(value,), test=(0.9,), epochs=epochs, run_ids=("r",), seconds=4.0
        )


def search(
    folder: Path,
    objective: Fake,
    trials: int = 24,
    *,
    sampler: str = "tpe",
    seed: int = 0,
    at_once: int = 1,
    space: Space = SPACE,
) -> list[Trial]:
    with open_record(folder) as record:
        return run_search(
            record, space, DEPTHS, objective,
            trials=trials, sampler=sampler, seed=seed, at_once=at_once,
        )  # fmt: skip


def shown(trials: Sequence[Trial]) -> list[tuple[object, ...]]:
    return [
        (one.number, one.placement, one.state, one.value, one.copy_of, dict(one.params))
        for one in trials
    ]


@pytest.fixture(scope="module", params=[1, 3])
def at_once(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_the_same_seed_gives_the_same_placements_however_it_is_cut(
    tmp_path: Path, at_once: int
) -> None:
    whole = search(tmp_path / "whole", Fake(), at_once=at_once)
    for stop in (6, 15, 24):  # each time in a new optimiser
        parts = search(tmp_path / "parts", Fake(), stop, at_once=at_once)
    assert shown(parts) == shown(whole)
    other = search(tmp_path / "other", Fake(), 6, seed=1)
    assert [one.placement for one in other] != [one.placement for one in whole[:6]]


def test_a_search_learns_from_its_trials(tmp_path: Path) -> None:
    def late(sampler: str) -> float:
        made = search(tmp_path / sampler, Fake(), 40, sampler=sampler)
        return sum(worth(one) for one in made[20:]) / 20

    assert late("tpe") > late("random") + 0.02


class Interrupted(BaseException):
    """Ends a search as a kill would, at a known place."""


def test_a_trial_that_was_running_is_taken_up_first(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", Fake(), 8, at_once=2)

    class Stop(Fake):
        def outcome(self, one: Trial) -> Outcome:
            if one.number == 5:
                raise Interrupted
            return super().outcome(one)

    with pytest.raises(Interrupted):
        search(tmp_path / "cut", Stop(), 8, at_once=2)
    with open_record(tmp_path / "cut") as record:
        assert [one.number for one in record.trials() if one.state == "running"] == [4, 5]
    objective = Fake()
    state, states = SearchState(), list[list[str]]()
    watch = Watch(lambda *_: states.append([one.state for one in state.trials]) or False)
    with open_record(tmp_path / "cut") as record:
        made = run_search(
            record, SPACE, DEPTHS, objective, trials=8, sampler="tpe", seed=0, at_once=2,
            state=state, progress=watch,
        )  # fmt: skip
    assert shown(made) == shown(whole)
    assert objective.tried[0] in (4, 5)
    assert min(objective.tried) == objective.tried[0]
    assert states[0][4:] == ["running", "running"]  # said before they are tried
    assert states[-1] == [one.state for one in made]


@pytest.mark.parametrize("step", ["start", "finish"])
def test_a_batch_cut_in_two_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    whole = search(tmp_path / "whole", Fake(), 21, at_once=3)
    real, calls = getattr(Record, step), iter(range(100))

    def then_killed(*given: Any) -> Trial:
        done: Trial = real(*given)
        if next(calls) == 12:  # the first of the fifth batch, when TPE has begun to learn
            raise Interrupted
        return done

    monkeypatch.setattr(Record, step, then_killed)
    with pytest.raises(Interrupted):
        search(tmp_path / "cut", Fake(), 21, at_once=3)
    monkeypatch.setattr(Record, step, real)
    objective = Fake()
    assert shown(search(tmp_path / "cut", objective, 21, at_once=3)) == shown(whole)
    assert objective.before[0] == 12  # the one of the batch that is over is not compared with


def test_a_search_killed_at_any_moment_gives_the_same_trials(tmp_path: Path, at_once: int) -> None:
    whole = search(tmp_path / "whole", Fake(), 20, at_once=at_once)
    cut, moments, kills = tmp_path / "cut", random.Random(3), 0
    fork = multiprocessing.get_context("fork")
    for _ in range(10):
        process = fork.Process(
            target=search, args=(cut, Fake(wait_s=0.01), 20), kwargs={"at_once": at_once}
        )
        process.start()
        size = _size(cut)
        while process.is_alive() and _size(cut) == size:
            time.sleep(0.0005)
        process.join(moments.uniform(0.0, 0.01))
        if not process.is_alive():
            break
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    assert kills >= 5
    made = search(cut, Fake(), 20, at_once=at_once)
    assert shown(made) == shown(whole)
    assert all(one.state != "running" for one in made)


def _size(folder: Path) -> int:
    path = folder / JOURNAL
    return path.stat().st_size if path.is_file() else 0


def test_a_line_that_was_not_written_to_its_end_does_not_spoil_the_record(tmp_path: Path) -> None:
    before = search(tmp_path, Fake(), 3)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(b'{"op_code":4,"worker')
    # And its writer's lock is still there.
    (tmp_path / f"{JOURNAL}.lock").symlink_to(tmp_path / JOURNAL)
    after = search(tmp_path, Fake(), 5)
    assert shown(after[:3]) == shown(before)
    assert shown(search(tmp_path, Fake(), 5)) == shown(after)


def test_a_placement_that_comes_again_has_its_known_outcome_untrained(
    tmp_path: Path, at_once: int
) -> None:
    small = space_of((2, 2), fewest=1, most=1)
    objective = Fake()
    made = search(tmp_path, objective, 30, sampler="random", space=small, at_once=at_once)
    assert len(objective.tried) == len({one.placement.pairs for one in made}) == small.size == 4
    copies = [one for one in made if one.copy_of is not None]
    assert copies
    for one in copies:
        assert one.copy_of is not None
        first = made[one.copy_of]
        assert (first.placement, first.state, first.value) == (one.placement, one.state, one.value)
        assert first.copy_of is None
    # Every placement there is has been tried: no use in the rest of the thirty.
    assert len(made) < 30


def test_what_failed_is_marked_and_tried_once_more_by_the_next_search(tmp_path: Path) -> None:
    bad = [search(tmp_path / "look", Fake(), 3)[2].placement.pairs]
    made = search(tmp_path / "s", Fake(bad=bad), 8)
    failed = [one for one in made if one.state == "failed" and one.copy_of is None]
    assert [one.number for one in failed] == [2]
    assert failed[0].outcome is not None
    assert failed[0].outcome.reason == "out of memory"
    assert len(made) == 8
    again = Fake()
    after = search(tmp_path / "s", again, 8)
    lost = sum(one.state == "failed" for one in made)
    assert after[8].placement == made[2].placement
    assert after[8].state != "failed"
    assert again.tried[0] == 8
    assert len(after) == 8 + lost
    none_left = Fake()
    assert len(search(tmp_path / "s", none_left, 8)) == len(after)
    assert not none_left.tried


def test_trials_are_compared_with_those_of_earlier_batches_only(tmp_path: Path) -> None:
    objective = Fake()
    search(tmp_path, objective, 6, at_once=3)
    assert objective.before == [0, 3]


def test_two_searches_do_not_write_one_record(tmp_path: Path) -> None:
    with (
        open_record(tmp_path),
        pytest.raises(InputError, match="another search is running there"),
        open_record(tmp_path),
    ):
        pass


def test_optuna_itself_can_open_the_record(tmp_path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    made = search(tmp_path, Fake(), 5)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL)))
    study = optuna.load_study(study_name=None, storage=storage)
    best = max(made, key=lambda one: one.value or 0.0)
    assert study.best_trial.user_attrs["placement"] == best.placement.name
    assert study.best_value == best.value
