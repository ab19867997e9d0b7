"""Trains one plan with one seed on its tasks: early stopping on dev, scores at the end."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from backend.capture.sinks import TokenSink
from backend.capture.tap import Sink, Tap
from backend.data.base import PairSource
from backend.errors import InputError
from backend.models.dual_stream.adapter import DualStream
from backend.models.dual_stream.model import summarised
from backend.progress import SILENT, Progress
from backend.train.alignment import cka_layers, mean_cka
from backend.train.build import build, build_from
from backend.train.engine import (
    checkpoint_dir,
    finished,
    run_in,
    to_device,
    write_json,
)
from backend.train.examples import Examples, labelled
from backend.train.frozen import cacheable_layers, open_frozen
from backend.train.fusion import FusionEngine
from backend.train.losses import class_weights, task_loss
from backend.train.metrics import Score, primary, scores
from backend.train.observe import Observer
from backend.train.options import CacheOptions
from backend.train.plan import chosen_tasks, identity, require_classes
from backend.train.predictions import predictions, write_predictions
from backend.train.recipe import TrainPlan
from backend.types import LayerRef

log = logging.getLogger(__name__)

_EVALUATION_BATCH = 256


def train_seed(
    plan: TrainPlan,
    source: PairSource,
    seed: int,
    out: Path,
    progress: Progress = SILENT,
    cache: CacheOptions | None = None,
    observer: Observer | None = None,
) -> Path:
    """Train, keep the best epoch by the dev score, evaluate, and return the checkpoint directory.

    The directory appears when the training is finished, which an interrupted one does in a later
    call. A finished checkpoint of the same plan is returned as it is. ``cache`` says where outputs
    of frozen layers are kept (:mod:`backend.train.frozen`), by default beside the training's state;
    it does not change what is trained, and neither does ``observer``, which is told of every step
    and epoch. Raises InputError for a plan that the data or the encoders cannot serve, and for a
    finished checkpoint of another plan; and what the observer raises to end the training.
    """
    cache = cache or CacheOptions()
    cache.check()
    plan.check()
    checkpoint = finished(checkpoint_dir(out, seed), identity(plan))
    if checkpoint:
        return checkpoint
    training = _Training(plan, source, seed)  # before anything is made on disk

    def keep_frozen(partial: Path) -> None:
        training.keep_frozen(cache, partial / "frozen")

    return run_in(out, training, progress, observer, before=keep_frozen)


class _Training(FusionEngine):
    """One seed's training: everything that lives as long as its loop."""

    def __init__(self, plan: TrainPlan, source: PairSource, seed: int) -> None:
        super().__init__(plan, source, seed)
        self.plan = plan
        self.tasks = chosen_tasks(plan, source)
        if plan.pretrained:
            made = build_from(plan, source, self.tasks, seed)
        else:
            made = build(plan, source, self.tasks, seed)
        self.model, self.preprocessor = made
        self.train = self._labelled("train", plan.limit)
        self.dev = self._labelled("dev", None)
        for task in self.tasks:
            for part in (self.train, self.dev):
                labels = [record.labels.get(task.name) for record in part.records]
                require_classes(task, labels, part.split, f"data {plan.data}")
        self.weights = self._class_weights()
        self.adapter = DualStream(self.model, self.preprocessor, "")
        depths = len(self.model.text.blocks), len(self.model.vision.blocks)
        placement = self.model.placement
        pairs = cka_layers(plan.cka_layers, placement, depths) if plan.cka_loss else ()
        self.aligned = tuple((LayerRef("text", a), LayerRef("vision", b)) for a, b in pairs)
        self.prepare(str(self.model.config.trained_on["plan"]), self.model)

    def _labelled(self, split: str, limit: int | None) -> Examples:
        return Examples(self.source, split, self.tasks, self.preprocessor, limit)

    def keep_frozen(self, cache: CacheOptions, scratch: Path) -> None:
        """Compute what lies below everything that is trained once, and read it from then on."""
        lowest = {}
        if self.aligned:
            lowest = {ref.stream: ref.layer for ref in self.aligned[0]}
        layers = cacheable_layers(self.model, lowest)
        for examples in (self.train, self.dev):
            examples.frozen = open_frozen(
                self.model, examples, layers, cache, scratch, self.compute
            )

    def _forward(
        self, batch: dict[str, Any], examples: Examples, sinks: Sequence[Sink] = ()
    ) -> dict[str, Tensor]:
        """Logits by task; layers that are kept are not run again. ``sinks`` get what they want."""
        with ExitStack() as stack:
            for stream, hidden in batch["frozen"].items():
                layer = examples.frozen[stream].layer
                stack.enter_context(self.model.encoder(stream).resumed(layer, hidden))
            tensors = {"pixel_values": batch["inputs"]["input_ids"].new_empty(0), **batch["inputs"]}
            inputs = self.adapter.inputs(tensors)
            tap = stack.enter_context(Tap(self.adapter, sinks, training=True))
            return tap(inputs)

    def _class_weights(self) -> dict[str, Tensor | None]:
        if self.plan.class_weights == "none":
            return {task.name: None for task in self.tasks}
        return {
            task.name: class_weights(task, self.train.labels[task.name]).to(self.compute.device)
            for task in self.tasks
        }

    def enough(self) -> bool:
        """Whether dev has not improved for ``patience`` epochs."""
        done = self.state
        stop = bool(done.epoch) and done.epoch - done.best_epoch >= self.plan.patience
        if stop:
            log.info("seed %d: no better dev score for %d epochs", self.seed, self.plan.patience)
        return stop

    def loss(self, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum of the tasks' mean losses, and the CKA where that is part of it."""
        aligned = TokenSink([ref for pair in self.aligned for ref in pair])
        logits, labels = self._forward(batch, self.train, [aligned]), batch["labels"]
        losses = [
            task_loss(task, logits[task.name], labels[task.name], self.weights[task.name])
            for task in self.tasks
        ]
        loss = torch.stack(losses).sum()
        alignment = mean_cka(self._summaries(batch, aligned)) if self.aligned else None
        if alignment is None:
            return loss, {}
        return loss + self.plan.cka_loss * (1 - alignment), {"cka": alignment}

    def _summaries(self, batch: dict[str, Any], sink: TokenSink) -> list[tuple[Tensor, Tensor]]:
        """(text, vision) vectors of every pair of layers that is aligned."""
        roles = self.adapter.inputs(batch["inputs"]).roles
        by = {"text": self.model.config.text_summary, "vision": self.model.vision.summary}

        def vector(ref: LayerRef) -> Tensor:
            return summarised(sink.tokens[ref], roles[ref.stream], by[ref.stream])

        return [(vector(text), vector(vision)) for text, vision in self.aligned]

    def assess(self) -> dict[str, Any]:
        """All metrics of all tasks on dev."""
        return {"dev": [asdict(score) for score in self.evaluate(self.dev)]}

    def score_of(self, row: Mapping[str, Any]) -> float:
        """The mean over the tasks of each one's own metric on dev."""
        on_dev = [Score(**score) for score in row["dev"]]
        return float(np.nanmean([primary(task, on_dev) for task in self.tasks]))

    def evaluate(self, examples: Examples) -> list[Score]:
        """All metrics of all tasks on a split, without those that have no labels there."""
        return self._assessed(examples)[0]

    def _assessed(self, examples: Examples) -> tuple[list[Score], list[pd.DataFrame]]:
        """:meth:`evaluate`, and what the scores are of: :mod:`backend.train.predictions`."""
        self.model.eval()
        logits: dict[str, list[Tensor]] = {task.name: [] for task in self.tasks}
        with torch.inference_mode(), self.compute.autocast():
            for rows in _chunks(range(len(examples)), _EVALUATION_BATCH):
                batch = to_device(examples.collate(rows), self.compute.device)
                for name, values in self._forward(batch, examples).items():
                    logits[name].append(values.float().cpu())
        measured, predicted = [], []
        for task in self.tasks:
            have = labelled(task, examples.labels[task.name])
            if have.any():
                outputs = torch.cat(logits[task.name])[have].numpy()
                labels = examples.labels[task.name][have].numpy()
                ids = [examples.records[at].sample_id for at in np.flatnonzero(have)]
                measured += scores(task, outputs, labels, examples.split)
                predicted.append(predictions(task, outputs, labels, ids, examples.split))
        return measured, predicted

    def write(self, folder: Path) -> None:
        """The checkpoint: weights, configuration, tokenizer, scores, predictions, history."""
        self.round_as_saved()  # before scoring, so that the scores are of what is saved
        self.dev.frozen = {}  # the scores are of the weights as saved, all of them
        saved, predicted = self._assessed(self.dev)
        try:
            test = self.source.canonical("test")
        except InputError:
            log.info("%s has no test split: only dev is scored", self.source.name)
        else:
            of_test, predicted = self._assessed(self._labelled(test, None))
            saved += of_test
        self.save_model(folder)
        write_predictions(predicted, folder)
        write_json(folder / "scores.json", [asdict(s) for s in saved])
        write_json(folder / "training.json", {"plan": asdict(self.plan), **self.history()})


def _chunks(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
