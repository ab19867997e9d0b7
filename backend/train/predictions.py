"""What a trained model gives every labelled sample of a split, kept beside its scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, softmax

from backend.store import kinds
from backend.train.beside import read_beside, write_beside
from backend.types import TaskSpec

FILE = "predictions.parquet"


def predictions(
    task: TaskSpec, logits: np.ndarray, labels: np.ndarray, ids: Sequence[str], split: str
) -> pd.DataFrame:
    """Rows of :data:`backend.store.kinds.PREDICTIONS`, a row a sample and class.

    ``logits`` (n, outputs) and ``labels`` are those of :func:`backend.train.metrics.scores`,
    ``ids`` (n) the samples. Probabilities are a softmax over classes, or a sigmoid of each label
    of a multilabel task; a binary task has one logit, of its second class.
    """
    wide = logits.astype(np.float64)
    if task.kind == "multiclass":
        probabilities = softmax(wide, axis=1)
        targets = np.arange(len(task.classes)) == labels[:, None]
    elif task.kind == "multilabel":
        probabilities, targets = expit(wide), labels.astype(bool)
    else:
        probabilities = expit(np.concatenate([-wide, wide], axis=1))
        targets = np.array([0, 1]) == labels[:, None]
    n, classes = probabilities.shape
    return pd.DataFrame(
        {
            "task": task.name,
            "split": split,
            "sample_id": np.repeat(np.asarray(ids, dtype=object), classes),
            "class": [*task.classes] * n,
            "probability": probabilities.ravel(),
            "target": targets.ravel(),
        }
    )


def write_predictions(frames: Sequence[pd.DataFrame], folder: Path) -> None:
    """Write the rows of all tasks into a checkpoint."""
    write_beside(kinds.PREDICTIONS, frames, folder / FILE)


def read_predictions(folder: Path) -> pd.DataFrame | None:
    """The rows that training left beside a checkpoint; InputError for a damaged file."""
    return read_beside(kinds.PREDICTIONS, folder / FILE)
