"""The steps of a training: which run was measured when, and what stands for it in between.

Runs need not be measured at the same steps: some stop early, some are measured after every epoch
and others every N steps. All are laid on one axis of optimizer steps. At a step at which a run was
not measured its latest earlier rows stand, and words say from when they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

RUN = ["series", "run_id"]


@dataclass(frozen=True)
class Moment:
    """One optimizer step of the axis; 0 is before training.

    ``epoch`` is None where the runs do not agree on it; ``in_epochs`` says that the moment is an
    epoch's end and counted in epochs, as all others of its axis.
    """

    step: int
    epoch: int | None
    in_epochs: bool = False

    @property
    def label(self) -> str:
        """``epoch 3``, ``step 14 (epoch 2)`` or ``untrained``."""
        if not self.step:
            return "untrained"
        return f"{'epoch' if self.in_epochs else 'step'} {self.short}"

    @property
    def short(self) -> str:
        """The label on an axis that says epoch or step itself; 0 is untrained."""
        if self.in_epochs or not self.step:
            return str(self.epoch or 0)
        return str(self.step) if self.epoch is None else f"{self.step} (epoch {self.epoch})"


def moments_of(frame: pd.DataFrame) -> tuple[Moment, ...]:
    """Every step at which any run was measured, in order.

    ``frame`` holds rows of :meth:`backend.store.Run.training_measures` with ``series`` and
    ``run_id``. A step is named by its epoch where all runs were measured after every epoch and
    their epochs are of one length. An epoch that is not the same for all runs is not named.
    """
    steps = frame[["epoch", "step"]].drop_duplicates().sort_values(["step", "epoch"])
    length = epoch_length(steps[steps["step"].gt(0)])
    runs = frame[[*RUN, "epoch", "step"]].drop_duplicates().groupby(RUN, sort=False)
    whole = length is not None and all(ends_epochs(mine) for _, mine in runs)
    # One row a step: where the runs disagree about its epoch, ``length`` is None.
    return tuple(
        Moment(int(step), None if length is None and step else int(epoch), whole)
        for epoch, step in steps.drop_duplicates("step").itertuples(index=False, name=None)
    )


def epoch_length(trained: pd.DataFrame) -> int | None:
    """Steps of an epoch that fit all rows of ``epoch`` and ``step`` (> 0), or None.

    Where several do, which is so when no row is of an epoch's end, the smallest.
    """
    if trained.empty:
        return None
    epoch, step = trained["epoch"].astype("int64"), trained["step"].astype("int64")
    least = int((-(-step // epoch)).max())
    later = epoch > 1
    most = int(((step - 1)[later] // (epoch - 1)[later]).min()) if later.any() else least
    return least if least <= most else None


def at_moments(frame: pd.DataFrame, moments: Sequence[Moment]) -> pd.DataFrame:
    """``frame`` with each run's rows at every moment from its first one on, in column ``moment``.

    ``step`` stays what it is: the step at which the rows were measured, at or before the moment.
    """
    measured = frame[[*RUN, "step"]].drop_duplicates().sort_values("step")
    axis = pd.DataFrame({"moment": [moment.step for moment in moments]}, dtype="int64")
    parts = [
        pd.merge_asof(
            axis,
            mine[["step"]].astype("int64"),
            left_on="moment",
            right_on="step",
        )
        .dropna()
        .assign(series=str(series), run_id=str(run_id))
        for (series, run_id), mine in measured.groupby(RUN, sort=False)
    ]
    if not parts:
        return frame.assign(moment=pd.Series(dtype="int64"))
    return pd.concat(parts).astype({"step": "int64"}).merge(frame, on=[*RUN, "step"])


@dataclass(frozen=True)
class Lag:
    """What stands for a series at one moment besides rows of that moment.

    ``text`` says from when the rows of which seeds are, "" where all are of this moment. ``over``
    is whether no run of the series goes on; ``brief`` says for a legend which runs do not.
    """

    text: str = ""
    brief: str = ""
    over: bool = False


@dataclass(frozen=True)
class _Recorded:
    """When one run was measured: (step, epoch), in order."""

    seed: int | None
    records: tuple[tuple[int, int], ...]
    ends_epochs: bool

    def at(self, step: int) -> tuple[str, bool]:
        """Words for what stands for the run at a step, "" for its own rows; whether it is over."""
        before = [record for record in self.records if record[0] <= step]
        if not before:
            return "not measured yet", False
        since, epoch = before[-1]
        if since == step:
            return "", False
        if before[-1] != self.records[-1]:
            return f"measured at step {since}", False
        if self.ends_epochs:
            return f"stopped after epoch {epoch}", True
        # Measured every N steps: it is over when the next time has gone by without rows.
        steps = [record[0] for record in self.records]
        if len(steps) > 1 and step < since + max(b - a for a, b in pairwise(steps)):
            return f"measured at step {since}", False
        return f"last measured at step {since} (epoch {epoch})", True


def lags_of(frame: pd.DataFrame, moments: Sequence[Moment]) -> dict[tuple[str, int], Lag]:
    """{(series, step of the moment): what is held there}; moments without anything held left out.

    ``frame`` as for :func:`at_moments`, with the column ``seed``.
    """
    runs: dict[str, list[_Recorded]] = {}
    rows = frame[[*RUN, "seed", "epoch", "step"]].drop_duplicates().sort_values(["seed", "step"])
    for (series, _), mine in rows.groupby(RUN, sort=False):
        records = tuple(
            (int(step), int(epoch))
            for step, epoch in mine[["step", "epoch"]].itertuples(index=False, name=None)
        )
        seed = mine["seed"].iloc[0]
        run = _Recorded(None if pd.isna(seed) else int(seed), records, ends_epochs(mine))
        runs.setdefault(str(series), []).append(run)
    return {
        (series, moment.step): lag
        for series, members in runs.items()
        for moment in moments
        if (lag := _lag(members, moment.step)).text
    }


def ends_epochs(rows: pd.DataFrame) -> bool:
    """Whether a run was measured after every epoch, so that its last row is its training's end.

    Told from ``epoch`` and ``step`` alone, for which it takes two epochs.
    """
    trained = rows[rows["step"].gt(0)][["epoch", "step"]].drop_duplicates()
    length = epoch_length(trained)
    return (
        length is not None
        and len(trained) > 1
        and sorted(trained["epoch"]) == list(range(1, len(trained) + 1))
        and bool(trained["step"].eq(trained["epoch"] * length).all())
    )


def _lag(runs: Sequence[_Recorded], step: int) -> Lag:
    seeds: dict[str, list[int | None]] = {}
    ended = 0
    for run in runs:
        words, over = run.at(step)
        ended += over
        if words:
            seeds.setdefault(words, []).append(run.seed)
    everyone = len(seeds) == 1 and sum(map(len, seeds.values())) == len(runs)
    text = "; ".join(
        words if everyone else f"{_seeds(which)} {words}" for words, which in sorted(seeds.items())
    )
    if ended == len(runs):
        return Lag(text, text if everyone else f"all {ended} seeds stopped", over=True)
    return Lag(text, f"{ended} of {len(runs)} seeds stopped" if ended else "")


def _seeds(which: Sequence[int | None]) -> str:
    names = [str(seed) for seed in sorted(seed for seed in which if seed is not None)]
    if len(names) < len(which):
        names.append("none")
    if len(names) == 1:
        return f"seed {names[0]}"
    return f"seeds {', '.join(names[:-1])} and {names[-1]}"
