"""The loop that every training runs: AdamW, warm-up and cosine, resumable by epoch.

A training is a subclass of :class:`Engine`: what a batch costs, how good the model is after an
epoch, and what is written at the end.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from backend.disk import writing
from backend.errors import InputError
from backend.models.devices import choose_device
from backend.progress import SILENT, Progress
from backend.train import state
from backend.train.compute import Compute
from backend.train.observe import Observer

log = logging.getLogger(__name__)

_GRADIENT_NORM = 1.0


def checkpoint_dir(out: Path, seed: int) -> Path:
    """Where the finished checkpoint of a seed is."""
    return out / f"seed-{seed}"


class Steps(Protocol):
    """What the loop reads of a recipe; see :class:`backend.train.recipe.Recipe`."""

    @property
    def data(self) -> str: ...  # noqa: D102
    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def accumulate(self) -> int: ...  # noqa: D102
    @property
    def rate(self) -> float: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102
    @property
    def warmup(self) -> float: ...  # noqa: D102
    @property
    def final_rate(self) -> float: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def precision(self) -> str: ...  # noqa: D102

    def check(self) -> None: ...  # noqa: D102
    def command(self, seed: int) -> str: ...  # noqa: D102


class Split(Dataset[int], ABC):
    """Samples of a split: items are their indices, :meth:`collate` makes a batch of them."""

    @abstractmethod
    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, index: int) -> int:
        return index

    @abstractmethod
    def collate(self, indices: Sequence[int]) -> dict[str, Any]:
        """{part: {name: tensor}} of some samples."""

    @abstractmethod
    def digest(self) -> str:
        """Identifies the samples in their order."""


class Engine(ABC):
    """One seed of a recipe. A subclass sets ``train`` and ``dev`` in its constructor and then
    calls :meth:`prepare`.
    """

    train: Split
    dev: Split

    def __init__(self, recipe: Steps, seed: int) -> None:
        recipe.check()
        self.recipe, self.seed = recipe, seed
        self.compute = Compute(choose_device(recipe.device), recipe.precision)
        self.state = state.TrainingState.fresh()

    def prepare(self, identity: str, module: nn.Module) -> None:
        """Make the optimiser of ``module``, which is all that is trained.

        An unfinished training of another ``identity`` is not taken up.
        """
        recipe = self.recipe
        self.identity, self.module = identity, module
        trainable = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = AdamW(trainable, lr=recipe.rate, weight_decay=recipe.weight_decay)
        self.batches = math.ceil(len(self.train) / recipe.batch_size)
        self.steps = math.ceil(self.batches / recipe.accumulate)
        self.schedule = LambdaLR(self.optimizer, self._rate)
        module.to(self.compute.device)

    @abstractmethod
    def loss(self, batch: dict[str, Any]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of a training batch, and parts of it whose means go into the history."""

    @abstractmethod
    def assess(self) -> dict[str, Any]:
        """How the model does after an epoch: what the history keeps of that."""

    @abstractmethod
    def score_of(self, row: Mapping[str, Any]) -> float:
        """By what epochs are compared, more is better, from a row of the history."""

    @abstractmethod
    def enough(self) -> bool:
        """Whether to stop before the epochs are over."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Put the checkpoint into ``folder``."""

    def begin(self, observer: Observer, folder: Path, epoch: int) -> None:
        """Show the training to an observer before it goes on after ``epoch`` epochs."""
        raise NotImplementedError(f"{type(self).__name__} cannot be observed")

    def best_told(self) -> str:
        """The best value so far for people; "" where epochs have no score to be shown."""
        return f"best dev {self.state.best_value:.3f}"

    def _rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to ``final_rate`` of the learning rate."""
        recipe = self.recipe
        total = recipe.epochs * self.steps
        warm = max(1, round(recipe.warmup * total))
        if step < warm:
            return (step + 1) / warm
        fallen = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))
        return recipe.final_rate + (1 - recipe.final_rate) * fallen

    def run(
        self, folder: Path, progress: Progress = SILENT, observer: Observer | None = None
    ) -> None:
        """Train until the epochs are over or it is enough, and leave the best weights in place.

        Goes on from the state in ``folder`` and leaves it there after every epoch.
        """
        parts = (self.module, self.optimizer, self.schedule, self.compute)
        # Of the same samples, too: the data may have changed since, or been read while it vanished.
        samples = f"{self.identity} {self.train.digest()} {self.dev.digest()}"
        done = self.state = state.load(folder, samples, *parts)
        if observer:
            self.begin(observer, folder, done.epoch)
            for row in done.history:
                observer.evaluated(row["epoch"], self.score_of(row))
        while done.epoch < self.recipe.epochs and not self.enough():
            means = self._epoch(done.epoch + 1, progress, observer)
            done.epoch += 1
            done.history.append({"epoch": done.epoch, **means, **self.assess()})
            value = self.score_of(done.history[-1])
            if value > done.best_value:
                done.best_epoch, done.best_value = done.epoch, value
                done.best_weights = state.snapshot(self.module)
            state.save(folder, samples, done, *parts)
            if observer:
                observer.evaluated(done.epoch, value)
        self.module.load_state_dict(done.best_weights, strict=False)

    def _epoch(self, epoch: int, progress: Progress, observer: Observer | None) -> dict[str, float]:
        """Train one; the means over the batches of the loss and of its parts that were given."""
        self.module.train()
        total = torch.zeros((), device=self.compute.device)
        values_of: dict[str, list[Tensor]] = {}
        for at, batch in enumerate(self._batches(epoch), start=1):
            with self.compute.autocast():
                loss, parts = self.loss(batch)
            if not torch.isfinite(loss):
                raise InputError(
                    f"the loss is {loss.item()} in epoch {epoch}, batch {at}",
                    where=f"training {self.recipe.data}",
                    hint="Lower `learning_rate`, or use `precision` no.",
                )
            self._learn(loss, at, epoch, observer)
            total += loss.detach()
            for name, value in parts.items():
                values_of.setdefault(name, []).append(value.detach())
            progress.advance(
                (epoch - 1) * self.batches + at,
                self.recipe.epochs * self.batches,
                self._told(epoch, float(total / at)),
            )
        means = {name: float(torch.stack(values).mean()) for name, values in values_of.items()}
        for name, mean in means.items():
            log.info("seed %d, epoch %d: %s %.3f", self.seed, epoch, name, mean)
        return {"loss": float(total / self.batches), **means}

    def _told(self, epoch: int, loss: float) -> str:
        """What a person wants to see of a training while it goes on."""
        words = f"epoch {epoch}/{self.recipe.epochs}, loss {loss:.3f}"
        best = self.best_told() if self.state.history else ""
        return f"{words}, {best}" if best else words

    def _learn(self, loss: Tensor, at: int, epoch: int, observer: Observer | None) -> None:
        """Add the gradient of batch ``at`` (from 1), and make a step once there are enough."""
        group = self.recipe.accumulate
        first = (at - 1) // group * group + 1
        together = min(group, self.batches - first + 1)
        if at == first:
            self.optimizer.zero_grad(set_to_none=True)
        self.compute.backward(loss if together == 1 else loss / together)
        if at < first + together - 1:
            return
        if self.compute.step(self.optimizer, self.module.parameters(), _GRADIENT_NORM):
            self.schedule.step()
        if observer:
            observer.stepped(epoch, (at - 1) // group + 1, self.steps)

    def _batches(self, epoch: int) -> Iterator[dict[str, Any]]:
        """The epoch's batches in an order that depends on seed and epoch alone."""
        order = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        loader = DataLoader(
            self.train,
            batch_size=self.recipe.batch_size,
            shuffle=True,
            generator=order,
            collate_fn=self.train.collate,
        )
        for batch in loader:
            yield to_device(batch, self.compute.device)

    def history(self) -> dict[str, Any]:
        """What the checkpoint says of its training, beside the recipe."""
        return {
            "seed": self.seed,
            "command": self.recipe.command(self.seed),
            "best_epoch": self.state.best_epoch,
            "history": self.state.history,
        }


def run_in(
    out: Path,
    engine: Engine,
    progress: Progress = SILENT,
    observer: Observer | None = None,
    before: Callable[[Path], None] | None = None,
) -> Path:
    """Run a training to its checkpoint ``out/seed-N``, which appears once it is finished.

    Until then its state is in a hidden directory beside it, from which the next call goes on after
    the last finished epoch with the same result as an uninterrupted one. ``before`` is called with
    that directory once it is ours. InputError, among others, where the disk is full.
    """
    partial = out / f".seed-{engine.seed}.partial"
    with writing(out, "Make room and give the command again: it goes on after the last epoch."):
        partial.mkdir(parents=True, exist_ok=True)
        return _run_in(
            partial, checkpoint_dir(out, engine.seed), engine, progress, observer, before
        )


def _run_in(
    partial: Path,
    final: Path,
    engine: Engine,
    progress: Progress,
    observer: Observer | None,
    before: Callable[[Path], None] | None,
) -> Path:
    lock = FileLock(partial / "lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError("is being trained by another process", where=str(final)) from error
    with held:
        if final.exists():  # made by another process since the caller looked
            shutil.rmtree(partial)
            return finished(final, engine.identity) or final
        if before:
            before(partial)
        engine.run(partial, progress, observer)
        result = partial / "result"
        if result.exists():
            shutil.rmtree(result)
        engine.write(result)
        if observer:
            observer.finish(result)
        result.rename(final)
    shutil.rmtree(partial)
    return final


def finished(final: Path, identity: str) -> Path | None:
    """The checkpoint if it is there; InputError if it is of another ``identity``."""
    if not final.exists():
        return None
    try:
        config = json.loads((final / "config.json").read_text(encoding="utf-8"))
        same = config["trained_on"]["plan"] == identity
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise InputError(
            "already exists, from other options", where=str(final), hint="Choose another `out`."
        )
    _clear(final.with_name(f".{final.name}.partial"))
    return final


def _clear(partial: Path) -> None:
    """Remove what a training that was killed at its very end had no time to remove."""
    if not partial.is_dir():
        return
    try:
        with FileLock(partial / "lock", timeout=0):
            shutil.rmtree(partial)
    except Timeout:
        log.debug("%s is still being cleared by another process", partial)


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A collated batch with its tensors on ``device``."""
    return {
        part: {name: value.to(device, non_blocking=True) for name, value in values.items()}
        for part, values in batch.items()
    }


def write_json(path: Path, content: object) -> None:
    """Indented, with a newline at its end."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
