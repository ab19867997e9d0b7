"""A contrastive model's space by layer: what there is to show and to choose on a page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from backend.figures.shared_space import SHARED_SCALES, Stop
from backend.store import query
from backend.store.kinds import SHARED_SPACE
from backend.store.query import Answer
from backend.store.source import Part, Source
from backend.views import questions
from backend.views.groups import RunGroup
from backend.views.questions import Member, Owned, Question, Table, asked
from backend.views.store_access import StoreView, opened

STOPS: dict[Stop, str] = {
    "vision": "the image stream",
    "text": "the text stream",
    "both": "both, at the same relative depth",
}
"""Which stream stops at the layer of the axis; the other one is at its last layer."""


@dataclass(frozen=True)
class SharedSpace(Question):
    """What runs were asked with the same prompts, with ``series``, ``label`` and ``seed``.

    ``estimator``: only the rows of this direction or task.
    """

    store: str
    members: tuple[Member, ...]
    tables: tuple[Owned, ...]
    estimator: str = ""

    def answer(self) -> Table:
        """See :class:`Question`."""

        def ask(source: Source) -> Answer:
            parts = [Part(table.owner, key) for table in self.tables for key in table.keys]
            return query.every_row(source, SHARED_SPACE, parts)

        table = asked(self.store, ask, self.members)
        if not self.estimator or table.frame.empty:
            return table
        mine = table.frame["estimator"].eq(self.estimator)
        return Table(table.frame[mine].reset_index(drop=True), table.problems)


@dataclass(frozen=True)
class Choices:
    """What the rows hold: tasks with class prompts, and the measures in their order."""

    measures: tuple[str, ...]
    tasks: tuple[str, ...]


def keys_held(store: StoreView, groups: Sequence[RunGroup]) -> tuple[str, ...]:
    """The keys of everything that the groups' runs were asked."""
    members = questions.members_of(groups)
    keys = (questions.keys_of(store, SHARED_SPACE, member.run_id) for member in members)
    return tuple(dict.fromkeys(key for own in keys for key in own))


def templates_of(rows: pd.DataFrame) -> tuple[str, ...]:
    """The prompt templates that runs were asked with under one key."""
    params = json.loads(rows["params"].iloc[0]) if len(rows) else {}
    return tuple(map(str, params.get("templates", ())))


def shared_space(store: StoreView, groups: Sequence[RunGroup], key: str) -> SharedSpace:
    """The rows of one key in all runs of the groups."""
    members = questions.members_of(groups)
    source = opened(store.path).source
    tables = tuple(
        Owned(
            run_id,
            source.version(run_id),
            tuple(one for one in questions.keys_of(store, SHARED_SPACE, run_id) if one == key),
        )
        for run_id in dict.fromkeys(member.run_id for member in members)
    )
    return SharedSpace(store.path, members, tables)


def choices_of(rows: pd.DataFrame) -> Choices:
    """What of the rows can be shown."""
    held = set(rows["measure"].unique())
    of_tasks = rows[rows["measure"].eq("zero_shot")]["estimator"]
    return Choices(
        tuple(name for name in SHARED_SCALES if name in held),
        tuple(map(str, dict.fromkeys(of_tasks))),
    )


def panels_of(
    measure: str, tasks: Sequence[str], gallery: tuple[str, str]
) -> list[tuple[str, str]]:
    """(words, estimator) of each figure of a measure: a task, or a direction of a search."""
    if measure == "zero_shot":
        return [(task, task) for task in tasks]
    if not SHARED_SCALES[measure].searches:
        return [("", "sample")]
    one, other = gallery
    return [(f"{a} to {b}", f"{a}_to_{b}") for a, b in ((one, other), (other, one))]


def is_contrastive(groups: Sequence[RunGroup]) -> bool:
    """Whether any of the groups' models compares its streams in the loss."""
    specs = (spec for group in groups for spec in group.series.streams)
    return any(meet.how == "loss" for spec in specs for meet in spec.meets)


def shared_space_command(store: str) -> str:
    """What asks the runs of a store."""
    return shlex.join(["fusionscope", "shared-space", "--store", store])
