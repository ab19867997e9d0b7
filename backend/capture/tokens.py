"""How many tokens each stream has of every sample, so that an imbalance of modalities is seen.

Kept beside the parts while a capture runs, a row a sample in the order of the samples, and before
the part that the sample is in is written: so a capture that goes on has those of all parts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from backend.disk import writing
from backend.models.adapter import Inputs
from backend.store import RunWriter
from backend.store.kinds import TOKENS
from backend.types import StreamSpec

log = logging.getLogger(__name__)

_COUNT = np.dtype("<i4")


class TokenCounts:
    """Counts the tokens of the captured batches; use as a context manager on an open writer."""

    def __init__(self, writer: RunWriter, streams: Sequence[StreamSpec]) -> None:
        self._names = [spec.name for spec in streams]
        self._path = writer.state() / "tokens"
        self._expected = writer.n_written

    def __enter__(self) -> Self:
        self._path.touch()
        self._file = self._path.open("r+b")
        rows = min(self._path.stat().st_size // self._bytes, self._expected)
        self._file.truncate(rows * self._bytes)  # others are of parts that were not written
        self._file.seek(0, 2)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def _bytes(self) -> int:
        return len(self._names) * _COUNT.itemsize

    def add(self, inputs: Inputs) -> None:
        """Count one batch."""
        counts = inputs.token_counts
        rows = np.stack([counts[name] for name in self._names], axis=1).astype(_COUNT)
        with writing(self._path, "Make room and give the command again: it goes on."):
            self._file.write(rows.tobytes())
            self._file.flush()
        self._expected += len(rows)

    def add_to(self, writer: RunWriter) -> None:
        """Add how many samples have so many tokens; with a warning where some are not known."""
        rows = np.fromfile(self._path, _COUNT).reshape(-1, len(self._names))
        if len(rows) != self._expected:
            log.warning(
                "run %s does not say how many tokens its samples have: of %d samples it is known "
                "of %d",
                *(writer.manifest.run_id, self._expected, len(rows)),
            )
            return
        columns: dict[str, list[object]] = {name: [] for name in TOKENS.schema.names}
        for name, counts in zip(self._names, rows.T, strict=True):
            tokens, samples = np.unique(counts, return_counts=True)
            columns["stream"] += [name] * len(tokens)
            columns["tokens"] += tokens.tolist()
            columns["samples"] += samples.tolist()
        writer.add(TOKENS, pa.table(columns, schema=TOKENS.schema))
