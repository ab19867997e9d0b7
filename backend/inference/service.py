"""Traces on demand for many users: a bounded queue, one worker a device, models and results kept.

What came of a request is a value; nothing of what users send is logged.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from backend.errors import InputError
from backend.inference.cache import ResultCache
from backend.inference.jobs import Answer, Computation, Decoded, Job, JobState, failed, read_pairs
from backend.inference.machine import Machine
from backend.inference.memory import CPU
from backend.inference.requests import Busy, Cancelled, Failed, Models, Request, Stage
from backend.words import counted

if TYPE_CHECKING:
    from backend.models.adapter import Adapter

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """``queue`` requests may wait; results are kept up to a size and an age in seconds."""

    queue: int = 16
    cache_bytes: int = 256 * 2**20
    cache_age_s: float = 600.0


class _AbandonedError(Exception):
    """Nobody wants the computation any more."""


class Service:
    """Takes requests, and works on them: one thread that decodes, one worker a device.

    Devices are called as by torch (``cpu``, ``cuda:0``); requests go to whichever is idle. What
    does not fit on a GPU, or runs out of memory there, runs on the CPU. ``budgets`` are the bytes
    that models may take by device, by default :func:`backend.inference.memory.budget`. ``sizes``
    tells what an open model takes. A context manager; :meth:`close` ends its threads.
    """

    def __init__(
        self,
        models: Models,
        devices: Sequence[str] = (CPU,),
        *,
        limits: Limits | None = None,
        budgets: Mapping[str, int] | None = None,
        sizes: Callable[[Adapter], int] | None = None,
    ) -> None:
        self._models = models
        self._limits = limits or Limits()
        self.cache = ResultCache(self._limits.cache_bytes, self._limits.cache_age_s)
        self.machine = Machine(models, devices, self.cache, budgets, sizes)
        self._lock = threading.Condition()
        self._undecoded: deque[JobState[Any]] = deque()
        self._queued: deque[Computation] = deque()
        self._computations: dict[str, Computation] = {}
        self._closed = False
        self._threads = [
            threading.Thread(target=self._decode_all, name="decode", daemon=True),
            *(
                threading.Thread(
                    target=self._work_all, args=(device,), name=f"trace-{device}", daemon=True
                )
                for device in devices
            ),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def submit(self, request: Request[T]) -> Job[T]:
        """Queue a request; :class:`Busy` where too many wait."""
        job = JobState(request)
        with self._lock:
            if self._closed:
                raise InputError("the service is shutting down", hint="Try again in a minute.")
            waiting = len(self._undecoded) + len(self._queued)
            if waiting >= self._limits.queue:
                raise Busy(
                    f"{counted(waiting, 'request')} are waiting already, no more are taken",
                    hint="Try again in a moment.",
                )
            self._undecoded.append(job)
            self._lock.notify_all()
        return Job(job, self._lock, self._cancel)

    def waiting(self) -> int:
        """How many requests wait."""
        with self._lock:
            return len(self._undecoded) + len(self._queued)

    def forget(self, key: str) -> None:
        """Keep nothing of the content of that key (:attr:`Job.key`), now or when it is done."""
        with self._lock:
            if key in self._computations:
                self._computations[key].keep = False
            kept = self.cache.get(key)
            parts = kept.parts if isinstance(kept, Answer) else ()
            for one in (key, *parts):
                self.cache.forget(one)

    def close(self) -> None:
        """Take no more, cancel what waits, wait for what runs, let go of models and results."""
        with self._lock:
            self._closed = True
            for job in [*self._undecoded, *(j for c in self._queued for j in c.jobs)]:
                job.end(Cancelled())
            for running in self._computations.values():
                for job in running.jobs:
                    job.end(Cancelled())
                running.jobs.clear()
            self._undecoded.clear()
            self._queued.clear()
            self._lock.notify_all()
        for thread in self._threads:
            thread.join()
        self.cache.clear()
        self.machine.drop()

    def _cancel(self, job: JobState[Any]) -> None:
        with self._lock:
            computation = job.computation
            job.end(Cancelled())
            if job in self._undecoded:
                self._undecoded.remove(job)
            if computation is not None and job in computation.jobs:
                computation.jobs.remove(job)
                if not computation.jobs:
                    self._drop(computation)

    # Decoding

    def _decode_all(self) -> None:
        while (job := self._next_job()) is not None:
            request = job.request
            try:
                if request is not None:
                    identity = self._models.identity(request.model)
                    self._admit(job, request, read_pairs(request, identity))
            except Exception as error:  # a fault must not end the thread
                self._end([job], failed(error))
            del job, request

    def _next_job(self) -> JobState[Any] | None:
        with self._lock:
            while not self._undecoded and not self._closed:
                self._lock.wait(self.cache.drop_old())
            if self._closed:
                return None
            job = self._undecoded.popleft()
            job.enter("decoding")
            return job

    def _admit(self, job: JobState[Any], request: Request[Any], decoded: Decoded) -> None:
        """Answer from the cache, join the same computation, or queue one, if it can fit at all."""
        need = self.machine.need(request, decoded)
        with self._lock:
            job.key, job.notes = decoded.key, decoded.notes
            if self._closed:
                job.end(Cancelled())
            if job.finished.is_set():
                return
            answer = self.cache.get(decoded.key)
            if isinstance(answer, Answer):
                job.answer(answer, cached=True)
                return
            computation = self._computations.get(decoded.key)
            if computation is None:
                computation = Computation(request, decoded, need)
                self._computations[decoded.key] = computation
                self._queued.append(computation)
                self._lock.notify_all()
            computation.jobs.append(job)
            job.computation, job.request = computation, None
            job.enter(computation.stage)

    # Computing

    def _work_all(self, device: str) -> None:
        while (computation := self._next_computation()) is not None:
            try:
                answer = self.machine.answer(
                    computation,
                    device,
                    partial(self._enter, computation),
                    alone=not self.waiting(),
                )
            except _AbandonedError:
                with self._lock:
                    self._drop(computation)
            except Exception as error:
                with self._lock:
                    self._drop(computation)
                    jobs = list(computation.jobs)
                self._end(jobs, failed(error))
            else:
                with self._lock:
                    self._drop(computation)
                    if computation.keep and not self._closed:
                        self.cache.put(computation.decoded.key, answer)
                        if computation.recall is not None:
                            computation.recall.keep()
                        self._lock.notify_all()  # who sweeps the cache must know when
                    for job in computation.jobs:
                        job.answer(answer, cached=False)
                del answer
            del computation

    def _next_computation(self) -> Computation | None:
        with self._lock:
            while not self._queued and not self._closed:
                self._lock.wait()
            return None if self._closed else self._queued.popleft()

    def _enter(self, computation: Computation, stage: Stage) -> None:
        """Tell all who wait for it; :class:`_AbandonedError` where nobody does."""
        with self._lock:
            if not computation.jobs:
                raise _AbandonedError
            if computation.stage != stage:
                computation.stage = stage
                for job in computation.jobs:
                    job.enter(stage)

    def _drop(self, computation: Computation) -> None:
        """Nobody joins it any more. With the lock held."""
        if self._computations.get(computation.decoded.key) is computation:
            del self._computations[computation.decoded.key]
        if computation in self._queued:
            self._queued.remove(computation)

    def _end(self, jobs: Sequence[JobState[Any]], outcome: Failed) -> None:
        with self._lock:
            for job in jobs:
                job.end(outcome)
