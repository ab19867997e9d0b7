"""Activations of content tokens by site, on disk: what autoencoders are trained on.

A folder with one file of plain float16 rows a site, and ``bank.json``, which says how many of its
rows are whole. It is written a few batches at a time; a run that was killed goes on after them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from filelock import FileLock

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.data.base import PairSource
from backend.data.sample import Sample
from backend.disk import writing
from backend.errors import InputError
from backend.models.adapter import Adapter
from backend.progress import SILENT, Progress
from backend.sae.content import content
from backend.types import LayerRef

_FILE = "bank.json"
_AT_ONCE = 8
"""Batches between two states on disk."""
_DTYPE = np.dtype("<f2")


@dataclass(frozen=True)
class Bank:
    """Rows of every site; ``samples`` were read."""

    folder: Path
    samples: int
    count: int

    def rows(self, ref: LayerRef, width: int) -> np.ndarray:
        """(rows, width) float16, a memory map."""
        return np.memmap(_file(self.folder, ref), _DTYPE, "r", shape=(self.count, width))


def fill_bank(
    folder: Path,
    adapter: Adapter,
    source: PairSource,
    split: str,
    refs: Sequence[LayerRef],
    *,
    limit: int | None,
    batch_size: int,
    progress: Progress = SILENT,
) -> Bank:
    """Read a split's tokens at ``refs``, or what is there already of the same reading.

    ``folder`` is named after what is read from what. Only content tokens: words of the sample's
    own and patches; beginnings of texts, prompts and class tokens are left out
    (:func:`backend.sae.content.content`). InputError for
    values that float16 does not hold, and where the data have nothing to read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    again = "Make room and give the command again: it goes on."
    with writing(folder, again), FileLock(folder / "lock"):
        done = _state(folder)
        if not done["complete"]:
            done = _fill(folder, adapter, source, split, refs, limit, batch_size, done, progress)
    if not done["rows"]:
        raise InputError(
            f"split {split!r} has no token to read",
            where=f"data {source.name}",
            hint=source.report.summary(),
        )
    return Bank(folder, done["samples"], done["rows"])


def samples_of(
    adapter: Adapter, source: PairSource, split: str, limit: int | None
) -> Iterator[Sample]:
    """A split's samples; images are decoded only for a model that needs them."""
    if adapter.needs == {"text"}:
        return (Sample(record.text) for record in source.records(split, limit))
    return (pair.sample for pair in source.pairs(split, limit))


def _fill(
    folder: Path,
    adapter: Adapter,
    source: PairSource,
    split: str,
    refs: Sequence[LayerRef],
    limit: int | None,
    batch_size: int,
    done: dict[str, int],
    progress: Progress,
) -> dict[str, int]:
    sink, device = TokenSink(refs), next(adapter.module.parameters()).device
    samples = islice(samples_of(adapter, source, split, limit), done["samples"], None)
    total = sum(1 for _ in source.records(split, limit))
    widths = {ref: adapter.stream(ref.stream).width_of(ref) for ref in refs}
    with ExitStack() as stack:
        files = {ref: stack.enter_context(_opened(folder, ref)) for ref in refs}
        for ref, file in files.items():
            file.truncate(done["rows"] * widths[ref] * _DTYPE.itemsize)
            file.seek(0, os.SEEK_END)
        tap = stack.enter_context(Tap(adapter, sink))
        batches = 0
        while batch := list(islice(samples, batch_size)):
            inputs = adapter.encode(batch).to(device)
            tap(inputs)
            for ref, file in files.items():
                rows = _rounded(sink.tokens[ref][content(inputs, ref.stream)], ref)
                file.write(rows.tobytes())
            done["samples"] += len(batch)
            done["rows"] += len(rows)
            batches += 1
            if batches % _AT_ONCE == 0:
                _keep(folder, files.values(), done)
            progress.advance(done["samples"], total, f"{done['rows']:,} tokens")
        done["complete"] = True
        _keep(folder, files.values(), done)
    return done


def _rounded(tokens: torch.Tensor, ref: LayerRef) -> np.ndarray:
    rows: np.ndarray = tokens.float().cpu().numpy().astype(_DTYPE)
    if not np.isfinite(rows).all():
        raise InputError(
            f"{ref.stream} {ref.label} has values beyond float16's range",
            hint="Leave this layer out.",
        )
    return rows


def _file(folder: Path, ref: LayerRef) -> Path:
    return folder / f"{ref.stream}-{ref.label}.f16"


def _opened(folder: Path, ref: LayerRef) -> BinaryIO:
    path = _file(folder, ref)
    path.touch()
    return path.open("r+b")


def _state(folder: Path) -> dict[str, int]:
    path = folder / _FILE
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {"samples": 0, "rows": 0, "complete": False}


def _keep(folder: Path, files: Iterable[BinaryIO], done: dict[str, int]) -> None:
    for file in files:
        file.flush()
        os.fsync(file.fileno())
    made = folder / f".{_FILE}.new"
    made.write_text(json.dumps(done), encoding="utf-8")
    made.replace(folder / _FILE)
