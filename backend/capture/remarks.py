"""What a capture says of what it could not take whole, so that nothing goes wrong silently."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np

from backend.capture.sinks import Vectors
from backend.data.report import clipped
from backend.models.adapter import Adapter, Inputs
from backend.types import LayerRef, Pooling, Record
from backend.words import counted

log = logging.getLogger(__name__)

_NAMED = 5  # layers


class LeftOut:
    """Counts the tokens that did not fit into the model."""

    def __init__(self) -> None:
        self._of = 0
        self._samples: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()

    def add(self, inputs: Inputs) -> None:
        """Count one batch."""
        self._of += len(inputs)
        for stream, cut in inputs.cut.items():
            self._samples[stream] += int((cut > 0).sum())
            self._tokens[stream] += int(cut.sum())

    def tell(self, adapter: Adapter) -> None:
        """Say how much was left out of each stream, if anything was."""
        for stream, samples in self._samples.items():
            if samples:
                log.warning(
                    "the %s of %d of %d samples (%.0f %%) has more than %s takes: %d tokens were "
                    "left out%s",
                    *(stream, samples, self._of, 100 * samples / self._of, adapter.name),
                    *(self._tokens[stream], _longer(adapter)),
                )


def _longer(adapter: Adapter) -> str:
    """What to do where the length was ours to choose."""
    if adapter.placement is None:
        return ""
    return ". Train it with a larger max_text_length to keep them"


class NotFinite:
    """Counts the samples whose vectors hold NaN or infinite values, layer by layer.

    They are stored as they are: measures leave such a layer out and say so.
    """

    def __init__(self) -> None:
        self._of = 0
        self._samples: Counter[tuple[LayerRef, Pooling]] = Counter()
        self._infinite = False
        self._first: dict[tuple[LayerRef, Pooling], str] = {}

    def add(self, records: Sequence[Record], vectors: Vectors) -> None:
        """Look through the vectors of one batch."""
        self._of += len(records)
        for key, rows in vectors.items():
            bad = ~np.isfinite(rows).all(axis=1)
            if bad.any():
                self._samples[key] += int(bad.sum())
                self._first.setdefault(key, records[int(bad.argmax())].sample_id)
                self._infinite = self._infinite or bool(np.isinf(rows).any())

    def tell(self, dtype: str) -> None:
        """Name the layers, how many samples of each, and one of them; nothing if all is finite."""
        if not self._samples:
            return
        named = [
            f"{ref.stream} {ref.label} ({pooling}) of {n:,} of {self._of:,} samples such as "
            f"{clipped(self._first[ref, pooling], 40)}"
            for (ref, pooling), n in list(self._samples.items())[:_NAMED]
        ]
        more = len(self._samples) - len(named)
        cause = ""
        if dtype == "float16" and self._infinite:
            cause = ". float16 holds numbers up to 65,504: capture with dtype float32"
        log.warning(
            "NaN or infinite values in %s: %s%s. These layers are stored, and measures leave "
            "them out%s",
            *(counted(len(self._samples), "layer"), "; ".join(named)),
            *(f"; and {more:,} more" if more else "", cause),
        )
