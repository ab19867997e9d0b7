"""How something can look at a training while it goes on, without changing it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch

from backend.models.fusion import FusionModel
from backend.models.preprocess import Preprocessor
from backend.train.examples import Examples


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

    def finish(self, checkpoint: Path) -> None:
        """Training is over: put what is to be kept into the checkpoint's directory."""
        ...
