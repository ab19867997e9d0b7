"""What to try next. A suggestion depends on the trials before it and the search's seed alone.

An optimiser that lives as long as a process would suggest something else after a restart. Here each
suggestion has an optimiser of its own, seeded by the search's seed and the trial's number, that is
shown the earlier trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.search.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial

STARTUP = 10
"""So many trials are random before TPE begins to learn from them."""


def suggest(space: Space, sampler: str, seed: int, before: Sequence[FrozenTrial]) -> dict[str, Any]:
    """The parameters of trial ``len(before)``, a point of ``space``.

    ``sampler`` is ``tpe`` or ``random``. Of trials that still run TPE knows where they are, and
    keeps away from them.
    """
    mixed = int(np.random.SeedSequence([seed, len(before)]).generate_state(1)[0])
    study = in_memory(before, _sampler(sampler, mixed))
    return study.ask(space.distributions()).params


def in_memory(trials: Sequence[FrozenTrial], sampler: BaseSampler | None = None) -> Study:
    """A study that holds these trials and is forgotten."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(trials)
    return study


def _sampler(name: str, seed: int) -> BaseSampler:
    from optuna.samplers import RandomSampler, TPESampler

    if name == "random":
        return RandomSampler(seed)
    return TPESampler(seed=seed, multivariate=True, n_startup_trials=STARTUP)
