"""How something can look at a training while it goes on, without changing it, or end it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from backend.models.dual_stream.model import FusionModel
    from backend.models.dual_stream.preprocess import Preprocessor
    from backend.train.examples import Examples


class TrainingStopped(Exception):  # noqa: N818 -- nothing went wrong
    """Raised by an observer that wants no more of this training; its words say why."""


class Observer(Protocol):
    """Told of a training's steps. It must leave weights, modes and random states as they are."""

    def begin(
        self,
        model: FusionModel,
        preprocessor: Preprocessor,
        dev: Examples,
        device: torch.device,
        folder: Path,
        epoch: int,
    ) -> None:
        """Training starts or, with ``epoch`` > 0, goes on after that many finished epochs.

        ``folder`` keeps files until the training is finished; what lies there of later epochs is
        of a training that was killed, and will come again.
        """
        ...

    def stepped(self, epoch: int, step: int, steps: int) -> None:
        """Step ``step`` of ``steps`` of ``epoch`` (both from 1) has changed the weights."""
        ...

    def evaluated(self, epoch: int, score: float) -> None:
        """``epoch`` (from 1) is finished and saved; ``score`` is by what epochs are chosen.

        That is the mean over the tasks of each one's own metric on dev, NaN where no task has one.
        A training that goes on first tells of every epoch that was finished before. Whoever raises
        :class:`TrainingStopped` here ends the training, whose state stays as of this epoch.
        """
        ...

    def finish(self, checkpoint: Path) -> None:
        """Training is over: put what is to be kept into the checkpoint's directory."""
        ...


@dataclass(frozen=True)
class Observers:
    """Several observers as one, told in this order."""

    each: Sequence[Observer]

    def begin(
        self,
        model: FusionModel,
        preprocessor: Preprocessor,
        dev: Examples,
        device: torch.device,
        folder: Path,
        epoch: int,
    ) -> None:
        """Tell them."""
        for one in self.each:
            one.begin(model, preprocessor, dev, device, folder, epoch)

    def stepped(self, epoch: int, step: int, steps: int) -> None:
        """Tell them."""
        for one in self.each:
            one.stepped(epoch, step, steps)

    def evaluated(self, epoch: int, score: float) -> None:
        """Tell them."""
        for one in self.each:
            one.evaluated(epoch, score)

    def finish(self, checkpoint: Path) -> None:
        """Tell them."""
        for one in self.each:
            one.finish(checkpoint)
