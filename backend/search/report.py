"""What a search says at its end: the best placements, and how far to trust them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from backend.search.plan import SearchPlan
from backend.search.trial import Trial
from backend.words import counted

_NEW_SEEDS = 3


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The placements that were trained to their end, each once, the best dev score first."""
    done = [one for one in trials if one.value is not None and one.copy_of is None]
    return sorted(done, key=lambda one: (-(one.value or 0.0), one.number))


def spread(trials: Sequence[Trial]) -> float:
    """The standard deviation between seeds of one placement, pooled; NaN with one seed each."""
    several = [
        np.var(one.outcome.dev, ddof=1)
        for one in ranked(trials)
        if one.outcome and len(one.outcome.dev) > 1
    ]
    return float(np.sqrt(np.mean(several))) if several else math.nan


def cautions(plan: SearchPlan, trials: Sequence[Trial], study: str) -> list[str]:
    """Sentences about what the ranking does and does not show; ``study`` is the file's path."""
    best = ranked(trials)
    if not best:
        return []
    sentences = [
        f"The first was chosen for being the best of {counted(len(best), 'placement')} on dev, so "
        "its dev score is optimistic. Test scores are shown only: none was used to choose."
    ]
    sd, seeds = spread(trials), len(plan.seeds)
    if math.isnan(sd):
        sentences.append(
            "Each placement was trained with one seed: differences no larger than those between "
            "seeds mean little."
        )
    else:
        apart = 2 * sd * math.sqrt(2 / seeds)
        top = best[0].value or 0.0
        near = sum(1 for one in best[1:] if top - (one.value or 0.0) < apart)
        sentences.append(
            f"Between seeds a placement's dev score varies by {sd:.3f} (sd). Means of "
            f"{counted(seeds, 'seed')} that differ by less than {apart:.3f} are not told apart: "
            f"{counted(near, 'other placement')} this near to the first."
        )
    sentences.append(
        f"To compare it with seeds that the search has not used: {_command(plan, best[0], study)}"
    )
    return sentences


def as_json(plan: SearchPlan, trials: Sequence[Trial], study: str) -> dict[str, Any]:
    """The search of one dataset for a script."""
    return {
        "dataset": plan.dataset,
        "seeds": list(plan.seeds),
        "placements_possible": plan.space.size,
        "record": str(plan.folder),
        "best": [one.number for one in ranked(trials)],
        "trials": [_row(one) for one in trials],
        "cautions": cautions(plan, trials, study),
    }


def _row(one: Trial) -> dict[str, Any]:
    outcome = one.outcome
    return {
        "trial": one.number,
        "placement": one.placement.name,
        "text": list(one.placement.text),
        "vision": list(one.placement.vision),
        "state": one.state,
        "dev": one.value,
        "test": one.test,
        "dev_by_seed": list(outcome.dev) if outcome else [],
        "epochs": list(outcome.epochs) if outcome else [],
        "copy_of": one.copy_of,
        "runs": list(outcome.run_ids) if outcome else [],
        "seconds": outcome.seconds if outcome else 0.0,
        "reason": outcome.reason if outcome else "",
    }


def _command(plan: SearchPlan, best: Trial, study: str) -> str:
    names = dict.fromkeys([best.placement.written, *plan.cells.study.placements])
    placements = ", ".join(f'"{name}"' for name in names)
    after = max(plan.seeds) + 1
    seeds = ", ".join(str(after + i) for i in range(_NEW_SEEDS))
    return shlex.join(
        [
            *("fusionscope", "sweep", study),
            *("--set", f"placements=[{placements}]"),
            *("--set", f"seeds=[{seeds}]"),
        ]
    )
