"""A split as a torch dataset: metadata in memory, images decoded once if they fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from backend.data.base import PairSource
from backend.errors import InputError
from backend.models.preprocess import Preprocessor
from backend.types import Label, TaskSpec

_CACHE_BYTES = 2**30
MISSING = -100  # torch's own index for "no class here"


class Examples(Dataset[int]):
    """Usable samples of one split. Items are indices; :meth:`collate` makes the batch.

    Opening it decodes every image once (so an unreadable one is reported before training, not in
    the third epoch) and keeps the resized bytes while all of them fit in 1 GiB.
    """

    def __init__(
        self,
        source: PairSource,
        split: str,
        tasks: Sequence[TaskSpec],
        preprocessor: Preprocessor,
        limit: int | None = None,
    ) -> None:
        self.split = source.canonical(split)
        self.tasks = tuple(tasks)
        self._source = source
        self._pre = preprocessor
        self.records = []
        images: list[np.ndarray] | None = []
        for pair in source.pairs(self.split, limit):
            self.records.append(pair.record)
            if images is not None:
                images.append(preprocessor.resize(pair.image))
                if len(images) * images[0].nbytes > _CACHE_BYTES:
                    images = None
        if not self.records:
            raise InputError(
                f"split {self.split!r} has no usable sample",
                where=f"data {source.name}",
                hint=source.report.summary(),
            )
        self._images = images
        self.labels = {
            task.name: encode(task, [r.labels.get(task.name) for r in self.records])
            for task in self.tasks
        }

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> int:
        return index

    def has_labels(self, task: TaskSpec) -> bool:
        """Whether any sample of this split has a label for ``task``."""
        return bool(known(task, self.labels[task.name]).any())

    def collate(self, indices: Sequence[int]) -> dict[str, Any]:
        """``inputs`` of the model and ``labels`` of every task for some samples."""
        if self._images is None:
            images = [self._pre.resize(self._source.image(self.records[i])) for i in indices]
        else:
            images = [self._images[i] for i in indices]
        rows = torch.as_tensor(indices)
        return {
            "inputs": {
                **self._pre.tokens([self.records[i].text for i in indices]),
                "pixel_values": self._pre.pixels(images),
            },
            "labels": {name: values[rows] for name, values in self.labels.items()},
        }


def encode(task: TaskSpec, labels: Sequence[Label]) -> Tensor:
    """Labels as a tensor: (n,) class indices or 0/1, or (n, classes) of 0/1; MISSING where none."""
    if task.kind != "multilabel":
        return torch.tensor([MISSING if y is None else y for y in labels], dtype=torch.long)
    out = torch.zeros(len(labels), len(task.classes), dtype=torch.long)
    for row, label in enumerate(labels):
        if label is None:
            out[row] = MISSING
        else:
            out[row, list(label if isinstance(label, tuple) else (label,))] = 1
    return out


def known(task: TaskSpec, labels: Tensor) -> Tensor:
    """(n,) True where a sample has a label."""
    return (labels != MISSING) if task.kind != "multilabel" else (labels[:, 0] != MISSING)
