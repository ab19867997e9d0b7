"""Scores without each item of the test set, against scikit-learn asked again and again."""

import numpy as np
import pandas as pd
import pytest

from backend.study.items import auroc, jackknives
from backend.train.metrics import scores
from backend.train.predictions import predictions
from backend.types import TaskSpec

TASKS = {
    "binary": TaskSpec("irony", "binary", ("plain", "ironic")),
    "multiclass": TaskSpec("dish", "multiclass", ("soup", "cake", "rice")),
    "multilabel": TaskSpec("genre", "multilabel", ("drama", "comedy", "horror")),
}


def case(kind: str, n: int = 40, seed: int = 0):
    """Logits (n, outputs) with ties, labels, ids in an order that is not sorted."""
    rng = np.random.default_rng(seed)
    task = TASKS[kind]
    logits = np.round(rng.normal(size=(n, task.outputs)), 1) + 0.05
    if kind == "binary":
        labels = rng.integers(0, 2, n)
    elif kind == "multiclass":
        labels = rng.integers(0, 2, n)  # "rice" is said, and never the label
    else:
        labels = rng.integers(0, 2, (n, 3)) * np.array([1, 1, 0])
    ids = [f"s{at:03d}" for at in rng.permutation(n)]
    return task, logits, labels, ids


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("size", [1, 5])
def test_a_score_without_each_group_is_that_of_scikit_learn_on_the_rest(kind, size):
    task, logits, labels, ids = case(kind)
    # Groups of unequal size; the first few items belong to none.
    group = {name: f"g{int(name[1:]) // size}" for name in ids if int(name[1:]) > 6}
    rows = predictions(task, logits, labels, ids, "test")
    found = jackknives(rows.sample(frac=1, random_state=1), task, group)
    whole = {score.metric: score.value for score in scores(task, logits, labels, "test")}
    assert set(found) == set(whole)
    keys = np.array([group.get(name, f"alone {name}") for name in ids])
    for metric, one in found.items():
        assert one.whole == pytest.approx(whole[metric], abs=1e-12)
        assert one.n == 40 and len(one.without) == len(set(keys))
        without = []
        for key in set(keys):
            rest = keys != key
            again = scores(task, logits[rest], labels[rest], "test")
            without.append(next(score.value for score in again if score.metric == metric))
        assert np.sort(one.without) == pytest.approx(np.sort(without), abs=1e-12)
        # The groups are in one order, whatever that of the rows is.
        assert jackknives(rows, task, group)[metric].without.tolist() == one.without.tolist()


def test_the_same_items_labels_and_groups_are_told_from_others():
    task, logits, labels, ids = case("binary")

    def of(labels=labels, ids=ids, groups=None, metric="auroc", logits=logits):
        rows = predictions(task, logits, labels, ids, "test")
        one = jackknives(rows, task, groups or {})[metric]
        return one.items, one.grouped

    assert of() == of(logits=logits + 1, metric="accuracy")
    assert len({of()[0], of(1 - labels)[0], of(ids=[f"x{name}" for name in ids])[0]}) == 3
    others = [of(groups={ids[0]: "g", ids[at]: "g"}) for at in (1, 2)]
    assert {items for items, _ in others} == {of()[0]}
    assert len({of()[1], *(grouped for _, grouped in others)}) == 3
    # Whatever it is called, a group of one is an item by itself.
    assert of(groups={ids[0]: "g"}) == of()


def test_a_score_that_is_not_defined_without_a_group_is_nan():
    target = np.array([True, False, False, True])
    whole, without = auroc(target, np.array([0.9, 0.1, 0.2, 0.8]), np.array([0, 1, 2, 0]))
    assert whole == 1.0
    assert np.isnan(without[0]) and without[1:].tolist() == [1.0, 1.0]
    assert np.isnan(auroc(np.ones(2, dtype=bool), np.ones(2), np.arange(2))[0])


def test_rows_that_are_missing_or_of_another_task_give_nothing():
    task, logits, labels, ids = case("binary", 6)
    rows = predictions(task, logits, labels, ids, "test")
    assert jackknives(rows.iloc[1:], task, {}) == {}
    assert jackknives(pd.concat([rows.iloc[1:], rows.iloc[1:2]]), task, {}) == {}
    assert jackknives(rows.assign(**{"class": "else"}), task, {}) == {}
    assert jackknives(rows.iloc[:0], task, {}) == {}
