"""How an autoencoder is trained: every choice, as a value that is written beside the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backend.errors import InputError

Kind = Literal["topk", "jumprelu"]


@dataclass(frozen=True)
class Recipe:
    """``kind`` TopK (Gao et al. 2024) or JumpReLU (Rajamanoharan et al. 2024).

    ``features`` is the width, ``k`` how many are on in a row (JumpReLU: on average, as it is driven
    to). Adam with ``learning_rate``, warmed up over the first 5 % of ``steps`` and brought to 0
    over the last 20 %, ``batch`` rows a step. A feature is dead that was on in none of the last
    ``dead_after`` rows; TopK lets dead ones learn what is left over (weight ``auxiliary``).
    JumpReLU's ``sparsity`` weighs (mean L0 / k - 1)^2 against the unexplained variance; its
    thresholds learn through a rectangle of width ``bandwidth``, in units of activations that
    were scaled to a mean squared distance of d from their mean.
    """

    kind: Kind = "topk"
    features: int = 4096
    k: int = 32
    steps: int = 5000
    batch: int = 1024
    learning_rate: float = 4e-4
    auxiliary: float = 1 / 32
    sparsity: float = 1.0
    bandwidth: float = 0.5
    dead_after: int = 500_000
    seed: int = 0

    def check(self, rows: int, d: int) -> None:
        """InputError for what cannot be trained on ``rows`` activations of width ``d``."""
        if not 1 <= self.k <= self.features:
            raise InputError(
                f"{self.k:,} of {self.features:,} features cannot be on at once", field="k"
            )
        if rows < self.batch:
            raise InputError(
                f"{rows:,} activations are fewer than one batch of {self.batch:,}",
                hint="Capture more samples, or use a smaller batch.",
            )
        if d < 2:
            raise InputError(f"activations of width {d} have no sparse code")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm, last = max(1, self.steps // 20), max(1, self.steps // 5)
        return self.learning_rate * min(1.0, (step + 1) / warm, (self.steps - step) / last)
