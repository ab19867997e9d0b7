"""The loss of a task, with class weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from backend.train.examples import labelled
from backend.types import TaskSpec

_MOST_WEIGHT = 10.0


def class_weights(task: TaskSpec, labels: Tensor) -> Tensor:
    """Weights that make the classes count alike, from the training labels.

    Binary and multilabel: negatives over positives, per output (at most 10, so that a rare genre
    does not rule the loss). Multiclass: n / (classes x count), 0 for a class that never occurs.
    """
    y = labels[labelled(task, labels)]
    if task.kind == "multiclass":
        count = torch.bincount(y, minlength=len(task.classes)).float()
        return torch.where(count > 0, len(y) / (len(task.classes) * count.clamp(min=1)), 0.0)
    positive = y.float().mean(dim=0).reshape(-1)
    ratio = (1 - positive) / positive.clamp(min=1e-6)
    return torch.where(positive > 0, ratio.clamp(max=_MOST_WEIGHT), 1.0)


def task_loss(task: TaskSpec, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Mean loss over the samples of the batch that have a label (0 if none has)."""
    have = labelled(task, labels)
    if not bool(have.any()):
        return logits.sum() * 0.0
    logits, labels = logits[have].float(), labels[have]
    if task.kind == "multiclass":
        return functional.cross_entropy(logits, labels, weight=weights)
    target = labels.float().reshape(logits.shape)
    return functional.binary_cross_entropy_with_logits(logits, target, pos_weight=weights)
