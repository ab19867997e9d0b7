"""When a trial is given up: its dev score after an epoch beside that of the trials before it.

Scores are the best so far, which is what the trial would get if it ended there. A trial is only
compared with trials that were finished before its batch began, so that the decision is the same
however often the search was interrupted, and only by its first seed, which is the same for all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.search.sampling import in_memory
from backend.store.files import published
from backend.train.observe import TrainingStopped

if TYPE_CHECKING:
    import torch
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

    from backend.models.dual_stream.model import FusionModel
    from backend.models.dual_stream.preprocess import Preprocessor
    from backend.train.examples import Examples

_COMPARED = 5  # finished trials before the median is one
_EARLIEST = 2  # in the first epoch the learning rate is still warming up
_HALVING = 2


@dataclass(frozen=True)
class Epochs:
    """The dev scores of one training so far.

    ``best`` has the best score after each epoch, from 1. ``rungs`` are what successive halving
    notes of the trial; ``stopped`` says why it was pruned.
    """

    best: tuple[float, ...] = ()
    rungs: Mapping[str, float] = field(default_factory=dict)
    stopped: str = ""


def read_epochs(path: Path) -> Epochs:
    """What a training left; nothing where it has not finished an epoch."""
    if not path.is_file():
        return Epochs()
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Epochs(tuple(content["best"]), content["rungs"], content["stopped"])


class Pruning:
    """Observes one training, keeps its dev scores in ``path`` and ends it if ``pruner`` says so.

    ``before`` are the trials that it is compared with; ``epochs`` how many it would have.
    """

    def __init__(self, pruner: str, epochs: int, before: Sequence[FrozenTrial], path: Path) -> None:
        self._pruner, self._epochs, self._before, self._path = pruner, epochs, before, path
        self._best: list[float] = []

    def begin(
        self,
        model: FusionModel,
        preprocessor: Preprocessor,
        dev: Examples,
        device: torch.device,
        folder: Path,
        epoch: int,
    ) -> None:
        """All finished epochs will be told again."""
        self._best = []

    def stepped(self, epoch: int, step: int, steps: int) -> None:
        """Nothing: it is about epochs."""

    def evaluated(self, epoch: int, score: float) -> None:
        """Note the score; TrainingStopped where the trial is behind."""
        self._best.append(float(np.fmax(score, self._best[-1])) if self._best else score)
        stopped, rungs = "", dict[str, float]()
        if epoch < self._epochs:  # after the last one there is nothing to save
            stopped, rungs = judge(self._pruner, self._epochs, self._before, self._best)
        epochs = Epochs(tuple(self._best), rungs, stopped)
        with published(self._path, replace=True) as temporary:
            temporary.write_text(json.dumps(asdict(epochs)) + "\n", encoding="utf-8")
        if stopped:
            raise TrainingStopped(stopped)

    def finish(self, checkpoint: Path) -> None:
        """Nothing: the scores lie beside the search's record."""


def judge(
    pruner: str, epochs: int, before: Sequence[FrozenTrial], best: Sequence[float]
) -> tuple[str, dict[str, float]]:
    """(why a trial with these scores is given up, or ""; the notes of successive halving).

    ``pruner`` is ``median``, ``halving`` or ``none``; ``best`` has a score an epoch.
    """
    made = _pruner(pruner, epochs)
    if made is None:
        return "", {}
    study = in_memory(before)
    study.pruner = made
    trial = study.ask()
    pruned = False
    for epoch, value in enumerate(best, start=1):
        trial.report(value, epoch)
        pruned = trial.should_prune()  # halving makes its notes here, epoch by epoch
    notes = study.trials[-1].system_attrs
    rungs = {key: float(value) for key, value in notes.items() if key.startswith("completed_rung")}
    return (_reason(pruner, before, best) if pruned else ""), rungs


def _pruner(name: str, epochs: int) -> BasePruner | None:
    from optuna.pruners import MedianPruner, SuccessiveHalvingPruner

    if name == "median":
        return MedianPruner(n_startup_trials=_COMPARED, n_warmup_steps=_EARLIEST)
    if name == "halving":  # after a quarter and half of the epochs, half of the trials go on
        return SuccessiveHalvingPruner(
            min_resource=max(1, math.ceil(epochs / 4)), reduction_factor=_HALVING
        )
    return None


def _reason(pruner: str, before: Sequence[FrozenTrial], best: Sequence[float]) -> str:
    epoch, value = len(best), best[-1]
    words = f"dev {value:.3f} after epoch {epoch}"
    rivals = [t.intermediate_values[epoch] for t in before if epoch in t.intermediate_values]
    if math.isnan(value):
        return f"no dev score after epoch {epoch}"
    if pruner == "median":
        from optuna.trial import TrialState

        whole = [
            t.intermediate_values[epoch]
            for t in before
            if t.state == TrialState.COMPLETE and epoch in t.intermediate_values
        ]
        return f"{words} is below the median of {len(whole)} trials, {np.nanmedian(whole):.3f}"
    return f"{words} is not in the upper half of {len(rivals) + 1} trials"
