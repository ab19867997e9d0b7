"""Whether a model says more of its image than of another one: the loss by true and by others'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backend.interventions.partners import derangement
from backend.measures.chance.ratios import ratio

_SEED = 0

Losses = Callable[[np.ndarray | None], tuple[np.ndarray, np.ndarray]]
"""(n,) whose image each sample is given (None: its own) -> (n,) summed losses, (n,) tokens."""


@dataclass(frozen=True)
class Seeing:
    """Mean loss of an answer token (nats) of n samples by their own and by another's image.

    ``difference`` (shuffled less true) with its 95 % interval, over groups of samples that belong
    together: above 0 where an answer is likelier by its own image. ``share`` of the samples for
    which it is.
    """

    n: int
    groups: int
    true: float
    shuffled: float
    difference: float
    low: float
    high: float
    share: float

    @property
    def sentence(self) -> str:
        """For people."""
        verdict = (
            "answers are likelier by their own image"
            if self.low > 0
            else "no image is told from another"
            if self.high >= 0
            else "answers are likelier by another image"
        )
        return (
            f"loss by the true image {self.true:.4f}, by another's {self.shuffled:.4f}: "
            f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}] nats a token "
            f"(95 %, n = {self.n:,} in {self.groups:,} groups; lower for {self.share:.0%}): "
            f"{verdict}"
        )


def compared(groups: np.ndarray, losses: Losses) -> Seeing:
    """Measure it; nobody is given an image of the own group.

    The difference of two ratios (loss over tokens) has the same tokens below, so it is a ratio
    itself (:func:`backend.measures.chance.ratios.ratio`). InputError where there are too few
    groups.
    """
    n = len(groups)
    true, tokens = losses(None)
    shuffled, _ = losses(derangement(n, _SEED, groups.tolist()))
    told = ratio(shuffled - true, tokens, groups)
    return Seeing(
        n,
        told.groups,
        float(true.sum() / tokens.sum()),
        float(shuffled.sum() / tokens.sum()),
        told.value,
        told.low,
        told.high,
        float((shuffled > true).mean()),
    )
