"""`fusionscope capture --streaming`: the layers are summed while the model runs, none is kept.

What is on disk while it runs: parts with samples only, and beside them the sums. The sums after
part k are written under the name of k *before* part k is, so however a capture ends, the sums
that belong to the finished parts are there; those of the part before are kept as well, in case
the last part or its sums turn out damaged. A sample is therefore counted once or not yet.

Memory: 8 Σ d_i d_j bytes over the pairs, a pooling (:attr:`StreamPlan.nbytes`), a few hundred rows
of every layer, and one part's texts and thumbnails; it does not depend on the number of samples.
The disk holds the sums twice until the commit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from backend.capture.run import Batch
from backend.capture.sinks import Vectors
from backend.errors import InputError
from backend.measures import CKAStream
from backend.measures.streaming.stream_suite import stream_suite, streamed_pairs, streamed_refs
from backend.measures.streaming.stream_sums import stream_nbytes, tracked_pairs
from backend.measures.suite.dimensions import of_spectrum
from backend.measures.suite.layers import site_name
from backend.measures.suite.parts import content_key
from backend.store import Manifest, RunWriter, kinds
from backend.store.samples import Picture, samples_table
from backend.types import LayerRef, Pooling, Record, StreamSpec

log = logging.getLogger(__name__)

VERSION = 3
"""Raised whenever the same samples would give other rows; part of every key."""

PRESET = "streaming"

Streams = dict[Pooling, CKAStream]

_GATHERED_ROWS = 256  # rows that are summed at once: adding a (d, d) product costs as much for few
_FEWEST_ROWS, _MOST_ROWS = 512, 8192
_STATE_BYTES_A_SAMPLE = 64 * 2**10  # what writing the sums may cost, spread over a part's samples


@dataclass(frozen=True)
class PoolingPlan:
    """What is summed of one pooling: the sites that have it, and pairs of their indices."""

    refs: tuple[LayerRef, ...]
    widths: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, streams: Sequence[StreamSpec], pooling: Pooling) -> PoolingPlan:
        """Consecutive layers, named sites with their neighbours, matching layers of streams."""
        refs = streamed_refs(streams, pooling)
        specs = {spec.name: spec for spec in streams}
        widths = tuple(specs[ref.stream].width_of(ref) for ref in refs)
        return cls(refs, widths, tuple(streamed_pairs(streams, pooling)))

    def fits(self, stream: CKAStream, n: int) -> bool:
        """Whether these are this plan's sums over ``n`` samples."""
        tracked = tuple(tracked_pairs(self.pairs, len(self.refs)))
        return (stream.n, stream.widths, stream.tracked) == (n, self.widths, tracked)


@dataclass(frozen=True)
class StreamPlan:
    """Which sites are summed with which, by pooling; without poolings that no site has."""

    manifest: Manifest
    poolings: Mapping[Pooling, PoolingPlan]

    @classmethod
    def of(cls, manifest: Manifest) -> StreamPlan:
        """What a run is summed by."""
        plans = {p: PoolingPlan.of(manifest.streams, p) for p in manifest.poolings}
        return cls(manifest, {pooling: plan for pooling, plan in plans.items() if plan.refs})

    @property
    def nbytes(self) -> int:
        """Bytes of the sums of all poolings, however many samples there are."""
        return sum(stream_nbytes(plan.widths, plan.pairs) for plan in self.poolings.values())

    def part_rows(self, batch_size: int) -> int:
        """Samples a part, whole batches: more where the sums that go with it are larger."""
        rows = int(np.clip(self.nbytes // _STATE_BYTES_A_SAMPLE, _FEWEST_ROWS, _MOST_ROWS))
        return max(1, rows // batch_size) * batch_size

    def fresh(self) -> Streams:
        """Empty sums."""
        return {pooling: CKAStream(pairs=plan.pairs) for pooling, plan in self.poolings.items()}


class StreamBuffer:
    """Sums the captured layers and writes samples without them; a capture's ``buffer``.

    Made on an open writer, it takes over the sums of the finished parts. Parts without sums that
    can be read are dropped with a warning, and their samples captured again.
    """

    def __init__(self, writer: RunWriter, batch_size: int) -> None:
        self._writer = writer
        self._plan = StreamPlan.of(writer.manifest)
        self._rows = self._plan.part_rows(batch_size)
        self._samples: list[tuple[Record, Picture]] = []
        self._gathered: list[Vectors] = []
        self._summed = 0  # of the samples
        self.streams = self._resume()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @property
    def pending(self) -> int:
        """Samples that are captured but not yet safe on disk."""
        return len(self._samples)

    def add(self, batch: Batch, vectors: Vectors) -> None:
        """Take one batch. InputError names the sample and the layer of a NaN or infinite value."""
        self._samples += zip(batch.records, batch.pictures, strict=True)
        self._gathered.append(vectors)
        if len(self._samples) >= self._rows:
            self._write()
        elif len(self._samples) - self._summed >= _GATHERED_ROWS:
            self._sum()

    def flush(self) -> None:
        """Write what is left."""
        if self._samples:
            self._write()

    def add_measures(self) -> list[str]:
        """Add the measures of everything summed to the run, a key a pooling; the keys."""
        modalities = {spec.name: spec.modality for spec in self._writer.streams}
        groups = self._writer.groups()
        keys = []
        for pooling, stream in self.streams.items():
            plan = self._plan.poolings[pooling]
            rows = stream_suite(
                stream, plan.refs, plan.pairs, pooling, modalities=modalities, groups=groups
            )
            keys.append(streaming_key(pooling))
            self._writer.add(kinds.MEASURES, rows, keys[-1])
        return keys

    def _sum(self) -> None:
        parts, self._gathered = self._gathered, []
        if not parts:
            return
        records = [record for record, _ in self._samples[self._summed :]]
        self._summed = len(self._samples)
        for pooling, stream in self.streams.items():
            refs = self._plan.poolings[pooling].refs
            layers = [np.concatenate([part[ref, pooling] for part in parts]) for ref in refs]
            _refuse_non_finite(layers, refs, pooling, records)
            stream.update(layers)

    def _write(self) -> None:
        """The sums first, then the part that they include; see the module's docstring."""
        self._sum()
        done = len(self._writer.part_ends)
        self._forget(keep={done})
        for pooling, stream in self.streams.items():
            stream.save(self._path(done + 1, pooling))
        samples, self._samples, self._summed = self._samples, [], 0
        self._writer.write_part(samples_table(samples, self._writer.manifest.tasks), {})

    def _resume(self) -> Streams:
        ends = self._writer.part_ends
        for count in range(len(ends), 0, -1):
            streams = self._load(count, ends[count - 1])
            if streams is not None:
                break
        else:
            count, streams = 0, self._plan.fresh()
        if count < len(ends):
            log.warning(
                "run %s: the sums of %d samples are missing or damaged; these samples are captured "
                "again",
                self._writer.manifest.run_id,
                ends[-1] - (ends[count - 1] if count else 0),
            )
            self._writer.keep_parts(count)
        self._forget(keep={count - 1, count})
        return streams

    def _load(self, count: int, n: int) -> Streams | None:
        """The sums after ``count`` parts, of all poolings; None where they are not to be had."""
        streams: Streams = {}
        for pooling, plan in self._plan.poolings.items():
            path = self._path(count, pooling)
            if not path.exists():
                return None
            try:
                stream = CKAStream.load(path)
            except InputError as error:
                log.warning("%s", error)
                return None
            if not plan.fits(stream, n):
                return None
            streams[pooling] = stream
        return streams

    def _path(self, count: int, pooling: str) -> Path:
        return self._writer.state() / f"sums-{count:06d}-{pooling}.npz"

    def _forget(self, keep: set[int]) -> None:
        """Delete all but the sums after so many parts, and what a killed process left."""
        current = {self._path(k, pooling) for k in keep for pooling in self._plan.poolings}
        for path in self._writer.state().glob("sums-*"):
            if path not in current:
                path.unlink()


def streaming_key(pooling: str) -> str:
    """The key under which a store keeps the measures of a streaming capture."""
    parameters = {name: dict(arguments) for name, arguments in of_spectrum().items()}
    return content_key(PRESET, pooling, {"version": VERSION, **parameters})


def _refuse_non_finite(
    layers: Sequence[np.ndarray],
    refs: Sequence[LayerRef],
    pooling: Pooling,
    records: Sequence[Record],
) -> None:
    """InputError naming the first sample and layer that cannot be summed."""
    for ref, array in zip(refs, layers, strict=True):
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(bad):
            record = records[int(bad[0])]
            raise InputError(
                f"{site_name(ref)} has a NaN or infinite {pooling} vector for sample "
                f"{record.sample_id!r}, which cannot be summed",
                where=record.source,
                hint="Leave the sample out, or capture without `streaming`.",
            )
