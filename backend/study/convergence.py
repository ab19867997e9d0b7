"""Whether trainings had come to their end when their scores were compared.

A score is that of the best epoch by the dev split. Where the last epoch is the best one and still
well above all before it, more epochs would have changed the score, and a difference between two
placements is one between snapshots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from backend.words import listed

GAIN = 0.01
"""Half of what would matter in a score: two more epochs that gain as much would matter."""

Key = tuple[str, str, str]
"""Run, task and metric."""


@dataclass(frozen=True)
class DevCurve:
    """A score on the dev split after each epoch, the first one first; ``kept`` counts from 1."""

    values: tuple[float, ...]
    kept: int

    @property
    def epochs(self) -> int:
        """How many were trained."""
        return len(self.values)

    @property
    def improving(self) -> bool:
        """Whether it was still improving at the last epoch.

        That is: the last epoch is the one that was kept, and its score lies at least :data:`GAIN`
        above that of every epoch before. A training of one epoch counts as improving; a NaN never
        is an improvement.
        """
        *before, last = self.values
        if self.kept != self.epochs or last != last:
            return False
        best = max((value for value in before if value == value), default=None)
        return best is None or last - best >= GAIN


NO_CURVES: Mapping[Key, DevCurve] = MappingProxyType({})
"""Of runs that keep no record of their training."""


def dev_curves(rows: pd.DataFrame, run_id: str) -> dict[Key, DevCurve]:
    """Of a run's rows of :data:`backend.store.kinds.TRAINING_SCORES`, by task and metric."""
    curves: dict[Key, DevCurve] = {}
    for (task, metric), mine in rows.groupby(["task", "metric"], sort=False):
        ordered = mine.sort_values("epoch")
        kept = ordered.loc[ordered["kept"], "epoch"]
        values = tuple(map(float, ordered["value"]))
        curves[run_id, str(task), str(metric)] = DevCurve(values, int(kept.iloc[0]))
    return curves


def what_was_compared(
    runs_of: Mapping[str, Sequence[str]],
    task: str,
    metric: str,
    curves: Mapping[Key, DevCurve],
) -> str:
    """``best of 6 epochs, still improving at the last: late in 3 of 3 runs``.

    ``runs_of`` are the runs of each placement that is compared. "" where no run has a record.
    """
    known = {
        name: [curves[run, task, metric] for run in runs if (run, task, metric) in curves]
        for name, runs in runs_of.items()
    }
    epochs = _span(curve.epochs for own in known.values() for curve in own)
    if not epochs:
        return ""
    going_on = [
        f"{name} in {sum(curve.improving for curve in own)} of {len(own)}"
        for name, own in known.items()
        if any(curve.improving for curve in own)
    ]
    lacking = [name for name, own in known.items() if len(own) < len(runs_of[name])]
    words = f"best of {epochs}"
    if going_on:
        words += f", still improving at the last: {listed(going_on)} runs"
    elif not lacking:
        words += ", none still improving at the last"
    if lacking:
        words += f"; of {listed(lacking)} not every run tells"
    return words


def _span(counts: Iterable[int]) -> str:
    """``6 epochs``, ``4 to 6 epochs``; "" for none."""
    held = sorted(set(counts))
    if not held:
        return ""
    if len(held) > 1:
        return f"{held[0]} to {held[-1]} epochs"
    return "1 epoch" if held == [1] else f"{held[0]} epochs"
