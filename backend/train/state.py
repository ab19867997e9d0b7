"""Training state on disk: written whole or not at all, so that a killed training goes on.

The file is torch's own format and is only ever read with ``weights_only=True``, from the directory
that this training wrote it to.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from backend.train.compute import Compute

log = logging.getLogger(__name__)

_FILE = "state.pt"


@dataclass
class TrainingState:
    """How far a training is. ``epoch`` epochs are finished; ``history`` has one row for each."""

    epoch: int
    best_epoch: int
    best_value: float
    history: list[dict[str, Any]]
    best_weights: dict[str, Tensor]

    @classmethod
    def fresh(cls) -> TrainingState:
        """Nothing trained yet."""
        return cls(0, 0, float("-inf"), [], {})


def save(
    folder: Path,
    digest: str,
    progress: TrainingState,
    model: nn.Module,
    optimizer: Optimizer,
    schedule: LRScheduler,
    compute: Compute,
) -> None:
    """Write everything that the next epoch depends on."""
    on_gpu = compute.device.type == "cuda"
    content = {
        "digest": digest,
        "progress": vars(progress),
        "trainable": _trainable(model),
        "parameters": _in_groups(model, optimizer),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "scale": compute.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(compute.device) if on_gpu else None,
    }
    temporary = folder / f".{_FILE}.tmp"
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / _FILE)
    finally:
        temporary.unlink(missing_ok=True)  # where it found the disk full it takes what is left


def load(
    folder: Path,
    digest: str,
    model: nn.Module,
    optimizer: Optimizer,
    schedule: LRScheduler,
    compute: Compute,
) -> TrainingState:
    """Restore the last finished epoch; a fresh start if there is none or it is of another plan.

    So it is where the optimizer's parameters have other names or another order now: its state goes
    by their place.
    """
    path = folder / _FILE
    if not path.is_file():
        return TrainingState.fresh()
    content = torch.load(path, weights_only=True, map_location="cpu")
    if content["digest"] != digest:
        log.warning(
            "the unfinished training in %s had other options or data: starting afresh", folder
        )
        return TrainingState.fresh()
    if content.get("parameters") != _in_groups(model, optimizer):
        log.warning(
            "the unfinished training in %s is of another version of the program, which had other "
            "parameters: starting afresh",
            folder,
        )
        return TrainingState.fresh()
    model.load_state_dict(content["trainable"], strict=False)
    optimizer.load_state_dict(content["optimizer"])
    schedule.load_state_dict(content["schedule"])
    compute.load_state_dict(content.get("scale", {}))
    torch.set_rng_state(content["rng"])
    if content["cuda_rng"] is not None and compute.device.type == "cuda":
        torch.cuda.set_rng_state(content["cuda_rng"], compute.device)
    return TrainingState(**content["progress"])


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy on the CPU of the weights that training changes."""
    return {name: value.detach().cpu().clone() for name, value in _trainable(model).items()}


def _in_groups(model: nn.Module, optimizer: Optimizer) -> list[list[str]]:
    """The names of the parameters in each of the optimizer's groups, in its order."""
    names = {id(value): name for name, value in model.named_parameters()}
    return [[names[id(value)] for value in group["params"]] for group in optimizer.param_groups]


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    """Frozen weights stay as they were built: saving them every epoch would only cost time."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
