"""Requests on their way: what a user holds, what the service knows of it, what many share."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference.cache import Recall, content_key
from backend.inference.memory import Estimate
from backend.inference.requests import Done, Failed, Outcome, Request, Stage
from backend.inference.uploads import read_caption, read_picture

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Answer:
    """What users of the same content share; ``parts`` are the keys of what else is kept of it."""

    value: Any
    placed: object
    notices: tuple[str, ...]
    device: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Decoded:
    """A request made harmless.

    ``key`` is the hash of all that is asked, ``content`` that of its model and pairs alone;
    ``identity`` is the model's.
    """

    samples: tuple[Sample, ...]
    notes: tuple[str, ...]
    key: str
    content: str
    identity: str


def read_pairs(request: Request[Any], identity: str) -> Decoded:
    """Read a request's files and texts; InputError says what cannot be used."""
    if not request.pairs:
        raise InputError("there is no pair to trace")
    samples, notes, content = [], [], []
    for pair in request.pairs:
        picture = read_picture(pair.image) if isinstance(pair.image, bytes) else pair.image
        caption = read_caption(pair.text) if isinstance(pair.text, str) else pair.text
        samples.append(Sample(caption.text, () if picture is None else (picture.image,)))
        notes += [*(picture.notes if picture is not None else ()), *caption.notes]
        content.append([picture.digest if picture is not None else None, caption.text])
    placing = request.placing.key if request.placing is not None else None
    whole = content_key(identity, content)
    key = content_key(whole, request.work.key, placing)
    return Decoded(tuple(samples), tuple(dict.fromkeys(notes)), key, whole, identity)


class JobState(Generic[T]):
    """A job as the service sees it, which changes it with its lock held."""

    def __init__(self, request: Request[T]) -> None:
        self.request: Request[T] | None = request
        self.key = ""
        self.notes: tuple[str, ...] = ()
        self.now: tuple[Stage, float] | None = None
        self.computation: Computation | None = None
        self.outcome: Outcome[T] | None = None
        self.finished = threading.Event()
        self._spent: dict[Stage, float] = {}

    def seconds(self) -> dict[Stage, float]:
        """Elapsed time by stage so far."""
        spent = dict(self._spent)
        if self.now is not None:
            stage, since = self.now
            spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - since
        return spent

    def enter(self, stage: Stage | None) -> None:
        """A stage begins; None: it waits."""
        self._spent = self.seconds()
        self.now = None if stage is None else (stage, time.perf_counter())

    def end(self, outcome: Outcome[T]) -> None:
        """This comes of it, unless something has already."""
        if self.outcome is None:
            self.enter(None)
            self.outcome = outcome
            self.request = self.computation = None  # whoever keeps the job keeps no pixels
            self.finished.set()

    def answer(self, answer: Answer, *, cached: bool) -> None:
        """This is its result."""
        self.enter(None)
        notes = (*self.notes, *answer.notices)
        done: Done[T] = Done(
            answer.value, answer.placed, notes, answer.device, self.seconds(), cached
        )
        self.end(done)


class Job(Generic[T]):
    """A request on its way; made by :meth:`Service.submit`. Any thread may ask and cancel."""

    def __init__(
        self, state: JobState[T], lock: threading.Condition, cancel: Callable[[JobState[T]], None]
    ) -> None:
        self._state = state
        self._lock = lock
        self._cancel = cancel

    @property
    def key(self) -> str:
        """The hash of its content, for :meth:`Service.forget`; empty before it was decoded."""
        return self._state.key

    @property
    def stage(self) -> Stage | None:
        """What is being done; None while it waits, and at the end."""
        now = self._state.now
        return now[0] if now else None

    @property
    def done(self) -> bool:
        """Whether there is an outcome."""
        return self._state.finished.is_set()

    def seconds(self) -> dict[Stage, float]:
        """Elapsed time by stage so far."""
        with self._lock:
            return self._state.seconds()

    def cancel(self) -> None:
        """Want it no more: the outcome is :class:`Cancelled` at once, unless there is one.

        What waits is dropped; what runs for nobody else ends at the next stage.
        """
        self._cancel(self._state)

    def result(self, timeout_s: float | None = None) -> Outcome[T]:
        """The outcome, once there is one; TimeoutError if not in time."""
        self._state.finished.wait(timeout_s)
        if self._state.outcome is None:
            raise TimeoutError("the job has not ended yet")
        return self._state.outcome


class Computation:
    """What is computed once for all jobs of the same content."""

    def __init__(self, request: Request[Any], decoded: Decoded, need: Estimate) -> None:
        self.request = request
        self.decoded = decoded
        self.need = need
        self.jobs: list[JobState[Any]] = []
        self.stage: Stage | None = None
        self.recall: Recall | None = None
        self.keep = True


def failed(error: Exception) -> Failed:
    """The error as a value; of a fault of ours only the kind and the place, as both are logged."""
    if isinstance(error, InputError):
        return Failed(error.named({}))  # a fresh one: a traceback holds pictures and texts
    kind = type(error).__name__
    places = "".join(traceback.format_tb(error.__traceback__))
    _log.error("a request failed with %s; its message may hold what users sent\n%s", kind, places)
    fault = InputError(f"a fault of ours ({kind})", hint="The server's log says where.")
    return Failed(fault, fault=True)
