"""From pairs to a run in the store: decode, run and pool, write, as three overlapping steps.

Images are decoded ahead of the model by one thread and parts are written behind it by another.
Both queues are bounded, and so are the pixels of a batch, of which only the model's inputs stay:
memory holds a few batches and two parts however long the data is and however large its images are.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import pandas as pd
import torch

from backend.capture.options import CaptureOptions
from backend.capture.remarks import LeftOut, NotFinite
from backend.capture.sinks import PooledSink, Vectors
from backend.capture.tap import Tap
from backend.capture.tokens import TokenCounts
from backend.data.base import Pair, PairSource
from backend.data.images import image_digest, thumbnail
from backend.data.sample import Sample
from backend.errors import InputError, first_line
from backend.models.adapter import Adapter, Inputs
from backend.models.devices import choose_device
from backend.progress import SILENT, Progress
from backend.store import Manifest, RunWriter
from backend.store.samples import Picture, samples_table
from backend.store.vectors import part_rows
from backend.types import LayerRef, Pooling, Record

_AHEAD = 2  # batches that are decoded while the model runs
_BATCH_PIXELS = 2**25
"""With so many pixels a batch is full: memory is bounded whatever the images are."""


@dataclass(frozen=True)
class Batch:
    """A few samples, ready for the model."""

    records: list[Record]
    pictures: list[Picture]
    inputs: Inputs


class Buffer(Protocol):
    """Takes the captured batches in order and keeps what is to be kept of them, part by part."""

    def __enter__(self) -> Self:
        """Begin; the parts that the writer holds are there already."""
        ...

    def __exit__(self, *error: object) -> None:
        """End whatever runs in the background."""
        ...

    @property
    def pending(self) -> int:
        """Samples that are captured but not yet safe on disk."""
        ...

    def add(self, batch: Batch, vectors: Vectors) -> None:
        """Take one batch; writes a part when enough is gathered."""
        ...

    def flush(self) -> None:
        """Write what is left and wait until all of it is on disk."""
        ...


def capture(
    adapter: Adapter,
    source: PairSource,
    writer: RunWriter,
    options: CaptureOptions,
    progress: Progress = SILENT,
    buffer: Buffer | None = None,
    expected: int | None = None,
) -> int:
    """Fill an open ``writer`` with every layer of the model over the writer's split of ``source``.

    Goes on after the samples that the writer already holds. The caller commits. Returns the number
    of samples in the run. ``progress`` gets the number of samples so far, of those ``expected``.
    ``buffer`` is what takes the layers; by default they are all written. Raises InputError when the
    split has no usable sample.
    """
    manifest = writer.manifest
    device = choose_device(options.device)
    adapter.module.to(device)
    # Under a limit samples come in another order, and what cannot be decoded is made up for.
    order = None if options.limit is None else sys.maxsize
    records = _remaining(source, manifest.dataset.split, order, writer.last_sample_id)
    problems = source.report.count
    left = None if options.limit is None else max(0, options.limit - writer.n_written)
    buffer = buffer or _PartBuffer(writer, rows_of_batches(manifest, options.batch_size))
    pooled = PooledSink(manifest.poolings, manifest.dtype)
    left_out, not_finite = LeftOut(), NotFinite()
    progress.advance(writer.n_written, expected)
    with (
        ThreadPoolExecutor(1, "decode") as decoder,
        buffer as gathered,
        TokenCounts(writer, adapter.streams) as counts,
        Tap(adapter, pooled) as tap,
    ):
        usable = source.decoded(records)
        limited = usable if left is None else islice(usable, left)
        batches = _ahead(decoder, _batches(adapter, limited, options))
        for number, batch in enumerate(batches):
            inputs = batch.inputs.to(device)
            if number:
                tap(inputs)
            else:
                _first_pass(tap, inputs, adapter.name)
            vectors = pooled.vectors()
            counts.add(batch.inputs)
            gathered.add(batch, vectors)
            left_out.add(batch.inputs)
            not_finite.add(batch.records, vectors)
            progress.advance(writer.n_written + gathered.pending, expected)
        gathered.flush()
        counts.add_to(writer)
    left_out.tell(adapter)
    not_finite.tell(manifest.dtype)
    if source.report.count > problems:
        try:
            source.require_still_there(manifest.dataset.split, writer.n_written)
        except InputError:
            writer.keep_parts(0)  # there may be gaps in what was read last
            raise
    if not writer.n_written:
        raise InputError(
            f"split {manifest.dataset.split!r} has no usable sample",
            where=f"data {source.name}",
            hint=source.report.summary(),
        )
    return writer.n_written


def rows_of_batches(manifest: Manifest, batch_size: int) -> int:
    """Samples a part: whole batches."""
    return max(1, part_rows(manifest) // batch_size) * batch_size


def read_scores(folder: Path) -> pd.DataFrame | None:
    """The scores that training left beside a checkpoint: task, metric, split, value."""
    path = folder / "scores.json"
    if not path.is_file():
        return None
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return pd.DataFrame(rows, columns=["task", "metric", "split", "value"])
    except (ValueError, TypeError) as error:
        raise InputError("scores.json is broken", where=str(folder)) from error


def _remaining(
    source: PairSource, split: str, limit: int | None, last: str | None
) -> Iterator[Record]:
    """The split's records after sample ``last``."""
    records = source.records(split, limit)
    if last is None:
        return records
    for record in records:
        if record.sample_id == last:
            return records
    raise InputError(
        f"sample {last!r}, where the unfinished capture stopped, is no longer in the data",
        where=f"data {source.name}",
        hint="Choose another `run_id` to start afresh.",
    )


def _first_pass(tap: Tap, inputs: Inputs, model: str) -> None:
    """Run a batch; what a model says that does not fit its weights becomes an InputError."""
    try:
        tap(inputs)
    except (InputError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        raise InputError(
            f"the model cannot read the first samples ({type(error).__name__}: "
            f"{first_line(error)})",
            where=f"model {model}",
        ) from error


def _batches(adapter: Adapter, pairs: Iterator[Pair], options: CaptureOptions) -> Iterator[Batch]:
    """Batches of as many samples as are asked for, or as fill the room for pixels."""
    chunk: list[Pair] = []
    pixels = 0
    for pair in pairs:
        chunk.append(pair)
        pixels += sum(image.width * image.height for image in pair.sample.images)
        if len(chunk) == options.batch_size or pixels >= _BATCH_PIXELS:
            batch = _batch(adapter, chunk, options)
            chunk, pixels = [], 0  # before the wait: images are held no longer than need be
            yield batch
    if chunk:
        yield _batch(adapter, chunk, options)


def _batch(adapter: Adapter, chunk: Sequence[Pair], options: CaptureOptions) -> Batch:
    samples = [pair.sample for pair in chunk]
    return Batch(
        [pair.record for pair in chunk],
        [_picture(sample, options.thumbnail_px) for sample in samples],
        adapter.encode(samples),
    )


def _picture(sample: Sample, side: int) -> Picture:
    """What the run keeps of a sample's images: the first one small, and the digest of all."""
    small = thumbnail(sample.images[0], side) if sample.images else None
    return Picture(small, image_digest(sample.images))


def _ahead(pool: ThreadPoolExecutor, batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, made up to ``_AHEAD`` early on the pool's one thread."""
    waiting: deque[Future[Batch | None]] = deque()
    for _ in range(_AHEAD):
        waiting.append(pool.submit(next, batches, None))
    while (batch := waiting.popleft().result()) is not None:
        waiting.append(pool.submit(next, batches, None))
        yield batch


class _PartBuffer:
    """Gathers batches into parts and writes each on a thread of its own, one at a time."""

    def __init__(self, writer: RunWriter, rows: int) -> None:
        self._writer = writer
        self._rows = rows
        self._pool = ThreadPoolExecutor(1, "write")
        self._writing: Future[None] | None = None
        self._samples: list[tuple[Record, Picture]] = []
        self._parts: list[Vectors] = []
        self._in_flight = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True)

    @property
    def pending(self) -> int:
        """Samples that are captured but not yet safe on disk."""
        return len(self._samples) + (self._in_flight if self._busy() else 0)

    def _busy(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def add(self, batch: Batch, vectors: Vectors) -> None:
        """Take one batch; writes a part when enough is gathered."""
        self._samples += zip(batch.records, batch.pictures, strict=True)
        self._parts.append(vectors)
        if len(self._samples) >= self._rows:
            self._write()

    def flush(self) -> None:
        """Write what is left and wait until all of it is on disk."""
        if self._samples:
            self._write()
        self._wait()

    def _write(self) -> None:
        self._wait()
        samples, parts = self._samples, self._parts
        self._samples, self._parts = [], []
        self._in_flight = len(samples)
        self._writing = self._pool.submit(self._write_part, samples, parts)

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write_part(
        self, samples: Sequence[tuple[Record, Picture]], parts: Sequence[Vectors]
    ) -> None:
        keys: list[tuple[LayerRef, Pooling]] = list(parts[0])
        vectors = {key: np.concatenate([part[key] for part in parts]) for key in keys}
        self._writer.write_part(samples_table(samples, self._writer.manifest.tasks), vectors)
