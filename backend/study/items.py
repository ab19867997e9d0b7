"""Scores of a run without each item of its test set in turn: the test set is a sample, too.

A *jackknife* holds a score on all items and on all but one group of them, for every group; an item
that belongs to none is a group by itself. Nothing is predicted again: AUROC without an item follows
from how the item ranks among the others (DeLong, DeLong and Clarke-Pearson 1988; ranks as in Sun
and Xu 2014), accuracy and F1 from counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backend.measures.core.base import Float64
from backend.measures.core.groups import Groups
from backend.types import TaskSpec

Bools = NDArray[np.bool_]
Metric = Callable[[Bools, Float64, Groups], tuple[float, Float64]]
"""Of targets and probabilities (n, classes) and groups (n,): the score, and without each group."""


@dataclass(frozen=True)
class Jackknife:
    """A score on ``n`` items, ``without`` (G,) the same without each of G groups of them.

    NaN where it is not defined. ``items`` is equal for the same items and labels, ``grouped`` for
    the same groups of them.
    """

    whole: float
    without: Float64
    n: int
    items: str
    grouped: str = ""

    @property
    def influences(self) -> Float64:
        """(G,): (G - 1) (whole - without), what each group adds to the score."""
        return (len(self.without) - 1) * (self.whole - self.without)


@dataclass(frozen=True)
class TestItems:
    """The jackknives of runs, by run, task, split and metric; and why a run has none."""

    __test__ = False  # no test, whatever pytest makes of the name

    jackknives: Mapping[tuple[str, str, str, str], Jackknife] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


NO_ITEMS = TestItems()


def jackknives(
    rows: pd.DataFrame, task: TaskSpec, groups: Mapping[str, str]
) -> dict[str, Jackknife]:
    """{metric: jackknife} of a run's predictions for one task and split.

    ``rows`` are of :data:`backend.store.kinds.PREDICTIONS`; ``groups`` names the group of each item
    that has one. The metrics are those of :func:`backend.train.metrics.scores`, with the same
    values. Nothing where a row is missing or of a class that the task does not have. Cost: n log n
    a class.
    """
    codes, ids = pd.factorize(rows["sample_id"], sort=True)
    classes = pd.Index(task.classes).get_indexer(pd.Index(rows["class"]))
    shape = (len(ids), len(task.classes))
    if len(rows) != shape[0] * shape[1] or not len(rows) or classes.min() < 0:
        return {}
    probabilities = np.full(shape, np.nan)
    probabilities[codes, classes] = rows["probability"]
    if np.isnan(probabilities).any():
        return {}
    targets = np.zeros(shape, dtype=bool)
    targets[codes, classes] = rows["target"]
    own = [f"group {groups[name]}" if name in groups else f"item {name}" for name in ids]
    of, _ = pd.factorize(np.array(own, dtype=object))
    items = hashlib.blake2b("\0".join(map(str, ids)).encode() + targets.tobytes(), digest_size=16)
    grouped = hashlib.blake2b(of.tobytes(), digest_size=16)
    same, together = items.hexdigest(), grouped.hexdigest()
    return {
        name: Jackknife(*metric(targets, probabilities, of), shape[0], same, together)
        for name, metric in _METRICS[task.kind].items()
    }


def _binary_auroc(targets: Bools, probabilities: Float64, of: Groups) -> tuple[float, Float64]:
    return auroc(targets[:, 1], probabilities[:, 1], of)


def auroc(target: Bools, score: Float64, of: Groups) -> tuple[float, Float64]:
    """AUROC of ``score`` (n,) for ``target`` (n,), and without each group (G,); NaN for one class.

    With R an item's midrank among all and r that among those of its class, it beats R - r items of
    the other class, ties by half. The sum over those with the label counts the pairs; without a
    group those of its members are taken away, and the pairs within it given back.
    """
    n_groups = int(of.max()) + 1
    ranks = pd.DataFrame({"score": score, "target": target, "of": of})
    everywhere = ranks["score"].rank().to_numpy()
    in_class = ranks.groupby("target")["score"].rank().to_numpy()
    in_group = ranks.groupby("of")["score"].rank().to_numpy()
    positives = np.bincount(of, target, n_groups)
    negatives = np.bincount(of, ~target, n_groups)
    n_positive, n_negative = positives.sum(), negatives.sum()
    beats = everywhere - in_class
    won = np.where(target, beats, n_positive - beats)
    within = np.bincount(of, in_group * target, n_groups) - positives * (positives + 1) / 2
    pairs = won[target].sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = pairs / (n_positive * n_negative)
        without = (pairs - np.bincount(of, won, n_groups) + within) / (
            (n_positive - positives) * (n_negative - negatives)
        )
    return float(whole), np.where(np.isfinite(without), without, np.nan)


def _mean_auroc(targets: Bools, probabilities: Float64, of: Groups) -> tuple[float, Float64]:
    """The mean over the classes that have both kinds of items."""
    found = [auroc(targets[:, k], probabilities[:, k], of) for k in range(targets.shape[1])]
    values = np.stack([np.append(without, whole) for whole, without in found])
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        means = np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0)
    return float(means[-1]), means[:-1]


def accuracy(targets: Bools, probabilities: Float64, of: Groups) -> tuple[float, Float64]:
    """The share of items whose most probable class is theirs, and without each group (G,)."""
    right = targets.argmax(axis=1) == probabilities.argmax(axis=1)
    sizes = np.bincount(of)
    with np.errstate(invalid="ignore"):
        without = (right.sum() - np.bincount(of, right)) / (len(right) - sizes)
    return float(right.mean()), without


def _f1(decide: Callable[[Float64], Bools], counts: Callable[[Float64, Float64], Bools]) -> Metric:
    """Macro F1 of what ``decide`` says, over the classes that ``counts`` by items with and said."""

    def metric(targets: Bools, probabilities: Float64, of: Groups) -> tuple[float, Float64]:
        decided = decide(probabilities)
        have, said, both = (
            np.stack([np.bincount(of, column).astype(float) for column in table.T], axis=1)
            for table in (targets, decided, targets & decided)
        )
        # A last row without any group taken away.
        have, said, both = (
            np.vstack([table.sum(axis=0) - table, table.sum(axis=0)])
            for table in (have, said, both)
        )
        shown = counts(have, said)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.where(both > 0, 2 * both / (have + said), 0.0)
            values = (scores * shown).sum(axis=1) / shown.sum(axis=1)
        return float(values[-1]), values[:-1]

    return metric


def _largest(probabilities: Float64) -> Bools:
    chosen: Bools = np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, None]
    return chosen


def _above_half(probabilities: Float64) -> Bools:
    return probabilities > 0.5


def _shown(have: Float64, said: Float64) -> Bools:
    return have > 0


def _shown_or_said(have: Float64, said: Float64) -> Bools:
    return have + said > 0


_METRICS: dict[str, dict[str, Metric]] = {
    "binary": {
        "auroc": _binary_auroc,
        "macro_f1": _f1(_largest, _shown_or_said),
        "accuracy": accuracy,
    },
    "multiclass": {"accuracy": accuracy, "macro_f1": _f1(_largest, _shown)},
    "multilabel": {"macro_f1": _f1(_above_half, _shown), "auroc": _mean_auroc},
}
"""The metrics of :func:`backend.train.metrics.scores` by kind of task."""
