"""The live table of a sweep, and the one at its end."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from backend.sweep.run import CellState, left_s

_MOST_ROWS = 30
STYLE = {
    "waiting": "dim",
    "running": "bold",
    "done": "green",
    "pruned": "yellow",
    "failed": "red",
}


class SweepTable:
    """Shows every cell's state and the time left; without a terminal a line a change."""

    def __init__(
        self, states: Sequence[CellState], slots: int, console: Console | None = None
    ) -> None:
        self._states = states
        self._console = console or Console(stderr=True)
        self._slots = slots
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._shown: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def advance(self, done: float, total: float | None, what: str = "") -> None:
        """Show the states as they are now."""
        states = self._states
        if self._console.is_terminal:
            shown = states if len(states) <= _MOST_ROWS else _at_work(states)
            summary = Text(_summary(states, self._slots))
            self._live.update(Group(table_of(shown), summary), refresh=True)
            return
        for one in states:
            if one.state != "waiting" and self._shown.get(one.cell.run_id) != one.state:
                self._shown[one.cell.run_id] = one.state
                self._console.print(_line(one), soft_wrap=True, markup=False, highlight=False)


def table_of(states: Sequence[CellState]) -> Table:
    """One row a cell."""
    table = Table("cell", "state", "of it", "time", "left", "reason", box=SIMPLE, padding=(0, 1))
    for one in states:
        stage = f"{one.state}: {one.stage}" if one.stage else one.state
        table.add_row(
            Text(one.cell.run_id),
            Text(stage, style=STYLE[one.state]),
            f"{one.fraction:.0%}" if one.state == "running" else "",
            "before" if one.made_before else duration(one.seconds) if one.seconds else "",
            duration(one.left_s) if one.left_s is not None else "",
            Text(one.reason),
        )
    return table


def duration(seconds: float) -> str:
    """``4 s``, ``3 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _at_work(states: Sequence[CellState]) -> list[CellState]:
    """Of a large sweep only what runs and what failed, the latest first to be left out."""
    return [one for one in states if one.state in ("running", "failed")][-_MOST_ROWS:]


def _summary(states: Sequence[CellState], slots: int) -> str:
    counts = {name: sum(one.state == name for one in states) for name in STYLE}
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    left = left_s(states, slots)
    if left is not None and counts["waiting"] + counts["running"]:
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def _line(one: CellState) -> str:
    words = {
        "running": f"begun on {one.device}",
        "done": "done before" if one.made_before else f"done in {duration(one.seconds)}",
        "pruned": f"pruned: {one.reason}",
        "failed": f"failed: {one.reason}",
    }
    return f"{one.cell.run_id}: {words[one.state]}"
