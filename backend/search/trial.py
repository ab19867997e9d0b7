"""One trial of a search, as it is recorded, shown and printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from backend.models.placement import Placement
from backend.progress import Progress

if TYPE_CHECKING:
    from backend.sweep.run import CellState

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


@dataclass
class SearchState:
    """How far a search is, for whoever shows it.

    ``cells`` are what runs now, ``scores`` {placement: its first seed's best dev score so far}.
    """

    wanted: int = 0
    trials: Sequence[Trial] = ()
    cells: Sequence[CellState] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def over(self) -> int:
        """How many trials have ended."""
        return sum(one.state != "running" for one in self.trials)

    def tell(self, progress: Progress) -> None:
        """Say how many of the trials are over."""
        progress.advance(self.over, self.wanted)
