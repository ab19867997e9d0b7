"""Task scores: AUROC, macro-F1 and accuracy, as the task asks (scikit-learn's definitions)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from backend.types import TaskSpec


@dataclass(frozen=True)
class Score:
    """One row of scores.parquet; ``value`` is NaN where the labels do not allow the metric."""

    task: str
    metric: str
    split: str
    value: float


def scores(task: TaskSpec, logits: np.ndarray, labels: np.ndarray, split: str) -> list[Score]:
    """All metrics of one task.

    ``logits`` (n, outputs); ``labels`` (n,) of 0/1 (binary) or class indices (multiclass), or
    (n, classes) of 0/1 (multilabel). A decision is a logit above 0 (probability above a half) or
    the largest logit. AUROC is NaN when only one class occurs; for several outputs it is the mean
    over those in which both occur.
    """
    if task.kind == "binary":
        decided = (logits[:, 0] > 0).astype(int)
        values = {
            "auroc": _auroc(labels[:, None], logits),
            "macro_f1": f1_score(labels, decided, average="macro", zero_division=0),
            "accuracy": accuracy_score(labels, decided),
        }
    elif task.kind == "multiclass":
        decided = logits.argmax(axis=1)
        values = {
            "accuracy": accuracy_score(labels, decided),
            "macro_f1": f1_score(
                labels, decided, average="macro", labels=np.unique(labels), zero_division=0
            ),
        }
    else:
        decided = (logits > 0).astype(int)
        # A class that the split never shows has no F1; counting it as 0 would punish the split.
        shown = np.flatnonzero(labels.any(axis=0))
        values = {
            "macro_f1": f1_score(
                labels[:, shown], decided[:, shown], average="macro", zero_division=0
            )
            if len(shown)
            else float("nan"),
            "auroc": _auroc(labels, logits),
        }
    return [Score(task.name, metric, split, float(value)) for metric, value in values.items()]


def primary(task: TaskSpec, measured: list[Score]) -> float:
    """The value of the metric by which this kind of task is judged."""
    return next(s.value for s in measured if s.task == task.name and s.metric == task.metric)


def _auroc(labels: np.ndarray, logits: np.ndarray) -> float:
    both = [k for k in range(labels.shape[1]) if len(np.unique(labels[:, k])) == 2]
    if not both:
        return float("nan")
    return float(np.mean([roc_auc_score(labels[:, k], logits[:, k]) for k in both]))
