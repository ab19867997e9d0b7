"""Running the cells of a sweep, each in a process of its own, some side by side.

What is done is what is on disk: a cell whose status says so and whose run is in the store. A sweep
that was killed, at whatever moment, is given again and goes on; cells that failed are tried again.
The processes compute on one thread each, so that a cell gives the same however many run beside it,
and end when the sweep's own process does.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal, cast

from filelock import FileLock, Timeout

from backend.errors import InputError
from backend.jobs.measure import one_thread_each
from backend.progress import SILENT, Progress, quiet_libraries
from backend.sweep.cell import Cell, Status, write_status
from backend.sweep.making import ERROR_FILE, is_done, run_cell
from backend.sweep.reasons import reason_of, reason_of_exit
from backend.train.observe import TrainingStopped

State = Literal["waiting", "running", "done", "pruned", "failed"]
Start = Literal["spawn", "fork"]

_POLL_S = 0.5
_MESSAGE_S = 0.3  # between two messages of a cell's progress
_JOIN_S = 10.0


@dataclass
class CellState:
    """What is known of a cell while the sweep runs; ``fraction`` is of the whole cell."""

    cell: Cell
    state: State = "waiting"
    stage: str = ""
    fraction: float = 0.0
    reason: str = ""
    device: str = ""
    seconds: float = 0.0
    made_before: bool = False  # done before this sweep

    @property
    def left_s(self) -> float | None:
        """Seconds until it is done, where that can be told."""
        if self.state != "running" or self.fraction < 0.02:
            return None
        return self.seconds * (1 - self.fraction) / self.fraction


@dataclass
class _Running:
    state: CellState
    process: BaseProcess
    messages: Connection
    started: float
    told: tuple[str, str] | None = None  # ("done", "pruned" or "failed", reason)
    closed: bool = field(default=False)


def run_sweep(
    states: Sequence[CellState],
    devices: Sequence[str],
    progress: Progress = SILENT,
    *,
    keep_frozen: bool = False,
    start: Start = "spawn",
) -> None:
    """Make every cell, one process a device at a time; ``states`` say how far each is, and then
    what became of it.

    ``progress`` is told often, in cells. A device that is named twice runs two cells side by side.
    What fails is marked with its reason, also in the cell's ``status.json``, and the rest goes on;
    so is, as ``pruned``, a cell whose own observer ended its training. The outputs of frozen layers
    are deleted when all is done, unless ``keep_frozen`` says that more cells come. ``start`` is how
    processes begin: ``fork`` saves the imports, and is safe only in a process that has not computed
    anything yet. InputError if another process runs a sweep with the same work directory.
    """
    work = states[0].cell.work
    # Before anything trains, not when there is a run to be written.
    for folder in dict.fromkeys((work, *(one.cell.store for one in states))):
        _require_writable(folder)
    with _only_one(work):
        for one in states:
            if is_done(one.cell):
                one.state, one.made_before, one.fraction = "done", True, 1.0
        _loop(states, list(devices), progress, start)
        if all(one.state == "done" for one in states) and not keep_frozen:
            _drop_frozen(work)


def drop_frozen(work: Path) -> None:
    """Delete the outputs of frozen layers, unless a sweep is running there: it needs them."""
    with contextlib.suppress(Timeout), FileLock(work / "sweep.lock", timeout=0):
        _drop_frozen(work)


def _drop_frozen(work: Path) -> None:
    shutil.rmtree(work / "frozen", ignore_errors=True)


def left_s(states: Sequence[CellState], slots: int) -> float | None:
    """Seconds until the sweep is over: from the cells that are done, else from those running."""
    own = [one.seconds for one in states if one.state == "done" and not one.made_before]
    running = [one for one in states if one.state == "running"]
    guesses = [one.seconds + left for one in running if (left := one.left_s) is not None]
    took = own or guesses
    if not took:
        return None
    each = sum(took) / len(took)
    waiting = sum(1 for one in states if one.state == "waiting")
    # Of a cell that has only begun, the average is the better guess.
    begun = [each - one.seconds if one.left_s is None else one.left_s for one in running]
    return (waiting * each + sum(max(0.0, left) for left in begun)) / max(1, slots)


@contextmanager
def _only_one(work: Path) -> Iterator[None]:
    try:
        with FileLock(work / "sweep.lock", timeout=0):
            yield
    except Timeout as error:
        raise InputError(
            "another sweep is running there",
            where=str(work),
            hint="Wait for it, or give this study another store.",
        ) from error


def _require_writable(folder: Path) -> None:
    """InputError for a folder that cannot be made or written in."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror or error})",
            where=str(folder),
            hint="Choose another store, or make room and a right to write there.",
        ) from error


def _loop(states: Sequence[CellState], free: list[str], progress: Progress, start: Start) -> None:
    running: list[_Running] = []
    waiting = [one for one in states if one.state == "waiting"]
    try:
        while waiting or running:
            while waiting and free:
                running.append(_start(waiting.pop(0), free.pop(0), start))
            _tell(states, progress)
            connection.wait(
                [
                    *(one.messages for one in running if not one.closed),
                    *(one.process.sentinel for one in running),
                ],
                timeout=_POLL_S,
            )
            for one in list(running):
                ended = not one.process.is_alive()
                _receive(one)
                if ended:
                    _end(one)
                    running.remove(one)
                    free.append(one.state.device)
        _tell(states, progress)
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.join(_JOIN_S)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()


def _tell(states: Sequence[CellState], progress: Progress) -> None:
    done = sum(one.fraction if one.state in ("waiting", "running") else 1.0 for one in states)
    progress.advance(done, len(states), ", ".join(one.stage for one in states if one.stage))


def _start(state: CellState, device: str, start: Start) -> _Running:
    context = cast(SpawnContext, get_context(start))  # the one for forks from a server is like it
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=_in_process, args=(state.cell, device, theirs), name=state.cell.run_id
    )
    with one_thread_each():
        process.start()
    theirs.close()
    state.state, state.device, state.stage = "running", device, "start"
    return _Running(state, process, ours, time.monotonic())


def _receive(one: _Running) -> None:
    """Take what the cell has said since the last time."""
    one.state.seconds = time.monotonic() - one.started
    try:
        while not one.closed and one.messages.poll():
            kind, *parts = one.messages.recv()
            if kind == "progress":
                one.state.fraction, one.state.stage = parts
            else:
                one.told = (kind, parts[0])
    except (EOFError, OSError):
        one.closed = True


def _end(one: _Running) -> None:
    """What became of a cell whose process is over."""
    one.process.join()
    one.messages.close()
    kind, reason = one.told or ("failed", reason_of_exit(one.process.exitcode))
    state = one.state
    state.stage = ""
    if kind == "done":
        state.state, state.fraction = "done", 1.0
        return
    if kind == "pruned":
        state.state, state.reason = "pruned", reason
        return
    state.state, state.reason = "failed", reason
    status = Status("failed", reason, state.cell.digest(), round(state.seconds, 1))
    try:
        write_status(state.cell, status)
    except InputError as error:  # a full disk: the table at the end has the reason still
        state.reason += f" (and its status {error.problem})"


def _in_process(cell: Cell, device: str, messages: Connection) -> None:
    """A cell's process: runs it and says what came of it."""
    started = time.monotonic()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the sweep, which ends this
    _end_with_parent()
    try:
        quiet_libraries()
        run_cell(cell, device, lambda: time.monotonic() - started, _Messenger(messages))
    except TrainingStopped as stop:
        _send(messages, ("pruned", str(stop)))
    except Exception as error:  # whatever it is, the rest of the sweep goes on
        _keep_traceback(cell)
        files = f"in {cell.folder} or {cell.store}"
        _send(messages, ("failed", reason_of(error, files)))
    else:
        _send(messages, ("done", ""))


class _Messenger:
    """The progress of a cell, told to the sweep's process; not more often than people can see."""

    def __init__(self, messages: Connection) -> None:
        self._messages, self._what, self._at = messages, "", 0.0

    def advance(self, done: float, total: float | None, what: str = "") -> None:
        """Send it, if it is time or another stage."""
        now = time.monotonic()
        if what != self._what or now - self._at > _MESSAGE_S:
            self._what, self._at = what, now
            _send(self._messages, ("progress", done / total if total else 0.0, what))


def _send(messages: Connection, message: tuple[object, ...]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the sweep is gone, and so is this in a moment
        messages.send(message)


def _keep_traceback(cell: Cell) -> None:
    """For whoever looks into a fault; where it cannot be written the one line must do."""
    with contextlib.suppress(OSError):
        (cell.folder / ERROR_FILE).write_text(traceback.format_exc(), encoding="utf-8")


def _end_with_parent() -> None:
    """End at once when the sweep's process does, however it does."""
    parent = parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()
