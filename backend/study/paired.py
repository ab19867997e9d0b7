"""The difference of two placements' scores, over seeds and over the samples of the test set."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from backend.measures.core.base import Float64
from backend.study.findings import per_seed
from backend.study.items import Jackknife, TestItems
from backend.study.statistics import NOTHING, Estimate, crossed_estimate, mean_estimate
from backend.words import counted

_ROUNDING = 0.0005
"""Half of the last digit that is shown: scores and predictions that differ by more disagree."""

_MOST = 0.8
"""Share of the variance from which on the test set is what limits a study."""


@dataclass(frozen=True)
class Paired:
    """A difference; ``lacking`` says why its test set is taken as given, "" where it is not.

    ``apart``: the two were scored on different test samples, so there is none.
    """

    estimate: Estimate
    samples: str = ""
    lacking: str = ""
    apart: bool = False

    @property
    def note(self) -> str:
        """What the interval holds of the test set; "" where there is no interval."""
        if self.estimate.n < 2:
            return ""
        if self.lacking:
            return f"The test set is taken as given: {self.lacking}."
        share = self.estimate.from_items
        if math.isnan(share):
            return ""
        more = "; more seeds alone would hardly narrow it" if share > _MOST else ""
        return (
            f"{100 * share:.0f} % of the uncertainty comes from the choice of test samples{more}."
        )


def seed_scores(rows: pd.DataFrame, placement: str) -> dict[int, float]:
    """{seed: score} of a placement."""
    mine = rows[rows["placement"].eq(placement) & rows["seed"].notna()]
    return per_seed(zip(mine["seed"].tolist(), mine["value"].tolist(), strict=True))


def paired(rows: pd.DataFrame, a: str, b: str, items: TestItems) -> Paired:
    """Mean of ``a - b`` over the seeds that both have, with its interval and test.

    ``rows`` are scores of one dataset, setting, task and metric. With usable predictions of all
    runs, of the same items, the test set is a sample as the seeds are (:func:`crossed_estimate`).
    """
    ours, theirs = seed_scores(rows, a), seed_scores(rows, b)
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return Paired(NOTHING)
    differences = [ours[seed] - theirs[seed] for seed in seeds]
    used = rows[
        rows["placement"].isin([a, b]) & rows["seed"].isin(seeds) & rows["value"].notna()
    ].sort_values("run_id")
    found: list[Jackknife] = []
    for run, task, split, metric, value in zip(
        *(used[name] for name in ("run_id", "task", "split", "metric", "value")), strict=True
    ):
        one = items.jackknives.get((run, task, split, metric))
        if one is not None and found and one.items != found[0].items:
            said = f"run {run} was scored on other test samples or labels than the runs before it"
            return Paired(NOTHING, lacking=said, apart=True)
        lacking = _lacking(one, run, float(value), found, items)
        if one is None or lacking:
            return Paired(mean_estimate(differences), lacking=lacking)
        found.append(one)
    influences = np.stack(
        [_mean(used, found, seed, a) - _mean(used, found, seed, b) for seed in seeds]
    )
    estimate = crossed_estimate(differences, influences)
    groups = influences.shape[1]
    samples = counted(found[0].n, "test sample")
    if groups < found[0].n:
        samples += f" in {groups:,} groups"
    return Paired(estimate, samples)


def _mean(used: pd.DataFrame, found: list[Jackknife], seed: int, placement: str) -> Float64:
    """Influences of a seed's runs of a placement: one, or their mean."""
    mine = used["placement"].eq(placement) & used["seed"].eq(seed)
    means: Float64 = np.mean([found[at].influences for at in np.flatnonzero(mine)], axis=0)
    return means


def _lacking(
    one: Jackknife | None, run: str, score: float, before: Iterable[Jackknife], items: TestItems
) -> str:
    """Why a run's predictions cannot be used, "" if they can."""
    if one is None:
        return items.problems.get(run, f"run {run} keeps no predictions")
    if not abs(one.whole - score) <= _ROUNDING:
        return f"the predictions of run {run} give {one.whole:.3f} where its score is {score:.3f}"
    first = next(iter(before), one)
    if first.grouped != one.grouped:
        return f"run {run} groups its test samples in another way than the runs before it"
    if len(one.without) < 2:
        return "all test samples belong to one group, so nothing tells how groups differ"
    if not np.isfinite(one.without).all():
        return "without one of the groups of test samples the score is not defined"
    return ""
