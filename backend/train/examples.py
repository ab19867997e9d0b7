"""A split as a torch dataset: metadata in memory, images decoded once if they fit."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backend.data.base import PairSource
from backend.data.groups import codes_of, grouping
from backend.data.images import image_digest
from backend.errors import InputError
from backend.models.dual_stream.preprocess import Preprocessor
from backend.train.engine import Split
from backend.train.outputs import FrozenOutputs
from backend.types import Label, TaskSpec

log = logging.getLogger(__name__)

_CACHE_BYTES = 2**30
_TEXTS_AT_ONCE = 256
MISSING = -100  # torch's own index for "no class here"


class Examples(Split):
    """Usable samples of one split. Items are indices; :meth:`collate` makes the batch.

    Opening it decodes every image once (so an unreadable one is reported before training, not in
    the third epoch) and keeps the resized bytes while all of them fit in 1 GiB. Where ``frozen``
    has outputs of a stream's frozen layer, batches hold these instead of its pixels.
    """

    frozen: Mapping[str, FrozenOutputs]

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
        self.frozen = {}
        self._source = source
        self._pre = preprocessor
        pixels = hashlib.sha256()
        problems = source.report.count
        self.records = []
        self._pictures: list[str | None] = []
        images: list[np.ndarray] | None = []
        for pair in source.pairs(self.split, limit):
            if not pair.sample.images:
                raise InputError(
                    f"sample {pair.record.sample_id} has no image, which training needs",
                    where=f"data {source.name}",
                )
            self.records.append(pair.record)
            self._pictures.append(image_digest(pair.sample.images))
            resized = preprocessor.resize(pair.sample.images[0])
            pixels.update(resized.tobytes())
            if images is not None:
                images.append(resized)
                if len(images) * images[0].nbytes > _CACHE_BYTES:
                    images = None
        if not self.records:
            raise InputError(
                f"split {self.split!r} has no usable sample",
                where=f"data {source.name}",
                hint=source.report.summary(),
            )
        if source.report.count > problems:
            source.require_still_there(self.split, len(self.records))
        self._images = images
        self._pixels_digest = pixels.hexdigest()
        self.labels = {
            task.name: encode(task, [r.labels.get(task.name) for r in self.records])
            for task in self.tasks
        }
        if limit is not None:
            self._tell_of_missing_classes(limit)
        self._tell_of_cut_texts()

    def _tell_of_missing_classes(self, limit: int) -> None:
        """Few samples of many classes leave some out: never without a word."""
        for task in self.tasks:
            if task.kind == "multiclass":
                labels = self.labels[task.name]
                present = len(labels[labels != MISSING].unique())
                if present < len(task.classes):
                    log.warning(
                        "task %s: the first %d samples of split %s are of %d of its %d classes",
                        *(task.name, limit, self.split, present, len(task.classes)),
                    )

    def _tell_of_cut_texts(self) -> None:
        """How many texts are longer than what is taken of them, and what the encoder could take."""
        cut = [0]
        for start in range(0, len(self.records), _TEXTS_AT_ONCE):
            texts = [record.text for record in self.records[start : start + _TEXTS_AT_ONCE]]
            cut += self._pre.tokens(texts).cut.tolist()
        longer = sum(1 for tokens in cut if tokens)
        if not longer:
            return
        length, own = self._pre.max_text_length, self._pre.tokenizer.model_max_length
        log.warning(
            "%d of %d texts of split %s (%.0f %%) are cut at %d tokens, the longest has %d: "
            "max_text_length takes more%s",
            *(longer, len(self.records), self.split, 100 * longer / len(self.records)),
            *(length, length + max(cut), f", this text encoder up to {own}" if own < 10**6 else ""),
        )

    def __len__(self) -> int:
        return len(self.records)

    @property
    def image_size(self) -> int:
        """The side of the images in pixels."""
        return self._pre.image_size

    def pixels_digest(self) -> str:
        """A digest of the resized images of all samples, in order."""
        return self._pixels_digest

    def digest(self) -> str:
        """Identifies the samples in their order: ids, texts, labels and pixels."""
        rows = [[r.sample_id, r.text, list(r.labels.items())] for r in self.records]
        state = hashlib.sha256(json.dumps(rows, default=list).encode())
        state.update(self._pixels_digest.encode())
        return state.hexdigest()

    def groups(self) -> np.ndarray | None:
        """(n,) the name of each sample's group; None where all stand alone."""
        return grouping(
            [record.sample_id for record in self.records],
            [record.group for record in self.records],
            codes_of(self._pictures),
            codes_of([record.text for record in self.records]),
        ).names

    def token_lengths(self) -> tuple[np.ndarray, str]:
        """(n,) real tokens of every sample, and a digest of the token ids in order."""
        state = hashlib.sha256()
        lengths = []
        for record in self.records:
            tokens = self._pre.tokens([record.text])
            ids = tokens.ids[tokens.mask.bool()].numpy()
            lengths.append(len(ids))
            state.update(f"{len(ids)} ".encode())
            state.update(ids.tobytes())
        return np.array(lengths), state.hexdigest()

    def tokens(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask`` of some samples, padded to the longest."""
        tokens = self._pre.tokens([self.records[i].text for i in indices])
        return {"input_ids": tokens.ids, "attention_mask": tokens.mask}

    def pixels(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """``pixel_values`` of some samples."""
        if self._images is None:
            images = [self._pre.resize(self._source.image(self.records[i])) for i in indices]
        else:
            images = [self._images[i] for i in indices]
        return {"pixel_values": self._pre.pixels(images)}

    def collate(self, indices: Sequence[int]) -> dict[str, Any]:
        """``inputs`` of the model, ``labels`` of every task and ``frozen`` outputs, by stream."""
        rows = torch.as_tensor(indices)
        inputs = self.tokens(indices)
        mask = inputs["attention_mask"]
        if "vision" not in self.frozen:
            inputs |= self.pixels(indices)
        return {
            "inputs": inputs,
            "labels": {name: values[rows] for name, values in self.labels.items()},
            "frozen": {
                stream: outputs.batch(indices, mask if stream == "text" else None)
                for stream, outputs in self.frozen.items()
            },
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


def labelled(task: TaskSpec, labels: Tensor) -> Tensor:
    """(n,) True where a sample has a label."""
    return (labels != MISSING) if task.kind != "multilabel" else (labels[:, 0] != MISSING)
