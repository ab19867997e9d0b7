"""What placements lack for verdicts on the Study page, and the commands that make it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from backend.store.commands import train_command
from backend.store.kinds import PREDICTIONS
from backend.views import questions
from backend.views.groups import RunGroup
from backend.views.store_access import StoreView
from backend.words import counted, listed

MORE_SEEDS = 2
"""Seeds that are offered beside a lone one: three give an interval that is worth reading."""


@dataclass(frozen=True)
class Need:
    """What cannot be asked and what would make it possible, in words and as command lines."""

    sentence: str
    commands: tuple[str, ...]


def needs_of(store: StoreView, placed: Sequence[RunGroup]) -> tuple[Need, ...]:
    """Of groups that were trained here: placements with one seed, runs without predictions."""
    return tuple(need for need in (_seeds(placed), _predictions(store, placed)) if need)


def _seeds(placed: Sequence[RunGroup]) -> Need | None:
    lone = [group for group in placed if len({run.seed for run in group.runs}) == 1]
    commands = dict.fromkeys(_more_seeds(group) for group in lone)
    if not lone:
        return None
    names = listed(group.label for group in lone)
    have = "have one seed each" if len(lone) > 1 else "has one seed"
    return Need(
        f"{names} {have}, so how much trainings differ by chance is not known, and nothing about "
        "it is judged. More seeds, captured and measured as the first, make verdicts possible.",
        tuple(filter(None, commands)),
    )


def _more_seeds(group: RunGroup) -> str:
    """The command that trained the group's first run, with the next seeds."""
    first = group.runs[0]
    words = shlex.split(train_command(first.manifest))
    start = (first.seed or 0) + 1
    seeds = ",".join(str(start + at) for at in range(MORE_SEEDS))
    if "--seeds" in words[:-1]:
        words[words.index("--seeds") + 1] = seeds
    elif words:
        words += ["--seeds", seeds]
    return shlex.join(words)


def _predictions(store: StoreView, placed: Sequence[RunGroup]) -> Need | None:
    runs = [run for group in placed for run in group.runs if run.scores]
    lacking = [run for run in runs if not questions.keys_of(store, PREDICTIONS, run.run_id)]
    if not lacking:
        return None
    others = f" and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
    return Need(
        f"{counted(len(lacking), 'run')} without predictions ({lacking[0].run_id}{others}): "
        "differences of scores hold for these test samples, and whether they would for others "
        "cannot be asked. Training keeps predictions now: train into a new folder and capture "
        "again.",
        tuple(dict.fromkeys(train_command(run.manifest) for run in lacking)),
    )
