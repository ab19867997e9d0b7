"""``fusionscope shared-space``: what a contrastive model says if it stops at an earlier layer.

The model runs once more over the samples of a run: what it gives at each layer needs the tokens,
which a store does not keep. The rows become a table of the run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backend.capture.early_exit import EarlyExit
from backend.data.base import Pair, PairSource
from backend.data.registry import open_source
from backend.data.sample import Sample
from backend.errors import InputError
from backend.jobs.sources import in_run
from backend.measures.suite.parts import parameters_digest
from backend.measures.suite.shared_space import (
    PARAMETERS,
    Embedded,
    Prompts,
    Question,
    shared_space_rows,
)
from backend.models.adapter import Adapter
from backend.models.devices import choose_device
from backend.models.registry import open_model
from backend.progress import SILENT, Progress
from backend.store import Run, kinds
from backend.types import LayerRef

PLACE = "{class}"
"""What a prompt template has where the name of the class goes."""

TEMPLATES = (f"a photo of {PLACE}.",)
STREAMS = ("vision", "text")


@dataclass(frozen=True)
class SharedSpaceOptions:
    """How a run is asked.

    ``model`` and ``data`` are those of the run where they are empty. Of several ``templates`` the
    mean direction stands for a class.
    """

    model: str = ""
    data: str = ""
    templates: tuple[str, ...] = TEMPLATES
    batch_size: int = 32
    device: str = "auto"
    follow_links: bool = False


def check_templates(templates: Sequence[str]) -> None:
    """InputError for a template without a place for the class, one given twice, and for none."""
    if not templates:
        raise InputError("no prompt was given", field="prompt")
    for at, template in enumerate(templates):
        if PLACE not in template:
            raise InputError(
                f"the prompt {template[:60]!r} has no place for the class",
                field="prompt",
                hint=f"Write {PLACE} where its name goes, as in {TEMPLATES[0]!r}.",
            )
        if template in templates[:at]:
            raise InputError(f"the prompt {template[:60]!r} is given twice", field="prompt")


def prompt(template: str, name: str) -> str:
    """The template with the name of a class; ``apple_pie`` becomes ``apple pie``."""
    return template.replace(PLACE, name.replace("_", " "))


def add_shared_space(
    run: Run, options: SharedSpaceOptions | None = None, progress: Progress = SILENT
) -> str:
    """Ask the model of a run and keep the rows in it; the key, or "" where they were there.

    InputError where the model has no space for images and texts, is not the run's own, or the data
    is not what was captured; and for a template without a place for the class.
    """
    options = options or SharedSpaceOptions()
    check_templates(options.templates)
    with in_run(run.run_id):
        lacking = [name for name in STREAMS if name not in {spec.name for spec in run.streams}]
        if lacking:
            raise InputError(f"its model has no stream {lacking[0]}")
        key = shared_space_key(options.templates)
        if key in run.keys(kinds.SHARED_SPACE):
            return ""
        adapter = _model_of(run, options)
        exits = {name: EarlyExit(adapter, name) for name in STREAMS}
        source = _data_of(run, options)
        run.add(kinds.SHARED_SPACE, _rows(run, exits, source, options, progress), key)
    return key


def shared_space_key(templates: Sequence[str]) -> str:
    """The key under which a run keeps what was asked with these prompts."""
    return f"shared-space-{parameters_digest({**PARAMETERS, 'templates': list(templates)})}"


def _rows(
    run: Run,
    exits: dict[str, EarlyExit],
    source: PairSource,
    options: SharedSpaceOptions,
    progress: Progress,
) -> pd.DataFrame:
    sides = {name: _Gathered(one, options) for name, one in exits.items()}
    pairs = _pairs_of(run, source)
    done = 0
    while batch := list(islice(pairs, options.batch_size)):
        for side in sides.values():
            side.add([pair.sample for pair in batch])
        done += len(batch)
        progress.advance(done, run.n, run.run_id)
    question = Question(
        sides["vision"].embedded(),
        sides["text"].embedded(),
        run.groups(),
        list(_prompts_of(run, exits["text"], options)),
        {"templates": list(options.templates)},
    )
    return shared_space_rows(question)


class _Gathered:
    """What one stream says of samples, batch after batch, at every layer."""

    def __init__(self, exits: EarlyExit, options: SharedSpaceOptions) -> None:
        self._exits = exits
        self._device = choose_device(options.device)
        self._own: dict[LayerRef, list[np.ndarray]] = defaultdict(list)
        self._pooled: dict[LayerRef, list[np.ndarray]] = defaultdict(list)

    def add(self, samples: Sequence[Sample]) -> None:
        """Run one batch."""
        own, pooled = self._exits(self._exits.encode(samples).to(self._device))
        for ref, vectors in own.items():
            self._own[ref].append(vectors.cpu().numpy())
        for (ref, _), rows in pooled.items():
            self._pooled[ref].append(rows)

    def embedded(self) -> Embedded:
        """All of it, rows in the order of the samples."""
        own, pooled = (
            {ref: np.concatenate(parts) for ref, parts in every.items()}
            for every in (self._own, self._pooled)
        )
        return Embedded(self._exits.spec, own, pooled, self._exits.pooling)


def _prompts_of(run: Run, exits: EarlyExit, options: SharedSpaceOptions) -> Iterator[Prompts]:
    """The class prompts of each task that the samples have labels of."""
    for task, labels in run.labels().items():
        texts = [prompt(one, name) for name in task.classes for one in options.templates]
        gathered = _Gathered(exits, options)
        for start in range(0, len(texts), options.batch_size):
            gathered.add([Sample(text) for text in texts[start : start + options.batch_size]])
        embedded = gathered.embedded()
        shape = (len(task.classes), len(options.templates), -1)
        own, pooled = (
            {ref: rows.reshape(shape) for ref, rows in every.items()}
            for every in (embedded.own, embedded.pooled)
        )
        yield Prompts(task, labels, own, pooled)


def _model_of(run: Run, options: SharedSpaceOptions) -> Adapter:
    """The run's own model: the one that is named, else its checkpoint, else where it came from."""
    model = run.manifest.model
    kept = str(run.checkpoint) if run.checkpoint is not None else run.manifest.origin.model
    named = options.model or kept
    if not named:
        raise InputError(
            "where its model lies is not known",
            hint="Say it: a checkpoint directory.",
            field="model",
        )
    revision = None if Path(named).exists() else model.revision or None
    adapter = open_model(named, revision=revision)
    if model.digest and adapter.digest != model.digest:
        raise InputError(
            f"the checkpoint is another (digest {adapter.digest}, the run's model has "
            f"{model.digest})",
            field="model",
        )
    return adapter.to(choose_device(options.device))


def _data_of(run: Run, options: SharedSpaceOptions) -> PairSource:
    data = options.data or run.manifest.origin.data
    if not data:
        raise InputError(
            "where its data lies is not known", hint="Say it: LAYOUT:PATH.", field="data"
        )
    return open_source(data, follow_links=options.follow_links)


def _pairs_of(run: Run, source: PairSource) -> Iterator[Pair]:
    """The run's samples in its order; InputError where the data no longer has them as they were."""
    captured = run.samples(["sample_id", "text"])
    texts = dict(zip(captured["sample_id"], captured["text"], strict=True))
    records: dict[str, Any] = {}
    for record in source.records(run.manifest.dataset.split):
        if record.sample_id in texts and record.text == texts[record.sample_id]:
            records[record.sample_id] = record
    missing = [sample_id for sample_id in texts if sample_id not in records]
    if missing:
        raise InputError(
            f"it lacks {len(missing)} of the {run.n} samples that were captured, or has them with "
            f"another text: {missing[0]} is the first",
            where=f"data {source.name}",
            field="data",
        )
    number = 0
    for pair in source.decoded(records[sample_id] for sample_id in texts):
        number += 1
        yield pair
    if number < run.n:
        raise InputError(
            f"{run.n - number} of the {run.n} samples that were captured cannot be read",
            where=f"data {source.name}",
            hint=source.report.summary(),
        )
