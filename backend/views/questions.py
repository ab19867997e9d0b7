"""Questions of the pages as values: which rows, of which tables, and how they are called.

A question says by name every table that can hold its answer, with the version of the run that it
belongs to. Tables are written once, so two questions that are equal have the same answer, and
whatever is computed from answers may be kept under the questions alone: a run that appears, or a
measure that is added elsewhere, leaves them as they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from backend.errors import InputError
from backend.measures.suite.parts import is_current, may_hold, measures_of, pooling_of, preset_of
from backend.store import query, tables
from backend.store.index import Entry
from backend.store.kinds import (
    COMPARISONS,
    MEASURES,
    NEIGHBOURS,
    PROJECTIONS,
    REFITS,
    TRAINING_MEASURES,
    Kind,
)
from backend.store.query import Answer
from backend.store.source import Part, Source
from backend.types import LayerRef
from backend.views.groups import RunGroup
from backend.views.store_access import StoreView, opened

Built = TypeVar("Built")


@dataclass(frozen=True)
class Table:
    """Rows, and one line for everything that could not be read."""

    frame: pd.DataFrame
    problems: tuple[str, ...] = ()


class RunAt(NamedTuple):
    """A run as it is now: one that replaces it has another version."""

    store: str
    run_id: str
    version: str


class Owned(NamedTuple):
    """The tables of one run (or pair) that a question looks into, and the run's version."""

    owner: str
    version: str
    keys: tuple[str, ...]


class Member(NamedTuple):
    """A run in a group: what its rows are called."""

    series: str
    label: str
    run_id: str
    seed: int | None


class Question(ABC):
    """A question whose answer is a table. Hashable; equal questions have equal answers."""

    @abstractmethod
    def answer(self) -> Table:
        """Ask the store. What cannot be read is a problem of the table and no exception."""


def resolved(argument: object, answer: Callable[[Question], Table]) -> object:
    """An argument with the answer's frame in place of a question, also inside a tuple."""
    if isinstance(argument, Question):
        return answer(argument).frame
    if type(argument) is tuple:
        return tuple(resolved(item, answer) for item in argument)
    return argument


def call(function: Callable[..., Built], *arguments: object, **named: object) -> Built:
    """``function`` of the arguments, with the answers' frames in place of questions."""
    return function(
        *(resolved(argument, Question.answer) for argument in arguments),
        **{name: resolved(argument, Question.answer) for name, argument in named.items()},
    )


@dataclass(frozen=True)
class Measures(Question):
    """Measures of groups of runs, with ``series``, ``label`` and ``seed``."""

    store: str
    members: tuple[Member, ...]
    tables: tuple[Owned, ...]
    names: tuple[str, ...]
    pooling: str | None = None
    estimator: str | None = None

    def answer(self) -> Table:
        """See :class:`Question`."""

        def ask(source: Source) -> Answer:
            parts = _parts(self.tables)
            return query.measures(
                source, parts, self.names, pooling=self.pooling, estimator=self.estimator
            )

        table = asked(self.store, ask, self.members)
        if not any(map(_overlapping, self.tables)):
            return table
        by = ["series", "run_id", "measure", "pooling", "estimator"]
        return Table(one_key(table.frame, by), table.problems)


@dataclass(frozen=True)
class Offered(Question):
    """Which measures, poolings and estimators there are: the choices of a page, without values.

    Columns: measure, pooling, estimator, ``n`` (the fewest samples), ``params`` (of one run).
    """

    store: str
    tables: tuple[Owned, ...]
    names: tuple[str, ...]

    def answer(self) -> Table:
        """See :class:`Question`."""
        parts = _parts(self.tables)
        return asked(self.store, lambda source: query.offered(source, parts, self.names), None)


@dataclass(frozen=True)
class Training(Question):
    """Measures while the models of groups were trained, with ``series``, ``label`` and ``seed``."""

    store: str
    members: tuple[Member, ...]
    tables: tuple[Owned, ...]

    def answer(self) -> Table:
        """See :class:`Question`."""
        run_ids = [table.owner for table in self.tables if table.keys]
        return asked(
            self.store, lambda source: query.training_measures(source, run_ids), self.members
        )


@dataclass(frozen=True)
class Projections(Question):
    """Coordinates of the samples of one run, in some layer or all."""

    store: str
    tables: tuple[Owned, ...]

    def answer(self) -> Table:
        """See :class:`Question`."""
        table = asked(
            self.store, lambda source: query.projections(source, _parts(self.tables)), None
        )
        return Table(one_key(table.frame, ["method", "pooling"]), table.problems)


@dataclass(frozen=True)
class Refits(Question):
    """How far the maps of one run move when a layer is fitted a second time."""

    store: str
    tables: tuple[Owned, ...]

    def answer(self) -> Table:
        """See :class:`Question`."""
        parts = _parts(self.tables)
        table = asked(self.store, lambda source: query.every_row(source, REFITS, parts), None)
        return Table(one_key(table.frame, ["method", "pooling"]), table.problems)


@dataclass(frozen=True)
class Neighbours(Question):
    """The samples nearest to each sample of one run, at one site under one pooling."""

    store: str
    tables: tuple[Owned, ...]
    pooling: str
    ref: LayerRef

    def answer(self) -> Table:
        """See :class:`Question`."""
        parts = _parts(self.tables)
        table = asked(
            self.store,
            lambda source: query.neighbours(source, parts, self.pooling, self.ref),
            None,
        )
        return Table(one_key(table.frame, ["pooling"]), table.problems)


@dataclass(frozen=True)
class Samples(Question):
    """Ids, splits and labels of one run's samples; no texts and no pictures."""

    run: RunAt

    def answer(self) -> Table:
        """See :class:`Question`."""

        def ask(source: Source) -> Answer:
            return query.samples(source, entry_in(source, self.run.run_id))

        return asked(self.run.store, ask, None)


@dataclass(frozen=True)
class Cross(Question):
    """Measures between the layers of two runs, ``stream_a`` of the first.

    ``replaced`` names the runs that were replaced since, where nothing current is stored.
    """

    store: str
    run_a: str
    run_b: str
    tables: tuple[Owned, ...]
    replaced: tuple[str, ...]

    def answer(self) -> Table:
        """See :class:`Question`."""

        def ask(source: Source) -> Answer:
            turned = self.run_a > self.run_b
            return query.comparisons(source, _parts(self.tables), turned=turned)

        table = asked(self.store, ask, None)
        return Table(one_key(table.frame, ["measure", "pooling", "estimator"]), table.problems)


def measures(
    store: StoreView,
    groups: Sequence[RunGroup],
    names: Sequence[str],
    preset: str = "default",
    *,
    pooling: str | None = None,
    estimator: str | None = None,
) -> Measures:
    """Named measures of all runs of the groups under one preset."""
    members = members_of(groups)
    held = _measured(store, members, names, preset, pooling)
    return Measures(store.path, members, held, tuple(names), pooling, estimator)


def offered(
    store: StoreView, groups: Sequence[RunGroup], names: Sequence[str], preset: str = "default"
) -> Offered:
    """What there is of some measures in the groups' runs."""
    held = _measured(store, members_of(groups), names, preset)
    return Offered(store.path, held, tuple(names))


def training(store: StoreView, groups: Sequence[RunGroup]) -> Training:
    """What was measured while the groups' models were trained."""
    members = members_of(groups)
    return Training(store.path, members, _tables(store, TRAINING_MEASURES, members))


def projections(store: StoreView, run_id: str) -> Projections:
    """All coordinates of one run."""
    member = Member("", "", run_id, None)
    return Projections(store.path, _tables(store, PROJECTIONS, [member]))


def refits(store: StoreView, run_id: str) -> Refits:
    """The movement of every second fit of one run."""
    return Refits(store.path, _tables(store, REFITS, [Member("", "", run_id, None)]))


def neighbours(store: StoreView, run_id: str, pooling: str, ref: LayerRef) -> Neighbours:
    """The neighbours of one run's samples at a site."""
    held = _tables(store, NEIGHBOURS, [Member("", "", run_id, None)])
    return Neighbours(store.path, held, pooling, ref)


def samples(store: StoreView, run_id: str) -> Samples:
    """Ids, splits and labels of one run's samples."""
    return Samples(run_at(store, run_id))


def cross(store: StoreView, run_a: str, run_b: str) -> Cross:
    """What is stored between two runs; no rows where nothing is."""
    source = opened(store.path).source
    pair = source.pair(source.run(run_a), source.run(run_b))
    keys = tuple(map(pair.stored_key, pair.keys(COMPARISONS)))
    version = f"{source.version(run_a)} {source.version(run_b)}"
    held = Owned("~".join(sorted((run_a, run_b))), version, keys)
    stale = dict.fromkeys(run_id for item in pair.stale() for run_id in item.replaced)
    return Cross(store.path, run_a, run_b, (held,), () if keys else tuple(stale))


def run_at(store: StoreView, run_id: str) -> RunAt:
    """The run as it is now."""
    return RunAt(store.path, run_id, opened(store.path).source.version(run_id))


def keys_of(store: StoreView, kind: Kind, run_id: str) -> tuple[str, ...]:
    """The keys of a run's tables of a kind."""
    return opened(store.path).source.keys(kind, run_id)


def members_of(groups: Sequence[RunGroup]) -> tuple[Member, ...]:
    """The runs of groups."""
    return tuple(
        Member(group.key, group.label, run.run_id, run.seed)
        for group in groups
        for run in group.runs
    )


def entry_in(source: Source, run_id: str) -> Entry:
    """The entry of a run; InputError where there is none."""
    for entry in source.listing().entries:
        if entry.run_id == run_id:
            return entry
    source.run(run_id)  # says what is wrong with it
    raise InputError(f"run {run_id} cannot be listed", where=str(source.path))


def _measured(
    store: StoreView,
    members: Sequence[Member],
    names: Sequence[str],
    preset: str,
    pooling: str | None = None,
) -> tuple[Owned, ...]:
    """The tables that may hold some measures under a preset, of a pooling or of all."""
    every = _tables(store, MEASURES, members)
    asked = tuple(names), preset, pooling
    return tuple(held._replace(keys=_of_measures(held.keys, *asked)) for held in every)


@lru_cache(maxsize=4_096)
def _of_measures(
    keys: tuple[str, ...], names: tuple[str, ...], preset: str, pooling: str | None
) -> tuple[str, ...]:
    """Those of the keys; the runs of a store mostly have the same ones."""
    return tuple(
        key
        for key in keys
        if preset_of(key) == preset
        and may_hold(key, names)
        and (pooling is None or pooling_of(key) in (None, pooling))
    )


def _tables(store: StoreView, kind: Kind, members: Sequence[Member]) -> tuple[Owned, ...]:
    source = opened(store.path).source
    return tuple(
        Owned(run_id, source.version(run_id), source.keys(kind, run_id))
        for run_id in dict.fromkeys(member.run_id for member in members)
    )


def _parts(held: Sequence[Owned]) -> list[Part]:
    return [Part(table.owner, key) for table in held for key in table.keys]


def asked(store: str, ask: Callable[[Source], Answer], members: Sequence[Member] | None) -> Table:
    """The answer as a frame; with members their rows, in their order, and what they are called."""
    try:
        answer = ask(opened(store).source)
    except InputError as error:
        return Table(pd.DataFrame(), (str(error),))
    if members is None:
        return Table(tables.to_pandas(answer.table), answer.problems)
    return Table(_called(answer.table, members), answer.problems)


def _called(table: pa.Table, members: Sequence[Member]) -> pd.DataFrame:
    """Each member's rows, in the members' order, with what they are called."""
    runs = pc.run_end_encode(table["run_id"].combine_chunks())
    ends = runs.run_ends.to_pylist()
    pieces: dict[str, list[pa.Table]] = {}
    for run_id, start, end in zip(runs.values.to_pylist(), [0, *ends], ends, strict=False):
        pieces.setdefault(run_id, []).append(table.slice(start, end - start))
    rows = [pieces.get(member.run_id, []) for member in members]
    ordered = [table.slice(0, 0), *(piece for parts in rows for piece in parts)]
    frame = tables.to_pandas(pa.concat_tables(ordered))
    at = np.repeat(np.arange(len(members)), [sum(map(len, parts)) for parts in rows])
    for name in ("series", "label"):
        frame[name] = pd.array([getattr(member, name) for member in members], dtype="str").take(at)
    frame["seed"] = pd.array([member.seed for member in members], dtype="Int64").take(at)
    return frame


def _overlapping(held: Owned) -> bool:
    """Whether two of the keys may hold the same measure of the same pooling."""
    holds = {(measures_of(key), pooling_of(key)) for key in held.keys}
    return len(held.keys) > 1 and (len(holds) < len(held.keys) or (None, None) in holds)


def one_key(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Rows of one key for every value of ``by``, so that nothing is counted twice.

    A run may hold the same measure under several keys: presets, or the keys of two versions. The
    default preset comes first, then what this version computes, then the key's name decides, the
    same way in every run.
    """
    keys = frame[[*by, "key"]].drop_duplicates()
    if len(keys) == len(keys.drop_duplicates(list(by))):
        return frame
    ranked = keys.assign(
        late=~keys["key"].str.startswith("default"), old=~keys["key"].map(is_current).astype(bool)
    )
    order = ranked.sort_values(["late", "old", "key"])
    first = order.drop_duplicates(list(by))[[*by, "key"]]
    return frame.merge(first, on=[*by, "key"])
