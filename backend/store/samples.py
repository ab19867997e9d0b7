"""Samples on their way into the store: records and pictures as the table that it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from backend.store.tables import label_type
from backend.types import Label, Record, TaskSpec


@dataclass(frozen=True)
class Picture:
    """What the store keeps of a sample's image: a small WebP, and the digest of its pixels.

    Either is None where there is none; ``digest`` also where only the small one is known.
    """

    thumbnail: bytes | None = None
    digest: str | None = None


def samples_table(samples: Sequence[tuple[Record, Picture]], tasks: Sequence[TaskSpec]) -> pa.Table:
    """Records and their pictures as the store's samples: labels by name, not by number."""
    records = [record for record, _ in samples]
    columns: dict[str, object] = {
        "sample_id": [record.sample_id for record in records],
        "split": [record.split for record in records],
        "text": [record.text for record in records],
        "group": pa.array([record.group or None for record in records], pa.string()),
        "image_digest": pa.array([picture.digest for _, picture in samples], pa.string()),
    }
    for task in tasks:
        labels = [_named(task, record.labels.get(task.name)) for record in records]
        columns[f"label_{task.name}"] = pa.array(labels, label_type(task))
    columns["thumbnail"] = pa.array([picture.thumbnail for _, picture in samples], pa.binary())
    return pa.table(columns)


def _named(task: TaskSpec, label: Label) -> object:
    if label is None or task.kind == "binary":
        return label
    if isinstance(label, tuple):
        return [task.classes[i] for i in label]
    return task.classes[label]
