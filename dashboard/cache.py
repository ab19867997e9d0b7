"""The dashboard's only cache: what a pure function made of hashable arguments, by those arguments.

Questions stand for tables (see :mod:`backend.views.questions`): they name the very tables that they
ask, so that nothing here has to know when a store changed. What is kept is shared between sessions
and must not be changed in place. Every cache is bounded, and several sessions that want the same
thing at once wait for one of them to make it.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar, cast

import plotly.graph_objects as go
import plotly.io as pio

from backend.figures.curves import holds_points
from backend.store.kinds import DRIVERS, MEASURES
from backend.types import LayerRef
from backend.views import queries, questions, store_access
from backend.views.groups import Overview, RunGroup
from backend.views.queries import Comparable
from backend.views.questions import Question, Table
from backend.views.store_access import StoreView
from backend.views.together import Together
from backend.views.together import together as words_of_groups

Value = TypeVar("Value")


class Memo(Generic[Value]):
    """At most ``most`` values, the least recently used go first; safe between threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(
        self,
        key: Hashable,
        make: Callable[[], Value],
        keep: Callable[[Value], bool] = lambda value: True,
    ) -> Value:
        """The value of a key, made if it is not there, and kept if ``keep`` says so."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            try:
                value = make()
            finally:
                with self._lock:
                    self._making.pop(key, None)
            if keep(value):
                with self._lock:
                    self._values[key] = value
                    while len(self._values) > self._most:
                        self._values.popitem(last=False)
            return value

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()


@dataclass(frozen=True)
class Drawn:
    """A figure as JSON, ready to be sent; ``digest`` changes when it does.

    ``holds_points`` is whether a figure of curves holds any.
    """

    json: str
    holds_points: bool = True

    @cached_property
    def digest(self) -> str:
        """A short name of the content."""
        return hashlib.blake2b(self.json.encode(), digest_size=8).hexdigest()

    def figure(self) -> go.Figure:
        """A figure of its own, for a download."""
        return pio.from_json(self.json)


_answers: Memo[Table] = Memo(256)
_values: Memo[object] = Memo(512)
_figures: Memo[Drawn] = Memo(512)


def answer(question: Question) -> Table:
    """The rows that a question asks for. A table with problems is asked for again."""
    return _answers.get(question, question.answer, lambda table: not table.problems)


def value(function: Callable[..., Value], *arguments: Hashable, **named: Hashable) -> Value:
    """What a module's function makes of the arguments; it gets frames in place of questions."""
    key = _key(function, arguments, named)
    return cast("Value", _values.get(key, lambda: _called(function, arguments, named)))


def figure(build: Callable[..., go.Figure], *arguments: Hashable, **named: Hashable) -> Drawn:
    """The figure that a module's function builds; it gets frames in place of questions."""
    key = _key(build, arguments, named)
    return _figures.get(key, lambda: _drawn(_called(build, arguments, named)))


def _called(
    function: Callable[..., Value], arguments: tuple[Hashable, ...], named: Mapping[str, Hashable]
) -> Value:
    return function(
        *(questions.resolved(argument, answer) for argument in arguments),
        **{name: questions.resolved(argument, answer) for name, argument in named.items()},
    )


def _drawn(made: go.Figure) -> Drawn:
    return Drawn(cast("str", made.to_json(validate=False)), holds_points(made))


def _key(
    function: Callable[..., object], arguments: tuple[Hashable, ...], named: Mapping[str, Hashable]
) -> Hashable:
    """What a result is kept under. A function made on the way would be another one each time."""
    name = getattr(function, "__qualname__", "<")
    if "<" in name:
        raise TypeError(f"{function} is not a function of a module, so nothing can be kept of it")
    return (function.__module__, name, arguments, tuple(sorted(named.items())))


def overview(store: StoreView) -> Overview:
    """Every run of the store, grouped; kept for as long as no run comes or goes."""
    return store_access.overview(store.path)


def measure_names(store: StoreView, groups: Sequence[RunGroup]) -> dict[str, tuple[str, ...]]:
    """{preset: measures that any run of the groups holds}."""
    names: dict[str, dict[str, None]] = {}
    for group in groups:
        for run in group.runs:
            keys = questions.keys_of(store, MEASURES, run.run_id)
            held = value(queries.held_measures, questions.run_at(store, run.run_id), keys)
            for preset, measured in held.items():
                names.setdefault(preset, {}).update(dict.fromkeys(measured))
    return {preset: tuple(measured) for preset, measured in names.items()}


def measures(
    store: StoreView, groups: Sequence[RunGroup], names: Sequence[str], preset: str = "default"
) -> Table:
    """Named measures of all runs of the groups, with ``series``, ``label`` and ``seed``."""
    return answer(questions.measures(store, groups, names, preset))


def training(store: StoreView, groups: Sequence[RunGroup]) -> Table:
    """Measures while the groups' models were trained, with ``series``, ``label`` and ``seed``."""
    return answer(questions.training(store, groups))


def projections(store: StoreView, run_id: str) -> Table:
    """All layer coordinates of one run."""
    return answer(questions.projections(store, run_id))


def samples(store: StoreView, run_id: str) -> Table:
    """Ids, splits and labels of one run's samples."""
    return answer(questions.samples(store, run_id))


def sample(store: StoreView, run_id: str, sample_id: str) -> queries.Sample:
    """One sample with text and thumbnail; InputError if it is not there."""
    return value(queries.sample, questions.run_at(store, run_id), sample_id)


def together(store: StoreView, run_id: str) -> Together:
    """The groups of one run's samples in words; InputError if they cannot be read."""
    return value(words_of_groups, questions.run_at(store, run_id))


def drivers(
    store: StoreView, run_id: str, cell: tuple[LayerRef, LayerRef], pooling: str
) -> tuple[queries.Driver, ...]:
    """The samples that drive a pair of layers, by rank."""
    keys = questions.keys_of(store, DRIVERS, run_id)
    return value(queries.drivers, questions.run_at(store, run_id), keys, cell, pooling)


def comparable(store: StoreView, run_ids: Sequence[str]) -> Comparable:
    """Which runs share their samples with the first one."""
    return value(queries.comparable, tuple(questions.run_at(store, run_id) for run_id in run_ids))
