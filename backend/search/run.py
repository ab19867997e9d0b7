"""The search itself: suggest a batch, have it tried, record what came of it.

A batch is as many trials as are tried side by side. Its suggestions and its pruning depend on the
batches before it and not on which of its own trials ends first, so the same search gives the same
placements whether or not it was killed, as long as it is given as many workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from backend.models.placement import Placement, name_of
from backend.progress import SILENT, Progress
from backend.search.record import Record
from backend.search.sampling import suggest
from backend.search.space import Space
from backend.search.trial import Outcome, SearchState, Trial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Pairs = tuple[tuple[int, int], ...]


class Objective(Protocol):
    """Tries placements; what is on disk of an earlier attempt is not made again."""

    def __call__(
        self, trials: Sequence[Trial], before: Sequence[FrozenTrial]
    ) -> Mapping[int, Outcome]:
        """{number: outcome} of each trial, no two of the same placement.

        ``before`` are the finished trials that they may be compared with while they run.
        """
        ...


def run_search(
    record: Record,
    space: Space,
    depths: tuple[int, int],
    objective: Objective,
    *,
    trials: int,
    sampler: str,
    seed: int,
    at_once: int = 1,
    state: SearchState | None = None,
    progress: Progress = SILENT,
) -> list[Trial]:
    """Go on until there are ``trials``, or every placement was tried; all of them in the end.

    First come trials that were running when an earlier search was killed, then placements that
    failed in one: those are tried once more, and their failures do not count. A placement that is
    suggested again is not tried again: it is a trial with the outcome that is known. ``depths`` are
    those of the (text, vision) encoders. ``state`` is kept up to date, and ``progress`` told of
    it.
    """
    state = state or SearchState()
    state.wanted = trials
    earlier = record.trials()
    given_up = {one.number for one in earlier if one.state == "failed"}
    answered = {one.placement.pairs for one in earlier if one.state != "failed"}
    again = {
        one.placement.pairs: one
        for one in earlier
        if one.state == "failed" and one.placement.pairs not in answered
    }
    retries = list(again.values())
    while True:
        recorded = record.trials()
        batch = _batch(recorded)
        members = sum(one.batch == batch for one in recorded)
        while (
            members < at_once
            and len(recorded) - len(given_up) < trials
            and (retries or not _exhausted(space, recorded, given_up))
        ):
            if retries:
                old = retries.pop(0)
                params, placement = old.params, old.placement
            else:
                params = suggest(space, sampler, seed, record.frozen(batch))
                text, vision = space.layers(params)
                placement = Placement(name_of(text, vision, *depths), text, vision)
            record.start(space, params, placement, batch)
            members += 1
            recorded = record.trials()
        state.trials = recorded
        state.tell(progress)
        running = [one for one in recorded if one.state == "running"]
        if not running:
            return recorded
        _try(record, running, recorded, given_up, objective)


def _batch(trials: Sequence[Trial]) -> int:
    """The batch that an interrupted search was at, or the next one."""
    running = [one.batch for one in trials if one.state == "running"]
    return min(running) if running else max((one.batch for one in trials), default=-1) + 1


def _exhausted(space: Space, trials: Sequence[Trial], given_up: set[int]) -> bool:
    tried = {one.placement.pairs for one in trials if one.number not in given_up}
    return len(tried) >= space.size


def _try(
    record: Record,
    running: Sequence[Trial],
    trials: Sequence[Trial],
    given_up: set[int],
    objective: Objective,
) -> None:
    """Have what is new tried; record the outcomes in the order of the trials."""
    tried = {
        one.placement.pairs: one
        for one in reversed(trials)  # the first of equal ones stays: it is no copy
        if one.outcome and one.number not in given_up
    }
    new: dict[Pairs, Trial] = {}
    for one in running:
        if one.placement.pairs not in tried:
            new.setdefault(one.placement.pairs, one)
    before = [one for one in record.frozen(running[0].batch) if one.state.is_finished()]
    outcomes = objective(list(new.values()), before) if new else {}
    for one in running:
        pairs = one.placement.pairs
        first = tried.get(pairs) or new[pairs]
        outcome = first.outcome or outcomes[first.number]
        record.finish(one, outcome, None if first is one else first.number)
