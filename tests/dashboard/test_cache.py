"""What the dashboard keeps: by the arguments of a function, made once, forgotten in time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pandas as pd
import plotly.graph_objects as go
import pytest

from backend.store.kinds import MEASURES
from backend.views import questions, store_access
from backend.views.questions import Question, Table
from dashboard import cache
from dashboard.cache import Memo

calls: list[tuple[object, ...]] = []


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what another one kept."""
    calls.clear()
    for name in ("_answers", "_values", "_figures"):
        monkeypatch.setattr(cache, name, Memo(8))


@dataclass(frozen=True)
class Two(Question):
    """A question whose answer counts how often it was asked."""

    name: str
    problem: str = ""

    def answer(self) -> Table:
        """Two rows."""
        calls.append(("asked", self.name))
        problems = (self.problem,) if self.problem else ()
        return Table(pd.DataFrame({"y": [1.0, 2.0]}), problems)


def line(frame: pd.DataFrame, colour: str) -> go.Figure:
    """A line through the rows."""
    calls.append(("drawn", colour))
    return go.Figure(go.Scatter(y=frame["y"].tolist(), line={"color": colour}))


def both(frames: tuple[pd.DataFrame, ...]) -> list[float]:
    calls.append(("both",))
    return [float(frame["y"].sum()) for frame in frames]


def total(frame: pd.DataFrame) -> float:
    """The sum of the rows."""
    calls.append(("summed",))
    return float(frame["y"].sum())


def test_a_figure_is_drawn_once_for_equal_arguments_and_sent_as_it_was() -> None:
    first = cache.figure(line, Two("a"), "red")
    again = cache.figure(line, Two("a"), "red")
    assert again is first and calls == [("asked", "a"), ("drawn", "red")]
    assert cache.figure(line, Two("a"), "blue").digest != first.digest
    assert calls[2:] == [("drawn", "blue")]  # the rows were there
    other = first.figure()
    assert list(other.data[0].y) == [1.0, 2.0]
    other.data[0].y = (9,)
    assert list(first.figure().data[0].y) == [1.0, 2.0]


def test_questions_in_tuples_are_answered_and_a_value_is_made_once() -> None:
    made = cache.value(both, (Two("a"), Two("b")))
    assert made == [3.0, 3.0] and cache.value(both, (Two("a"), Two("b"))) is made
    assert calls.count(("both",)) == 1
    assert cache.value(total, Two("a")) == cache.value(total, Two("a")) == 3.0
    assert calls.count(("summed",)) == 1 and calls.count(("asked", "a")) == 1


def test_an_answer_with_problems_is_asked_for_again() -> None:
    assert cache.answer(Two("a", "broken")).problems == ("broken",)
    cache.answer(Two("a", "broken"))
    assert calls == [("asked", "a")] * 2


def test_what_is_not_a_function_of_a_module_is_refused() -> None:
    def inner(frame: pd.DataFrame) -> float:
        return 0.0

    for function in (inner, lambda frame: 0.0):
        with pytest.raises(TypeError, match="not a function of a module"):
            cache.value(function, Two("a"))
    with pytest.raises(TypeError, match="unhashable"):
        cache.value(total, [1, 2])  # type: ignore[arg-type]


def test_a_memo_forgets_the_least_recently_used_and_nothing_that_failed() -> None:
    memo: Memo[int] = Memo(2)
    for key in ("a", "b", "a", "c"):
        memo.get(key, lambda key=key: calls.append((key,)) or len(calls))  # type: ignore[misc]
    memo.get("a", lambda: calls.append(("never",)) or 0)
    memo.get("b", lambda: calls.append(("again",)) or 0)
    assert calls == [("a",), ("b",), ("c",), ("again",)]

    def fails() -> int:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        memo.get("d", fails)
    assert memo.get("d", lambda: 4) == 4


def test_sessions_that_want_the_same_at_once_wait_for_one() -> None:
    memo: Memo[int] = Memo(2)
    started, go_on = threading.Event(), threading.Event()

    def make() -> int:
        calls.append(("made",))
        started.set()
        assert go_on.wait(20)
        return 1

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(memo.get, "key", make) for _ in range(8)]
        assert started.wait(20)
        assert memo.get("other", lambda: 2) == 2  # others need not wait
        go_on.set()
        assert [future.result() for future in asking] == [1] * 8
    assert calls == [("made",)]


def test_a_run_that_appears_leaves_what_was_drawn_of_others(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store = store_factory.make_store(tmp_path, ("late",), (0,), n=12, depth=4)
    view = store_access.look(str(tmp_path))

    def asked() -> Table:
        groups = [g for g in cache.overview(view).groups if g.name == "late"]
        return cache.answer(questions.measures(view, groups, ("cka",)))

    before = asked()
    store_factory.make_store(tmp_path, ("none",), (0,), n=12, depth=4)
    assert len(cache.overview(view).runs) == 2
    assert asked() is before
    rows = store.run("late-seed0").measures().drop(columns="key")
    store.run("late-seed0").add(MEASURES, rows, "default-cka-cls-0123456789")
    assert asked() is not before
