"""The live table of a search, and the one of the best at its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from backend.search.report import ranked
from backend.search.trial import SearchState, Trial
from backend.sweep.run import CellState
from backend.sweep.table import STYLE, duration
from backend.words import counted, mean_sd

_MOST_ROWS = 25
_BEST = 5


class SearchTable:
    """Shows the trials while they run; without a terminal a line a change."""

    def __init__(
        self, dataset: str, state: SearchState, slots: int, console: Console | None = None
    ) -> None:
        self._dataset, self._state, self._slots = dataset, state, slots
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._printed: dict[int, str] = {}
        self._first = True

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
        """Show the trials, and how far the cells of those that run are."""
        if self._console.is_terminal:
            self._refresh()
            return
        first, self._first = self._first, False
        for one in self._state.trials:
            if self._printed.get(one.number) == one.state:
                continue
            self._printed[one.number] = one.state
            if not first or one.state == "running":  # what an earlier search made is no news
                line = f"{self._dataset}: trial {one.number}, {one.placement.written}: {_told(one)}"
                self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _refresh(self) -> None:
        table = Table("trial", "placement", "dev", "state", "time", "left", "", box=SIMPLE)
        for one in self._state.trials[-_MOST_ROWS:]:
            table.add_row(*self._row(one))
        self._live.update(Group(table, Text(self._summary())), refresh=True)

    def _row(self, one: Trial) -> list[str | Text]:
        name = Text(one.placement.written)
        running = self._cells(one) if one.state == "running" else []
        if not running:
            seconds = one.outcome.seconds if one.outcome else 0.0
            time = duration(seconds) if seconds else ""
            dev = f"{one.value:.3f}" if one.value is not None else ""
            state = Text(one.state, style=STYLE[one.state])
            return [str(one.number), name, dev, state, time, "", Text(_remark(one))]
        now = next((c for c in running if c.state == "running"), running[0])
        so_far = self._state.scores.get(one.placement.name, math.nan)
        left = now.left_s
        return [
            str(one.number),
            name,
            "" if math.isnan(so_far) else f"{so_far:.3f} so far",
            Text(f"{now.state}: {now.stage}" if now.stage else now.state, style=STYLE[now.state]),
            duration(sum(c.seconds for c in running)),
            "" if left is None else duration(left),
            Text(f"seed {now.cell.seed}"),
        ]

    def _cells(self, trial: Trial) -> list[CellState]:
        return [one for one in self._state.cells if one.cell.placement == trial.placement.name]

    def _summary(self) -> str:
        state = self._state
        parts = [f"{self._dataset}: {state.over} of {state.wanted} trials"]
        best = ranked(state.trials)
        if best:
            parts.append(f"best dev {best[0].value:.3f}: {best[0].placement.written}")
        left = left_s(state.trials, state.wanted, self._slots)
        if left:
            parts.append(f"about {duration(left)} left at most")
        return ", ".join(parts)


def left_s(trials: Sequence[Trial], wanted: int, slots: int) -> float | None:
    """Seconds until there are ``wanted`` trials if those to come take as long as those so far."""
    took = [one.outcome.seconds for one in trials if one.outcome and one.copy_of is None]
    measured = [seconds for seconds in took if seconds]
    if not measured:
        return None
    over = sum(one.state != "running" for one in trials)
    return max(0, wanted - over) * sum(measured) / len(measured) / slots


def best_table(trials: Sequence[Trial]) -> Table:
    """The best placements with their dev and test scores."""
    table = Table("", "placement", "dev", "test", "trial", "runs", box=SIMPLE, padding=(0, 1))
    for place, one in enumerate(ranked(trials)[:_BEST], start=1):
        outcome = one.outcome
        dev, test, runs = (outcome.dev, outcome.test, outcome.run_ids) if outcome else ((), (), ())
        table.add_row(
            str(place),
            Text(one.placement.written),
            mean_sd(list(dev)),
            mean_sd(list(test)),
            str(one.number),
            Text(", ".join(runs)),
        )
    return table


def counts(trials: Sequence[Trial]) -> str:
    """``20 trials of 14 placements: 8 trained, 6 pruned, 0 failed``."""
    different = len({one.placement.pairs for one in trials})
    new = [one for one in trials if one.copy_of is None]
    parts = {
        "trained": sum(one.state == "done" for one in new),
        "pruned": sum(one.state == "pruned" for one in new),
        "failed": sum(one.state == "failed" for one in new),
    }
    words = ", ".join(f"{count} {name}" for name, count in parts.items() if count)
    placements = counted(different, "placement")
    return f"{counted(len(trials), 'trial')} of {placements}: {words or 'nothing to try'}"


def _told(one: Trial) -> str:
    if one.state == "running":
        return "begun"
    dev = f", dev {one.value:.3f}" if one.value is not None else ""
    remark = _remark(one)
    return f"{one.state}{dev}{f': {remark}' if remark else ''}"


def _remark(one: Trial) -> str:
    if one.copy_of is not None:
        return f"as trial {one.copy_of}"
    return one.outcome.reason if one.outcome else ""
