"""What a trial is worth: its placement trained, one seed or several, judged on the dev split.

Nothing here looks at the test split before a trial is over: its score is read beside dev's for the
report at the end and decides nothing. Every placement and seed is a cell as of a sweep, so a trial
that was trained to its end is a run of the store like any other, and one that a sweep has made
already is not made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from backend.data.splits import usual
from backend.progress import SILENT, Progress
from backend.search.pruning import Pruning, read_epochs
from backend.search.trial import Outcome, SearchState, Trial
from backend.store import Run, Store
from backend.sweep.cell import Cell, read_status
from backend.sweep.run import CellState, run_sweep

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MakeCell = Callable[[Trial, int], Cell]
"""The cell of a trial and a seed."""


@dataclass(frozen=True)
class CellObjective:
    """Trains trials as cells, in processes of their own.

    ``folder`` gets the dev scores of every training, an epoch at a time; ``devices`` as for a
    sweep. ``state`` gets the cells that run now, and ``progress`` is told of them. Only the first
    of ``seeds`` can be pruned; the others are trained when it was not.
    """

    make: MakeCell
    seeds: Sequence[int]
    pruner: str
    devices: Sequence[str]
    folder: Path
    state: SearchState = field(default_factory=SearchState)
    progress: Progress = SILENT

    def __call__(
        self, trials: Sequence[Trial], before: Sequence[FrozenTrial]
    ) -> Mapping[int, Outcome]:
        """{number: outcome}: done with a score a seed, pruned, or failed with the reason."""
        first = {one.number: self._first(one, before) for one in trials}
        states = self._run([[cell] for cell in first.values()])
        begun = dict(zip(first, states, strict=True))
        going_on = [one for one in trials if begun[one.number][0].state == "done"]
        more = self._run([[self.make(one, seed) for seed in self.seeds[1:]] for one in going_on])
        for one, rest in zip(going_on, more, strict=True):
            begun[one.number] = [*begun[one.number], *rest]
        return {number: self._outcome(all_of) for number, all_of in begun.items()}

    def _first(self, trial: Trial, before: Sequence[FrozenTrial]) -> Cell:
        cell = self.make(trial, self.seeds[0])
        watch = Pruning(self.pruner, cell.plan.epochs, before, self._epochs(cell))
        return replace(cell, observer=watch)

    def _run(self, groups: Sequence[Sequence[Cell]]) -> list[list[CellState]]:
        """The states of the cells, group by group; those pruned before are not run again."""
        cells = [cell for group in groups for cell in group]
        stopped = {
            cell.run_id: why
            for cell in cells
            if cell.observer and (why := read_epochs(self._epochs(cell)).stopped)
        }
        new = [cell for cell in cells if cell.run_id not in stopped]
        self.folder.mkdir(parents=True, exist_ok=True)
        running = [CellState(cell) for cell in new]
        self.state.cells = running
        if running:
            run_sweep(running, self.devices, self, keep_frozen=True)
        states = {one.cell.run_id: one for one in running}
        for cell in cells:
            if cell.run_id in stopped:
                states[cell.run_id] = CellState(cell, "pruned", reason=stopped[cell.run_id])
        return [[states[cell.run_id] for cell in group] for group in groups]

    def advance(self, done: float, total: float | None, what: str = "") -> None:
        """The cells are further: tell it of the search."""
        cells = [one.cell for one in self.state.cells]
        so_far = {cell.placement: read_epochs(self._epochs(cell)) for cell in cells}
        self.state.scores = {
            name: epochs.best[-1] for name, epochs in so_far.items() if epochs.best
        }
        self.state.tell(self.progress)

    def _outcome(self, states: Sequence[CellState]) -> Outcome:
        epochs = read_epochs(self._epochs(states[0].cell))
        outcome = Outcome(
            "done",
            epochs=epochs.best,
            rungs=epochs.rungs,
            seconds=sum(map(_seconds, states)),
        )
        if states[0].state == "pruned":
            cell = states[0].cell
            # The weights and optimiser of a training that nobody will go on with.
            shutil.rmtree(cell.folder / f".seed-{cell.seed}.partial", ignore_errors=True)
            return replace(outcome, state="pruned", reason=states[0].reason)
        failed = [one for one in states if one.state != "done"]
        if failed:
            reason = f"{failed[0].cell.run_id}: {failed[0].reason}"
            return replace(outcome, state="failed", reason=reason)
        runs = [Store(one.cell.store).run(one.cell.run_id) for one in states]
        dev = [split_score(run, "dev") for run in runs]
        if not np.isfinite(dev).all():
            reason = "its dev score is not defined: does every class occur in the dev split?"
            return replace(outcome, state="failed", reason=reason)
        test = [split_score(run, "test") for run in runs]
        return replace(
            outcome,
            dev=tuple(dev),
            test=tuple(test) if np.isfinite(test).all() else (),
            run_ids=tuple(run.run_id for run in runs),
        )

    def _epochs(self, cell: Cell) -> Path:
        """Of a placement's first seed: the others are not judged."""
        return self.folder / f"{cell.placement.replace(',', '_')}.json"


def split_score(run: Run, split: str) -> float:
    """The mean over a run's tasks of each one's own metric; NaN where it has none there.

    ``split`` is ``dev`` or ``test``, whatever the dataset calls it.
    """
    metrics = {task.name: task.metric for task in run.manifest.tasks}
    rows = run.scores()
    own = rows["metric"].eq(rows["task"].map(metrics)) & rows["split"].map(usual).eq(split)
    values = rows["value"][own].dropna()
    return float(values.mean()) if len(values) else float("nan")


def _seconds(state: CellState) -> float:
    """How long the cell took, also where another process made it."""
    status = read_status(state.cell)
    return state.seconds or (status.seconds if status else 0.0)
