"""Trains one plan with one seed: AdamW, warm-up and cosine, early stopping, resumable by epoch."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from filelock import FileLock, Timeout
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from backend.data.base import PairSource
from backend.errors import InputError
from backend.models.devices import choose_device
from backend.models.fusion import FusionOutput, Known
from backend.train import state
from backend.train.alignment import cka_layers, mean_cka
from backend.train.examples import Examples, known
from backend.train.frozen import CacheOptions, cacheable_layers, open_frozen
from backend.train.losses import class_weights, task_loss
from backend.train.metrics import Score, primary, scores
from backend.train.observe import Observer
from backend.train.plan import TrainPlan, build, chosen_tasks

log = logging.getLogger(__name__)

_GRADIENT_NORM = 1.0
_EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Step:
    """What a progress bar shows: ``step`` of ``steps`` in ``epoch`` of ``epochs`` (both from 1)."""

    seed: int
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    metric: float | None


Report = Callable[[Step], None]


def checkpoint_dir(out: Path, seed: int) -> Path:
    """Where the finished checkpoint of a seed is."""
    return out / f"seed-{seed}"


def train_seed(
    plan: TrainPlan,
    source: PairSource,
    seed: int,
    out: Path,
    report: Report | None = None,
    cache: CacheOptions | None = None,
    observer: Observer | None = None,
) -> Path:
    """Train, keep the best epoch by the dev score, evaluate, and return the checkpoint directory.

    The directory appears when the training is finished; until then its state is in a hidden one
    beside it, from which the next call goes on after the last finished epoch with the same result
    as an uninterrupted one. A finished checkpoint of the same plan is returned as it is. ``cache``
    says where outputs of frozen layers are kept (:mod:`backend.train.frozen`), by default beside
    that state; it does not change what is trained, and neither does ``observer``, which is told of
    every step and epoch. Raises InputError for a plan that the data or the encoders cannot serve,
    and for a finished checkpoint of another plan; and what the observer raises to end the training.
    """
    cache = cache or CacheOptions()
    cache.check()
    final = checkpoint_dir(out, seed)
    if final.exists():
        return _finished(final, plan)
    training = _Training(plan, source, seed)  # before anything is made on disk
    partial = out / f".seed-{seed}.partial"
    partial.mkdir(parents=True, exist_ok=True)
    lock = FileLock(partial / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError("is being trained by another process", where=str(final)) from error
    with lock:
        training.keep_frozen(cache, partial / "frozen")
        training.run(partial, report, observer)
        training.write(partial / "result")
        if observer:
            observer.finish(partial / "result")
        (partial / "result").rename(final)
    shutil.rmtree(partial)
    return final


def _finished(final: Path, plan: TrainPlan) -> Path:
    try:
        config = json.loads((final / "config.json").read_text(encoding="utf-8"))
        same = config["trained_on"]["plan"] == plan.digest()
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise InputError(
            "already exists, from other options", where=str(final), hint="Choose another --out."
        )
    return final


class _Training:
    """One seed's training: everything that lives as long as its loop."""

    def __init__(self, plan: TrainPlan, source: PairSource, seed: int) -> None:
        self.plan = plan
        self.seed = seed
        self.source = source
        plan.check()
        self.tasks = chosen_tasks(plan, source)
        device = choose_device(plan.device)
        self.accelerator = Accelerator(
            mixed_precision=_precision(plan.precision, device), cpu=device.type == "cpu"
        )
        self.model, self.preprocessor = build(plan, source, self.tasks, seed)
        self.train = self._examples("train", plan.limit)
        self.dev = self._examples("dev", None)
        for task in self.tasks:
            for part in (self.train, self.dev):
                if not part.has_labels(task):
                    raise InputError(
                        f"split {part.split!r} has no labels for task {task.name!r}",
                        where=f"data {plan.data}",
                        hint="Choose another --task or check the label column.",
                    )
        self.weights = self._class_weights()
        depths = len(self.model.text.blocks), len(self.model.vision.blocks)
        placement = self.model.placement
        self.aligned = cka_layers(plan.cka_layers, placement, depths) if plan.cka_loss else ()
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = AdamW(trainable, lr=plan.rate, weight_decay=plan.weight_decay)
        self.steps = math.ceil(len(self.train) / plan.batch_size)
        self.schedule = LambdaLR(self.optimizer, self._rate)
        self.model.to(self.accelerator.device)
        self.progress = state.Progress.fresh()

    def _examples(self, split: str, limit: int | None) -> Examples:
        return Examples(self.source, split, self.tasks, self.preprocessor, limit)

    def keep_frozen(self, cache: CacheOptions, scratch: Path) -> None:
        """Compute what lies below everything that is trained once, and read it from then on."""
        lowest = {}
        if self.aligned:
            lowest = dict(zip(("text", "vision"), self.aligned[0], strict=True))
        layers = cacheable_layers(self.model, lowest)
        for examples in (self.train, self.dev):
            examples.frozen = open_frozen(
                self.model, examples, layers, cache, scratch, self.accelerator
            )

    def _forward(
        self, batch: dict[str, Any], examples: Examples, cls_of: Sequence[tuple[int, int]] = ()
    ) -> FusionOutput:
        given = {
            stream: Known(examples.frozen[stream].layer, hidden)
            for stream, hidden in batch["frozen"].items()
        }
        out: FusionOutput = self.model(**batch["inputs"], known=given, cls_of=cls_of)
        return out

    def _class_weights(self) -> dict[str, Tensor | None]:
        if self.plan.class_weights == "none":
            return {task.name: None for task in self.tasks}
        return {
            task.name: class_weights(task, self.train.labels[task.name]).to(self.accelerator.device)
            for task in self.tasks
        }

    def _rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to ``final_rate`` of the learning rate."""
        total = self.plan.epochs * self.steps
        warm = max(1, round(self.plan.warmup * total))
        if step < warm:
            return (step + 1) / warm
        fallen = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))
        return self.plan.final_rate + (1 - self.plan.final_rate) * fallen

    def run(
        self, folder: Path, report: Report | None = None, observer: Observer | None = None
    ) -> None:
        """Train until the epochs are over or dev has not improved for ``patience`` of them.

        Goes on from the state in ``folder`` and leaves it there after every epoch.
        """
        digest, parts = self.plan.digest(), (self.model, self.optimizer, self.schedule)
        done = self.progress = state.load(folder, digest, *parts, self.accelerator)
        if observer:
            device = self.accelerator.device
            observer.begin(self.model, self.preprocessor, self.dev, device, folder, done.epoch)
            for row in done.history:
                observer.evaluated(row["epoch"], self._judged([Score(**s) for s in row["dev"]]))
        while done.epoch < self.plan.epochs:
            if done.epoch - done.best_epoch >= self.plan.patience and done.epoch:
                log.info(
                    "seed %d: no better dev score for %d epochs", self.seed, self.plan.patience
                )
                break
            losses = self._epoch(done.epoch + 1, report, observer)
            found = self.evaluate(self.dev)
            value = self._judged(found)
            done.epoch += 1
            done.history.append({"epoch": done.epoch, **losses, "dev": [asdict(s) for s in found]})
            if value > done.best_value:
                done.best_epoch, done.best_value = done.epoch, value
                done.best_weights = state.snapshot(self.model)
            state.save(folder, digest, done, *parts)
            if observer:
                observer.evaluated(done.epoch, value)
        self.model.load_state_dict(done.best_weights, strict=False)

    def _judged(self, found: list[Score]) -> float:
        """By what epochs are compared: the mean over the tasks of each one's own metric."""
        return float(np.nanmean([primary(task, found) for task in self.tasks]))

    def _epoch(
        self, epoch: int, report: Report | None, observer: Observer | None
    ) -> dict[str, float]:
        """Train one; the mean loss and, where it is part of that, the mean CKA over the steps."""
        self.model.train()
        total = torch.zeros((), device=self.accelerator.device)
        alignments: list[Tensor] = []
        metric = self.progress.best_value if self.progress.history else None
        for step, batch in enumerate(self._batches(epoch), start=1):
            with self.accelerator.autocast():
                out = self._forward(batch, self.train, self.aligned)
                loss = self._loss(out.logits or {}, batch["labels"])
                alignment = mean_cka(out.layer_cls) if out.layer_cls else None
                if alignment is not None:
                    loss = loss + self.plan.cka_loss * (1 - alignment)
                    alignments.append(alignment.detach())
            if not torch.isfinite(loss):
                raise InputError(
                    f"the loss is {loss.item()} in epoch {epoch}, step {step}",
                    where=f"training {self.plan.data}",
                    hint="Lower --learning-rate, or use --precision no.",
                )
            self.optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.model.parameters(), _GRADIENT_NORM)
            self.optimizer.step()
            self.schedule.step()
            total += loss.detach()
            if observer:
                observer.stepped(epoch, step, self.steps)
            if report:
                mean = float(total / step)
                report(Step(self.seed, epoch, self.plan.epochs, step, self.steps, mean, metric))
        losses = {"loss": float(total / self.steps)}
        if alignments:
            losses["cka"] = float(torch.stack(alignments).mean())
            log.info("seed %d, epoch %d: CKA %.3f", self.seed, epoch, losses["cka"])
        return losses

    def _loss(self, logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
        """The sum of the tasks' mean losses."""
        losses = [
            task_loss(task, logits[task.name], labels[task.name], self.weights[task.name])
            for task in self.tasks
        ]
        return torch.stack(losses).sum()

    def _batches(self, epoch: int) -> Iterator[dict[str, Any]]:
        """The epoch's batches in an order that depends on seed and epoch alone."""
        order = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        loader = DataLoader(
            self.train,
            batch_size=self.plan.batch_size,
            shuffle=True,
            generator=order,
            collate_fn=self.train.collate,
        )
        for batch in loader:
            yield _to(batch, self.accelerator.device)

    def evaluate(self, examples: Examples) -> list[Score]:
        """All metrics of all tasks on a split, without those that have no labels there."""
        self.model.eval()
        logits: dict[str, list[Tensor]] = {task.name: [] for task in self.tasks}
        with torch.inference_mode(), self.accelerator.autocast():
            for rows in _chunks(range(len(examples)), _EVALUATION_BATCH):
                batch = _to(examples.collate(rows), self.accelerator.device)
                for name, values in (self._forward(batch, examples).logits or {}).items():
                    logits[name].append(values.float().cpu())
        found = []
        for task in self.tasks:
            labels = examples.labels[task.name]
            have = known(task, labels)
            if have.any():
                said = torch.cat(logits[task.name])[have].numpy()
                found += scores(task, said, labels[have].numpy(), examples.split)
        return found

    def write(self, folder: Path) -> None:
        """The checkpoint: weights, configuration, tokenizer, scores, history."""
        if folder.exists():
            shutil.rmtree(folder)
        if self.plan.saved_precision == "float16":
            self._round_to_half()  # before scoring, so that the scores are of what is saved
        self.dev.frozen = {}  # the scores are of the weights as saved, all of them
        found = self.evaluate(self.dev)
        try:
            test = self.source.canonical("test")
        except InputError:
            log.info("%s has no test split: only dev is scored", self.source.name)
        else:
            found += self.evaluate(self._examples(test, None))
        self.model.to(getattr(torch, self.plan.saved_precision)).save_pretrained(folder)
        self.preprocessor.save(folder)
        _write_json(folder / "scores.json", [asdict(s) for s in found])
        _write_json(
            folder / "training.json",
            {
                "plan": asdict(self.plan),
                "seed": self.seed,
                "command": self.plan.command(self.seed),
                "best_epoch": self.progress.best_epoch,
                "history": self.progress.history,
            },
        )

    def _round_to_half(self) -> None:
        for name, values in self.model.state_dict().items():
            if values.is_floating_point():
                half = values.half()
                if not torch.isfinite(half).all():
                    raise InputError(
                        f"{name} has values beyond float16's range",
                        where="--saved-precision float16",
                        hint="Use --saved-precision float32.",
                    )
                values.copy_(half)


def _precision(name: str, device: torch.device) -> str:
    """``auto`` is bfloat16 where the GPU has it, float16 on older ones, full precision on a CPU."""
    if name != "auto":
        return name
    if device.type != "cuda":
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _to(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {
        part: {name: value.to(device, non_blocking=True) for name, value in values.items()}
        for part, values in batch.items()
    }


def _chunks(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
