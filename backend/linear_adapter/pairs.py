"""A split for the language model: token ids with answers, and the kept outputs of the ViT."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from backend.data.base import Pair, PairSource
from backend.data.groups import codes_of, grouping
from backend.data.images import image_digest
from backend.errors import InputError
from backend.linear_adapter.parts import Parts
from backend.linear_adapter.plan import TEXT, AdapterPlan
from backend.linear_adapter.words import IMAGE
from backend.models.families.llava import Llava
from backend.models.texts import Prompt, check_marks, tokenize_prompts
from backend.train.engine import Split
from backend.types import Record

_BATCH = 32
_DTYPE = np.dtype("<f2")
_VERSION = 1


class AnsweredPairs(Split):
    """Samples of a split that have an image and an answer; :meth:`collate` makes a batch.

    ``patches`` (n, image tokens, d) float16 is a memory map of the vision encoder's outputs, made
    by :meth:`see`.
    """

    patches: np.ndarray

    def __init__(
        self, source: PairSource, split: str, plan: AdapterPlan, parts: Parts, limit: int | None
    ) -> None:
        self.split, self.plan, self.parts = source.canonical(split), plan, parts
        self._source, self._limit = source, limit
        self._adapter = Llava(parts.model, parts.processor, plan.language_model)
        self.records: list[Record] = []
        self._pictures: list[str | None] = []
        for pair in self._pairs():
            self.records.append(pair.record)
            self._pictures.append(image_digest(pair.sample.images))
        if not self.records:
            raise InputError(
                f"split {self.split!r} has no image with an answer",
                where=f"data {source.name}",
                hint=source.report.summary(),
            )
        check_marks([record.text for record in self.records], IMAGE, plan.language_model)
        self._prompts = [self._prompt(record) for record in self.records]

    def _pairs(self) -> Iterator[Pair]:
        """Those that have an image and an answer; at most as many as were asked for.

        Under a limit in the order that a limit has: every class in its share.
        """
        every = None if self._limit is None else sys.maxsize
        whole = (
            pair
            for pair in self._source.pairs(self.split, every)
            if pair.sample.images and self._answer(pair.record)
        )
        return islice(whole, self._limit)

    def _answer(self, record: Record) -> str:
        """The text, or the names of the classes; "" for a sample without a label."""
        if self.plan.answer == TEXT:
            return record.text.strip()
        label, task = record.labels.get(self.plan.answer), self._source.tasks[self.plan.answer]
        if label is None:
            return ""
        which = label if isinstance(label, tuple) else (label,)
        return ", ".join(task.classes[index] for index in which) or "none"

    def _prompt(self, record: Record) -> Prompt:
        """What is given, what is to be said, and that it ends there."""
        before, after = self._adapter.prompt(1)
        if self.plan.instruction:
            before += self.plan.instruction.replace("{text}", record.text) + after
        seen = before.replace(IMAGE, IMAGE * self.parts.image_tokens, 1)
        return Prompt(seen, self._answer(record), str(self.parts.tokenizer.eos_token))

    def __len__(self) -> int:
        return len(self.records)

    def digest(self) -> str:
        """Identifies the samples in their order: ids, prompts, answers and pictures."""
        rows = [
            [record.sample_id, *prompt, picture]
            for record, prompt, picture in zip(
                self.records, self._prompts, self._pictures, strict=True
            )
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def groups(self) -> np.ndarray:
        """(n,) names of what belongs together: as the data set says, else equal images or texts."""
        ids = [record.sample_id for record in self.records]
        together = grouping(
            ids,
            [record.group for record in self.records],
            codes_of(self._pictures),
            codes_of([record.text for record in self.records]),
        )
        return np.array(ids, dtype=object) if together.names is None else together.names

    def see(self, folder: Path) -> None:
        """Run the vision encoder over all images, or read what is kept of that in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        tower = self.parts.tower
        shape = (len(self), self.parts.image_tokens, int(tower.config.hidden_size))
        told = [_VERSION, shape, self._pictures, self.parts.tower_digest(), torch.__version__]
        key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:20]
        path = folder / f"patches-{key}.npy"
        with FileLock(folder / f"{path.stem}.lock"):
            if not path.is_file():
                self._write(path, shape)
        self.patches = np.load(path, mmap_mode="r", allow_pickle=False)

    def _write(self, path: Path, shape: tuple[int, int, int]) -> None:
        unfinished = path.with_name(f".{path.name}.new")
        try:
            with unfinished.open("wb") as file:
                described = {"descr": _DTYPE.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, described)
                seen = 0
                for patches in self._seen():
                    file.write(patches.astype(_DTYPE).tobytes())
                    seen += len(patches)
                if seen < len(self):
                    self._source.require_still_there(self.split, len(self))
                    raise self._changed()
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise InputError(
                f"outputs of the vision encoder cannot be written ({error.strerror or error})",
                where=str(path.parent),
                hint="Make room, or choose another `cache_dir`." if full else None,
            ) from error
        finally:
            unfinished.unlink(missing_ok=True)

    def _seen(self) -> Iterator[np.ndarray]:
        device = self.parts.model.device
        pairs, at = self._pairs(), 0
        while batch := list(islice(pairs, _BATCH)):
            own = [record.sample_id for record in self.records[at : at + len(batch)]]
            if [pair.record.sample_id for pair in batch] != own:
                raise self._changed()
            at += len(batch)
            images = [pair.sample.images[0] for pair in batch]
            pixels = self.parts.processor.image_processor(images, return_tensors="pt")
            with torch.inference_mode():
                patches = self.parts.patches(pixels["pixel_values"].to(device))
            rounded: np.ndarray = patches.cpu().numpy().astype(np.float16)
            if not np.isfinite(rounded).all():
                raise InputError(
                    f"layer {self.plan.vision_layer} of the vision encoder has values beyond "
                    "float16's range",
                    field="vision_layer",
                    hint="Map another layer.",
                )
            yield rounded

    def _changed(self) -> InputError:
        """An image that was there at first is not any more: those after it would be another's."""
        return InputError(
            "changed while it was read",
            where=f"data {self._source.name}, split {self.split}",
            hint="Give the command again.",
        )

    def collate(
        self, indices: Sequence[int], pictures: Sequence[int] | None = None
    ) -> dict[str, Any]:
        """``words``: ``ids``, ``mask`` and ``answers`` (B, T); ``image``: ``patches`` (B, t, d).

        ``answers`` marks what is to be said: the answer and, unless it was cut, the end of the
        text. ``pictures``: of which samples the images are, where not of the same.
        """
        tokenizer = self.parts.tokenizer
        prompts = [self._prompts[index] for index in indices]
        begun = bool(tokenizer.bos_token) and prompts[0].before.startswith(tokenizer.bos_token)
        tokens = tokenize_prompts(
            tokenizer,
            prompts,
            self.parts.image_tokens + self.plan.max_text_length,
            add_special_tokens=not begun,
            padding_side="right",
        )
        ends = tokens.mask.sum(dim=1) - 1
        answers = tokens.own.clone()
        # A text that was cut does not end there.
        answers[torch.arange(len(ends)), ends] = torch.from_numpy(tokens.cut == 0)
        rows = self.patches[np.asarray(indices if pictures is None else pictures)]
        return {
            "words": {"ids": tokens.ids, "mask": tokens.mask, "answers": answers},
            "image": {"patches": torch.from_numpy(rows.astype(np.float32))},
        }


def spread_of(patches: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and sd (d,) of patches (n, t, d) over all tokens, a piece at a time."""
    d = patches.shape[2]
    total, squares, count = np.zeros(d), np.zeros(d), 0
    for start in range(0, len(patches), 256):
        rows = patches[start : start + 256].reshape(-1, d).astype(np.float64)
        total += rows.sum(axis=0)
        squares += (rows**2).sum(axis=0)
        count += len(rows)
    mean = total / count
    sd = np.sqrt(np.maximum(squares / count - mean**2, 0))
    sd[sd == 0] = 1.0
    return torch.from_numpy(mean).float(), torch.from_numpy(sd).float()
