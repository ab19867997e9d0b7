"""Sweeps in a process group of their own, which is killed at a chosen moment.

A moment is an event: an operation on a file of the sweep, or a step of a cell's progress. Between
two of them nothing changes on disk, so that they are all the places at which a kill can matter, and
they come in the same order on a fast machine and on a slow one.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path

import backend.sweep.run
from backend.jobs.measure import one_thread_each
from backend.progress import SILENT, Progress
from backend.sweep.cell import Cell
from backend.sweep.making import STAGES
from backend.sweep.run import CellState, run_sweep

# The server of forks has them, so that neither the sweeps nor their cells import anything.
_LIBRARIES = [
    *("torch", "sklearn.linear_model", "backend.sweep.study", "backend.sweep.run"),
    *("backend.jobs.capture", "backend.jobs.measure", "backend.jobs.project"),
    "backend.interventions.run",
    *("backend.train.loop", "backend.models.dual_stream", "backend.words", "pandas"),
    "tests.sweep.kills",
]
# A training is in parts, so that there are kills before, between and after its epochs.
_STAGES = (
    *("start", "first epoch", "later epochs", "checkpoint"),
    *("capture", "measure", "project", "intervene"),
)
FIRST_EPOCH, LAST_EPOCH = STAGES["train"] / 3, STAGES["train"]
"""How much of a cell is done after these epochs, of three."""

_ON_FILES = ("open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")
_ANY_FOLDER = ("os.remove", "os.rmdir")  # inside a folder that is removed: a name, no path


@dataclass(frozen=True, order=True)
class Moment:
    """Event ``event`` of a cell in a stage. The sweep's own are before cell 0 and after the last.

    The order is that of the sweep; a kill at a moment is at the first event that is not before it.
    """

    cell: int
    stage: int
    event: int

    def __str__(self) -> str:
        return f"cell {self.cell}, {_STAGES[self.stage]}, event {self.event}"


@dataclass(frozen=True)
class Kill:
    """At or up to ``delay_s`` after a moment, in the middle of whatever runs then.

    ``whole``: of the whole process group, else of the sweep's own process only.
    """

    moment: Moment
    delay_s: float = 0.0
    whole: bool = True

    def __str__(self) -> str:
        return f"{self.moment}" + (f" + {self.delay_s * 1000:.0f} ms" if self.delay_s else "")


@dataclass(frozen=True)
class Ending:
    """How a sweep ended: the signal that killed it or 0, the cells' states and reasons.

    ``made_before``: the cells that were done already.
    """

    killed_by: int
    states: list[tuple[str, str]]
    made_before: list[str]


def draw_kills(moments: Sequence[Moment], count: int, seed: int) -> list[Kill]:
    """``count`` kills in the order of the sweep, spread over its cells and stages.

    Every other one comes a moment late, but for the last: there has to be a sweep to kill.
    """
    rng = random.Random(seed)
    parts = [list(part) for _, part in groupby(sorted(moments), lambda m: (m.cell, m.stage))]
    chosen: set[Moment] = set()
    while len(chosen) < count:
        for part in rng.sample(parts, min(len(parts), count - len(chosen))):
            chosen.add(rng.choice(part))
    ordered = sorted(chosen)
    delays = [rng.uniform(0, 0.05) if at % 2 else 0.0 for at in range(count - 1)]
    return [Kill(*one) for one in zip(ordered, [*delays, 0.0], strict=True)]


def sweep(
    cells: Sequence[Cell],
    slots: int,
    *,
    kill: Kill | None = None,
    events: Path | None = None,
    kill_cell: tuple[str, str] | None = None,
) -> Ending:
    """Run a sweep in processes that have all libraries; ``events`` gets the moments it had.

    ``kill_cell``: (run id, stage) of a cell whose process is killed once it is there.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LIBRARIES)
    ours, theirs = context.Pipe(duplex=False)
    with one_thread_each():  # for the server, when it begins
        process = context.Process(
            target=_sweep, args=(list(cells), slots, kill, events, theirs, kill_cell)
        )
        process.start()
    theirs.close()
    process.join()
    rows = ours.recv() if process.exitcode == 0 else []
    before = [run_id for run_id, _, _, made_before in rows if made_before]
    return Ending(-min(0, process.exitcode or 0), [(row[1], row[2]) for row in rows], before)


@dataclass(frozen=True)
class _KillCell:
    """A sweep's progress that kills the process of a cell once it is in a stage."""

    states: Sequence[CellState]
    run_id: str
    stage: str

    def advance(self, done: float, total: float | None, what: str = "") -> None:
        """Look whether it is."""
        if any(one.cell.run_id == self.run_id and one.stage == self.stage for one in self.states):
            for process in multiprocessing.active_children():
                if process.name == self.run_id:
                    process.kill()


def moments_in(events: Path) -> list[Moment]:
    """What a sweep wrote to its ``events``."""
    return [Moment(*map(int, line.split())) for line in events.read_text().splitlines()]


def _sweep(
    cells: list[Cell],
    slots: int,
    kill: Kill | None,
    events: Path | None,
    answer: Connection,
    kill_cell: tuple[str, str] | None,
) -> None:
    os.setsid()
    os.fsync = lambda _: None  # as in every test; this process is none of pytest's
    watch = _Watch(cells, kill, events)
    backend.sweep.run.run_cell = functools.partial(_run_cell, watch, backend.sweep.run.run_cell)
    sys.addaudithook(watch.hook)
    states = [CellState(cell) for cell in cells]
    progress = _KillCell(states, *kill_cell) if kill_cell else SILENT
    run_sweep(states, ["cpu"] * slots, progress, start="fork")
    answer.send([(one.cell.run_id, one.state, one.reason, one.made_before) for one in states])


def _run_cell(
    watch: _Watch,
    run_cell: Callable[[Cell, str, Callable[[], float], Progress], None],
    cell: Cell,
    device: str,
    seconds: Callable[[], float],
    progress: Progress,
) -> None:
    watch.of_cell(cell)
    run_cell(cell, device, seconds, _Told(watch, progress))


@dataclass(frozen=True)
class _Told:
    """A cell's progress, each step of which is an event."""

    watch: _Watch
    progress: Progress

    def advance(self, done: float, total: float | None, what: str = "") -> None:
        """Note the stage and the event, and hand it on."""
        stage = what
        if stage == "train":
            stage = "first epoch" if done < FIRST_EPOCH - 1e-9 else "later epochs"
            stage = "checkpoint" if done > LAST_EPOCH - 1e-9 else stage
        self.watch.enter(_STAGES.index(stage))
        self.watch.event()
        self.progress.advance(done, total, what)


class _Watch:
    """Counts the events of this process; a fork goes on with a copy."""

    def __init__(self, cells: Sequence[Cell], kill: Kill | None, events: Path | None) -> None:
        self._ids = [cell.run_id for cell in cells]
        self._folder = str(cells[0].work.parent)
        self._kill = kill
        self._log: int | None = None
        if events:
            self._log = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._cell, self._stage, self._count = -1, 0, 0
        self._in_cell = False

    def of_cell(self, cell: Cell) -> None:
        """This process is the cell's."""
        self._cell, self._stage, self._count = self._ids.index(cell.run_id), 0, 0
        self._in_cell = True

    def enter(self, stage: int) -> None:
        """The events from here on are of a stage."""
        if stage != self._stage:
            self._stage, self._count = stage, 0

    def event(self) -> None:
        """Something happens: note it, and kill if it is time."""
        self._count += 1
        now = Moment(self._cell, self._stage, self._count)
        if self._log is not None:
            os.write(self._log, f"{now.cell} {now.stage} {now.event}\n".encode())
        if self._kill and now >= self._kill.moment:
            kill, self._kill = self._kill, None
            if kill.delay_s:
                threading.Thread(target=_perform, args=(kill,), daemon=True).start()
            else:
                _perform(kill)

    def hook(self, name: str, args: tuple[object, ...]) -> None:
        """An audit hook: operations on files of the sweep are events."""
        if name == "os.fork" and not self._in_cell:
            self._cell = len(self._ids)  # whatever the sweep itself does next, it does at the end
        if name in _ON_FILES:
            beside = name in _ANY_FOLDER and args[-1] != -1
            if beside or str(args[0]).startswith(self._folder):
                self.event()


def _perform(kill: Kill) -> None:
    time.sleep(kill.delay_s)
    leader = os.getpgrp()  # the sweep's own process
    (os.killpg if kill.whole else os.kill)(leader, signal.SIGKILL)
