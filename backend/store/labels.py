"""Labels of a run's samples as numbers, by task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from backend.errors import InputError
from backend.types import NO_LABEL, TaskSpec

Labels = dict[TaskSpec, np.ndarray]
"""{task: (n,) class indices, or (n, classes) of 0 and 1 if multilabel}, NO_LABEL where none."""


def labels_of(
    tasks: Iterable[TaskSpec], columns: Mapping[str, Iterable[pa.ChunkedArray]], where: str
) -> Labels:
    """The labels of every task that any sample has one for; ``columns`` by the task's name.

    InputError naming the column for a label that is none of the task's classes.
    """
    labels: Labels = {}
    for task in tasks:
        values = [value for part in columns[task.name] for value in part.to_pylist()]
        if any(value is not None for value in values):
            labels[task] = _encoded(task, values, where)
    return labels


def _encoded(task: TaskSpec, values: list[Any], where: str) -> np.ndarray:
    index = {name: at for at, name in enumerate(task.classes)}
    shape = (len(values), len(task.classes)) if task.kind == "multilabel" else (len(values),)
    out = np.full(shape, NO_LABEL, dtype=np.int64)
    for row, value in enumerate(values):
        try:
            if value is None:
                continue
            if isinstance(value, list):
                out[row] = 0
                out[row, [index[name] for name in value]] = 1
            else:
                out[row] = value if task.kind == "binary" else index[str(value)]
        except KeyError as error:
            raise InputError(
                f"column label_{task.name} holds {error.args[0]!r}, which is no class of the task",
                where=where,
            ) from error
    return out
