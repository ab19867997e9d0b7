"""One trial of a search, as it is recorded, shown and printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from backend.models.placement import Placement

State = Literal["running", "done", "pruned", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a placement.

    ``dev`` has the score of each seed, in order, and is complete only where ``done``. ``epochs``
    are the first seed's best scores after each epoch, ``rungs`` the pruner's notes.
    """

    state: Literal["done", "pruned", "failed"]
    dev: tuple[float, ...] = ()
    test: tuple[float, ...] = ()
    epochs: tuple[float, ...] = ()
    rungs: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
    run_ids: tuple[str, ...] = ()

    @property
    def value(self) -> float | None:
        """What is maximised: the mean dev score over the seeds, of what was trained to its end."""
        return sum(self.dev) / len(self.dev) if self.state == "done" else None


@dataclass(frozen=True)
class Trial:
    """One suggestion. ``batch`` are those suggested together, ``copy_of`` an earlier equal one."""

    number: int
    batch: int
    placement: Placement
    params: Mapping[str, Any]
    state: State
    outcome: Outcome | None = None
    copy_of: int | None = None

    @property
    def value(self) -> float | None:
        """The mean dev score over the seeds; of a pruned one None."""
        return self.outcome.value if self.outcome else None

    @property
    def test(self) -> float | None:
        """The mean test score over the seeds, where there is a test split."""
        scores = self.outcome.test if self.outcome else ()
        return sum(scores) / len(scores) if scores else None

    @property
    def finished(self) -> bool:
        """Whether its outcome stands: it was trained or pruned."""
        return self.state in ("done", "pruned")
