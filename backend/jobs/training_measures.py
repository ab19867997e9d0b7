"""`fusionscope train --measure-every`: measures of the model while it is trained.

On a fixed subset of the dev split, at chosen steps: CKA of consecutive layers of each stream and
of matching layers of the two, and what follows from each layer's spectrum, as in a streaming
capture. The rows have ``epoch`` and ``step`` (optimizer steps since the start; 0 is before
training) and lie in the checkpoint as ``training_measures.parquet``, from where a capture copies
them into the run, beside its scores. They are of the CLS vectors, in full precision.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from backend.capture.sinks import PooledSink
from backend.capture.tap import Tap
from backend.errors import InputError
from backend.measures import CKAStream
from backend.measures.streaming.stream_suite import (
    LEAST_SAMPLES,
    stream_suite,
    streamed_pairs,
    streamed_refs,
)
from backend.models.dual_stream.adapter import DualStream
from backend.models.dual_stream.model import FusionModel
from backend.models.dual_stream.preprocess import Preprocessor
from backend.store import kinds
from backend.train.beside import options_beside, read_beside, write_beside
from backend.train.examples import Examples
from backend.train.options import MeasureOptions
from backend.types import Pooling

log = logging.getLogger(__name__)

FILE = "training_measures.parquet"
_BATCH = 64


class TrainingMeasures:
    """Measures every ``every`` steps, or after every epoch; an observer of one training.

    ``every`` is ``"epoch"`` or a number of steps. ``samples`` of the dev split, evenly spaced in
    its order, or all where it has fewer. InputError for another ``every`` and for fewer than 4.
    """

    def __init__(self, every: str, samples: int = MeasureOptions.measure_samples) -> None:
        if every != "epoch" and not (every.isdecimal() and int(every)):
            raise InputError(
                f"{every!r} is neither 'epoch' nor a number of steps", field="measure_every"
            )
        if samples < LEAST_SAMPLES:
            raise InputError(f"needs at least {LEAST_SAMPLES}", field="measure_samples")
        self._every = None if every == "epoch" else int(every)
        self._samples = samples
        self._options = {"every": self._every or "epoch", "samples": samples}
        self._frames: list[pd.DataFrame] = []

    def begin(
        self,
        model: FusionModel,
        preprocessor: Preprocessor,
        dev: Examples,
        device: torch.device,
        folder: Path,
        epoch: int,
    ) -> None:
        """Take up the rows of finished epochs, or measure the untrained model.

        InputError where other options made these rows.
        """
        if len(dev) < LEAST_SAMPLES:
            raise InputError(
                f"split {dev.split!r} has {len(dev)} samples, needs {LEAST_SAMPLES}",
                field="measure_every",
            )
        self._model, self._dev, self._device = model, dev, device
        self._adapter = DualStream(model, preprocessor, "")
        self._indices = _spaced(len(dev), self._samples)
        groups = dev.groups()
        self._groups = None if groups is None else groups[self._indices]
        self._path = folder / FILE
        self._frames = []
        if epoch:
            rows = read_training_measures(folder)
            if rows is not None:
                _require_same(
                    self._path,
                    self._options,
                    "its rows of other steps cannot be made any more",
                    "Give what it was measured by, or delete the file to measure from here on.",
                )
                self._frames = [rows[rows["epoch"] <= epoch]]
        else:
            self._measure(0, 0)

    def stepped(self, epoch: int, step: int, steps: int) -> None:
        """Measure if it is time."""
        total = (epoch - 1) * steps + step
        if (step == steps) if self._every is None else total % self._every == 0:
            self._measure(epoch, total)

    def evaluated(self, epoch: int, score: float) -> None:
        """Nothing: the dev score is training's own."""

    def finish(self, checkpoint: Path) -> None:
        """Put the rows into the checkpoint."""
        self._write(checkpoint / FILE)

    def _measure(self, epoch: int, step: int) -> None:
        streams = self._model.streams
        # An encoder without a summary token is measured by its mean, and the other one with it.
        pooling: Pooling = "cls" if all("cls" in spec.poolings for spec in streams) else "mean"
        refs = streamed_refs(streams, pooling)
        pairs = streamed_pairs(streams, pooling)
        pooled = PooledSink((pooling,))
        sums = CKAStream(pairs=pairs)
        # The pass draws no random numbers; whatever a model family does, training must not see it.
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices), Tap(self._adapter, pooled) as tap:
            for start in range(0, len(self._indices), _BATCH):
                chosen = self._indices[start : start + _BATCH]
                inputs = self._adapter.inputs(
                    {**self._dev.tokens(chosen), **self._dev.pixels(chosen)}
                )
                tap(inputs.to(self._device))
                vectors = pooled.vectors()
                sums.update([vectors[ref, pooling] for ref in refs])
        modalities = {spec.name: spec.modality for spec in streams}
        rows = stream_suite(sums, refs, pairs, pooling, modalities=modalities, groups=self._groups)
        rows.insert(0, "epoch", epoch)
        rows.insert(1, "step", step)
        self._frames.append(rows)
        self._write(self._path)

    def _write(self, path: Path) -> None:
        write_beside(kinds.TRAINING_MEASURES, self._frames, path, self._options)


def read_training_measures(folder: Path) -> pd.DataFrame | None:
    """The rows that training left beside a checkpoint; InputError for a damaged file."""
    return read_beside(kinds.TRAINING_MEASURES, folder / FILE)


def require_measured(checkpoint: Path, measured: MeasureOptions) -> None:
    """InputError for a finished checkpoint that was trained without being measured so."""
    if not (checkpoint / FILE).is_file():
        raise InputError(
            "was trained without `measure_every`, and is finished",
            where=str(checkpoint),
            hint="Choose another `out`, or leave out `measure_every`.",
        )
    every = measured.measure_every
    _require_same(
        checkpoint / FILE,
        {"every": int(every) if every.isdecimal() else every, "samples": measured.measure_samples},
        "its training is finished",
        "Choose another `out`, or give what it was measured by.",
    )


def _require_same(path: Path, options: Mapping[str, object], why: str, hint: str) -> None:
    """InputError where a table was made by other options: rows of both would be taken for one's.

    One of an older version does not say by which.
    """
    before = options_beside(path)
    if before is not None and before != options:
        every = before.get("every")
        raise InputError(
            f"was measured every {every if every == 'epoch' else f'{every} steps'} on "
            f"{before.get('samples')} samples, and {why}",
            where=str(path),
            field="measure_every" if every != options["every"] else "measure_samples",
            hint=hint,
        )


def _spaced(n: int, most: int) -> list[int]:
    """Up to ``most`` indices of 0..n-1, evenly spaced, each once."""
    return [int(i) for i in np.unique(np.linspace(0, n - 1, min(n, most)).round())]
