"""Labels, losses and scores: by hand on a few samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from backend.train.examples import MISSING, encode, labelled
from backend.train.losses import class_weights, task_loss
from backend.train.metrics import primary, scores
from backend.types import TaskSpec

BINARY = TaskSpec("b", "binary", ("no", "yes"))
MULTI = TaskSpec("m", "multilabel", ("p", "q", "r"))
CLASS = TaskSpec("c", "multiclass", ("x", "y", "z"))


def found(task: TaskSpec, logits: list, labels: list) -> dict[str, float]:
    rows = scores(task, np.array(logits, dtype=float), np.array(labels), "test")
    return {row.metric: row.value for row in rows}


def test_binary_scores() -> None:
    rows = found(BINARY, [[2.0], [1.0], [-1.0], [0.5]], [1, 0, 0, 1])
    assert rows["auroc"] == 0.75
    assert rows["accuracy"] == 0.75
    assert rows["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_auroc_of_one_class_is_undefined_rather_than_a_number() -> None:
    assert math.isnan(found(BINARY, [[1.0], [2.0]], [1, 1])["auroc"])


def test_multiclass_scores() -> None:
    rows = found(CLASS, [[3, 0, 0], [0, 3, 0], [3, 0, 0]], [0, 1, 1])
    assert rows["accuracy"] == pytest.approx(2 / 3)
    assert rows["macro_f1"] == pytest.approx(2 / 3)


def test_multilabel_scores_leave_out_classes_that_the_split_never_shows() -> None:
    rows = found(MULTI, [[1, -1, 1], [-1, 1, 1]], [[1, 0, 0], [0, 1, 0]])
    assert rows["macro_f1"] == 1.0
    assert rows["auroc"] == 1.0


def test_the_primary_metric_follows_the_kind() -> None:
    rows = scores(CLASS, np.eye(3), np.array([0, 1, 2]), "dev")
    assert primary(CLASS, rows) == 1.0


def test_missing_labels_are_marked_and_do_not_count() -> None:
    labels = encode(BINARY, [1, None, 0])
    assert labels.tolist() == [1, MISSING, 0]
    assert labelled(BINARY, labels).tolist() == [True, False, True]
    several = encode(MULTI, [(0, 2), None, ()])
    assert several.tolist() == [[1, 0, 1], [MISSING] * 3, [0, 0, 0]]
    loss = task_loss(BINARY, torch.tensor([[0.0], [50.0], [0.0]]), labels, None)
    assert float(loss) == pytest.approx(math.log(2))


def test_a_batch_without_labels_adds_nothing_and_still_has_a_gradient() -> None:
    logits = torch.ones(2, 1, requires_grad=True)
    loss = task_loss(BINARY, logits, torch.tensor([MISSING, MISSING]), None)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert float(logits.grad.abs().sum()) == 0.0


def test_class_weights_balance() -> None:
    assert class_weights(BINARY, torch.tensor([1, 0, 0, 0])).tolist() == [3.0]
    weights = class_weights(CLASS, torch.tensor([0, 0, 1, MISSING]))
    assert weights.tolist() == pytest.approx([0.5, 1.0, 0.0])
    rare = class_weights(MULTI, encode(MULTI, [(0,)] + [(1,)] * 99))
    assert rare.tolist() == pytest.approx([10.0, 1 / 99, 1.0])
