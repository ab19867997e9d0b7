"""Progress bars on standard error: rate, time left, and how far a training is."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from backend.train.loop import Step


def quiet_libraries() -> None:
    """Turn off the model libraries' own bars and advice, which would tear ours apart."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


class _Bar:
    """A context manager around a rich progress display on standard error."""

    def __init__(self, *columns: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            *(TextColumn(column) for column in columns),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


class SampleBar(_Bar):
    """Counts items: ``update(done)`` with the number done so far."""

    def __init__(self, what: str, total: int | None) -> None:
        super().__init__("{task.fields[rate]}")
        self._task = self._progress.add_task(what, total=total, rate="")

    def update(self, done: int) -> None:
        """Show ``done`` items and their rate."""
        speed = self._progress.tasks[self._task].speed
        self._progress.update(self._task, completed=done, rate=f"{speed:,.0f}/s" if speed else "")


class WorkBar(_Bar):
    """Counts work of pieces of different sizes; ``total`` is the sum of their weights."""

    def __init__(self, what: str, total: int) -> None:
        super().__init__("{task.fields[now]}")
        self._task = self._progress.add_task(what, total=total, now="")

    def advance(self, weight: int, what: str) -> None:
        """``weight`` more of it is done: ``what``."""
        self._progress.update(self._task, advance=weight, now=what)


class TrainingBar(_Bar):
    """One bar a seed, with epoch, loss and the best dev score so far."""

    def __init__(self) -> None:
        super().__init__(
            "epoch {task.fields[epoch]}", "loss {task.fields[loss]}", "{task.fields[dev]}"
        )
        self._tasks: dict[int, TaskID] = {}

    def update(self, step: Step) -> None:
        """Show a training step."""
        if step.seed not in self._tasks:
            self._tasks[step.seed] = self._progress.add_task(
                f"seed {step.seed}", total=step.epochs * step.steps, epoch="", loss="", dev=""
            )
        self._progress.update(
            self._tasks[step.seed],
            completed=(step.epoch - 1) * step.steps + step.step,
            epoch=f"{step.epoch}/{step.epochs}",
            loss=f"{step.loss:.3f}",
            dev="" if step.metric is None else f"best dev {step.metric:.3f}",
        )
