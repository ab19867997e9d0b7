"""A run's scores, and which of them speak for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Score(NamedTuple):
    """One number of a run's scores."""

    task: str
    metric: str
    split: str
    value: float


def own_scores(scores: Sequence[Score], split: str) -> tuple[Score, ...]:
    """Scores on the run's own ``split`` (else "test", else the last one)."""
    splits = list(dict.fromkeys(score.split for score in scores))
    preferred = [name for name in (split, "test") if name in splits] or splits[-1:]
    return tuple(score for score in scores if score.split in preferred[:1])


def summary(scores: Iterable[Score]) -> dict[str, float]:
    """{metric: value}; ``task.metric`` where there are several tasks."""
    own = tuple(scores)
    several = len({score.task for score in own}) > 1
    return {f"{s.task}.{s.metric}" if several else s.metric: s.value for s in own}
