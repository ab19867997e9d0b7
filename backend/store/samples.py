"""Samples on their way into the store: records and thumbnails as the table that it keeps."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from backend.store.tables import label_type
from backend.types import Label, Record, TaskSpec


def samples_table(
    samples: Sequence[tuple[Record, bytes | None]], tasks: Sequence[TaskSpec]
) -> pa.Table:
    """Records and their thumbnails as the store's samples: labels by name, not by number."""
    records = [record for record, _ in samples]
    columns: dict[str, object] = {
        "sample_id": [record.sample_id for record in records],
        "split": [record.split for record in records],
        "text": [record.text for record in records],
    }
    for task in tasks:
        labels = [_named(task, record.labels.get(task.name)) for record in records]
        columns[f"label_{task.name}"] = pa.array(labels, label_type(task))
    columns["thumbnail"] = pa.array([image for _, image in samples], pa.binary())
    return pa.table(columns)


def _named(task: TaskSpec, label: Label) -> object:
    if label is None or task.kind == "binary":
        return label
    if isinstance(label, tuple):
        return [task.classes[i] for i in label]
    return task.classes[label]
