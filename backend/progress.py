"""How long work says how far it is, and the bars on standard error that show it."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress


class Progress(Protocol):
    """Is told how far a piece of work is. Whoever does long work takes one and calls it often."""

    def advance(self, done: float, total: float | None, what: str = "") -> None:
        """``done`` of ``total`` (any unit, the same in every call) is finished.

        ``total`` is None where it cannot be known; ``what`` says in a few words what is going on.
        What is raised here ends the work, which must then be in a state that it can go on from.
        """
        ...


class _Silent:
    """For those who do not ask."""

    def advance(self, done: float, total: float | None, what: str = "") -> None:
        """Nothing."""


SILENT: Progress = _Silent()
"""The default: nobody watches."""


@dataclass(frozen=True)
class Share:
    """A part of a larger piece of work: from ``begin`` on, ``share`` of 1, always called ``what``.

    Work that is told so fills just its share of ``whole``.
    """

    whole: Progress
    begin: float
    share: float
    what: str

    def advance(self, done: float, total: float | None, what: str = "") -> None:
        """Tell the whole."""
        part = min(1.0, done / total) if total else 0.0
        self.whole.advance(self.begin + self.share * part, 1.0, self.what)


def quiet_libraries() -> None:
    """Turn off the model libraries' own bars and advice, which would tear ours apart."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


class Bar:
    """A context manager: one bar on standard error with count, rate, time left, and what is done.

    ``name`` stands before it; ``total`` may be left to whoever advances it. It is not shown before
    anything is done: bad input is one line.
    """

    def __init__(self, name: str, total: float | None = None) -> None:
        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[what]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        )
        self._task = self._rich.add_task(name, total=total, rate="", what="")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rich.live.is_started:  # stopping what is not shown prints an empty line
            self._rich.stop()

    def advance(self, done: float, total: float | None, what: str = "") -> None:
        """Show it."""
        self._rich.start()  # does nothing where it has
        speed = self._rich.tasks[self._task].speed
        self._rich.update(
            self._task,
            completed=done,
            total=total,  # None leaves the one that the bar was made with
            rate=f"{speed:,.0f}/s" if speed and speed >= 1 else "",
            what=what,
        )
