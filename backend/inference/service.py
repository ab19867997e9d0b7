"""Traces on demand for many users: a bounded queue, one worker a device, models and results kept.

A request passes the stages of :data:`STAGES`. What came of it is a value; nothing of what users
send is logged.
"""

from __future__ import annotations

import io
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference.cache import ResultCache, content_key, freeze
from backend.inference.memory import (
    CPU,
    Estimate,
    ModelPool,
    budget,
    device_failed,
    measured,
    out_of_memory,
    pair_bytes,
    release,
    size_text,
)
from backend.inference.values import Caption, Picture, Trace
from backend.types import POOLINGS, Pooling
from backend.words import counted

if TYPE_CHECKING:
    from PIL import Image

    from backend.models.adapter import Adapter
    from backend.models.edits import Cut

T = TypeVar("T")

Stage = Literal["decoding", "loading", "running", "placing"]
STAGES: tuple[Stage, ...] = ("decoding", "loading", "running", "placing")

_log = logging.getLogger(__name__)


class Models(Protocol):
    """Where the service has its models from, by opaque keys: a catalogue, or one model."""

    def where(self, key: str) -> str:
        """How messages name a model; InputError where there is none of that key."""
        ...

    def identity(self, key: str) -> str:
        """What tells a model from any other, such as its digest."""
        ...

    def weights_bytes(self, key: str) -> int:
        """What its weights take when loaded; 0 where that is not known beforehand."""
        ...

    def open(self, key: str, device: str) -> Adapter:
        """Load it."""
        ...


@dataclass(frozen=True)
class Limits:
    """``queue`` requests may wait; results are kept up to a size and an age in seconds."""

    queue: int = 16
    cache_bytes: int = 256 * 2**20
    cache_age_s: float = 600.0


class Busy(InputError):  # noqa: N818 -- a state that passes
    """The queue is full: nothing is wrong with the request."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A picture (a file's bytes, or made harmless already) and a caption. Either may lack."""

    image: bytes | Picture | None = None
    text: str | Caption = ""


@dataclass(frozen=True)
class CutAt:
    """The fusion of a stream is cut: at a layer, or at all."""

    stream: str
    layer: int | None = None


@dataclass(frozen=True, eq=False)
class Work(Generic[T]):
    """What a model does with a request's pairs.

    ``key`` names the function with all its parameters: what has the same key, model and pairs has
    the same result. ``at_once`` is how many pairs are in its largest batch, 0 for all of the
    request.
    """

    key: str
    run: Callable[[Adapter, Sequence[Sample]], T]
    at_once: int = 0


@dataclass(frozen=True, eq=False)
class Placing(Generic[T]):
    """What is made of the result without the model, such as its place among a run's samples."""

    key: str
    run: Callable[[T], object]


def tracing(
    cuts: Sequence[CutAt] = (),
    *,
    attention: bool = True,
    poolings: Sequence[Pooling] = POOLINGS,
) -> Work[tuple[Trace, ...]]:
    """A trace a pair, all in one forward pass."""
    parts = [[cut.stream, cut.layer] for cut in cuts]
    key = content_key("trace", parts, attention, list(poolings))

    def run(adapter: Adapter, samples: Sequence[Sample]) -> tuple[Trace, ...]:
        from backend.inference.tracing import trace_batch

        edits = _cuts(adapter, cuts)
        return trace_batch(adapter, samples, edits=edits, attention=attention, poolings=poolings)

    return Work(key, run)


@dataclass(frozen=True, eq=False)
class Request(Generic[T]):
    """``model`` is a key of :class:`Models`; ``pairs`` go through it in ``work``."""

    model: str
    pairs: tuple[Pair, ...]
    work: Work[T]
    placing: Placing[T] | None = None


@dataclass(frozen=True, eq=False)
class Done(Generic[T]):
    """``value`` is what the work gave, ``placed`` what the placing made of it.

    ``notes`` are sentences for the user: what was changed in the own files, what went differently.
    ``seconds`` by stage; those of a ``cached`` result are without the stages that were spared. The
    value is shared: its arrays are read-only.
    """

    value: T
    placed: object
    notes: tuple[str, ...]
    device: str
    seconds: Mapping[Stage, float]
    cached: bool


@dataclass(frozen=True)
class Failed:
    """Why there is no result. ``fault``: it is ours, not the user's."""

    error: InputError
    fault: bool = False


@dataclass(frozen=True)
class Cancelled:
    """The user did not want it any more."""


Outcome = Done[T] | Failed | Cancelled


@dataclass(frozen=True, eq=False)
class _Answer:
    """What users of the same content share."""

    value: Any
    placed: object
    notices: tuple[str, ...]
    device: str


@dataclass(frozen=True, eq=False)
class _Decoded:
    """A request made harmless."""

    samples: tuple[Sample, ...]
    notes: tuple[str, ...]
    key: str
    identity: str


class Job(Generic[T]):
    """A request on its way; made by :meth:`Service.submit`. Any thread may ask and cancel."""

    def __init__(self, service: Service, request: Request[T]) -> None:
        self._service = service
        self._request: Request[T] | None = request
        self._spent: dict[Stage, float] = {}
        self._now: tuple[Stage, float] | None = None
        self._notes: tuple[str, ...] = ()
        self._computation: _Computation | None = None
        self._outcome: Outcome[T] | None = None
        self._finished = threading.Event()
        self._key = ""

    @property
    def key(self) -> str:
        """The hash of its content, for :meth:`Service.forget`; empty before it was decoded."""
        return self._key

    @property
    def stage(self) -> Stage | None:
        """What is being done; None while it waits, and at the end."""
        now = self._now
        return now[0] if now else None

    @property
    def done(self) -> bool:
        """Whether there is an outcome."""
        return self._finished.is_set()

    def seconds(self) -> dict[Stage, float]:
        """Elapsed time by stage so far."""
        with self._service.lock:
            return self._seconds()

    def cancel(self) -> None:
        """Want it no more: the outcome is :class:`Cancelled` at once, unless there is one.

        What waits is dropped; what runs for nobody else ends at the next stage.
        """
        self._service.cancel(self)

    def result(self, timeout_s: float | None = None) -> Outcome[T]:
        """The outcome, once there is one; TimeoutError if not in time."""
        self._finished.wait(timeout_s)
        if self._outcome is None:
            raise TimeoutError("the job has not ended yet")
        return self._outcome

    # The service calls these with its lock held.

    def _seconds(self) -> dict[Stage, float]:
        spent = dict(self._spent)
        if self._now is not None:
            stage, since = self._now
            spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - since
        return spent

    def _enter(self, stage: Stage | None) -> None:
        self._spent = self._seconds()
        self._now = None if stage is None else (stage, time.perf_counter())

    def _end(self, outcome: Outcome[T]) -> None:
        if self._outcome is None:
            self._enter(None)
            self._outcome = outcome
            self._request = self._computation = None  # whoever keeps the job keeps no pixels
            self._finished.set()

    def _answered(self, answer: _Answer, *, cached: bool) -> None:
        self._enter(None)
        notes = (*self._notes, *answer.notices)
        done: Done[T] = Done(
            answer.value, answer.placed, notes, answer.device, self._seconds(), cached
        )
        self._end(done)


class _AbandonedError(Exception):
    """Nobody wants the computation any more."""


class _Computation:
    """What is computed once for all jobs of the same content."""

    def __init__(self, request: Request[Any], decoded: _Decoded, need: Estimate) -> None:
        self.request = request
        self.decoded = decoded
        self.need = need
        self.jobs: list[Job[Any]] = []
        self.stage: Stage | None = None
        self.keep = True


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
        given = budgets or {}
        sized = {} if sizes is None else {"size": sizes}
        self.pools = {
            device: ModelPool(given.get(device) or budget(device), **sized)
            for device in dict.fromkeys((*devices, CPU))
        }
        self.lock = threading.Condition()
        self._undecoded: deque[Job[Any]] = deque()
        self._queued: deque[_Computation] = deque()
        self._computations: dict[str, _Computation] = {}
        self._measured: dict[str, int] = {}
        self._broken: set[str] = set()
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
        job = Job(self, request)
        with self.lock:
            if self._closed:
                raise InputError("the service is shutting down", hint="Try again in a minute.")
            waiting = len(self._undecoded) + len(self._queued)
            if waiting >= self._limits.queue:
                raise Busy(
                    f"{counted(waiting, 'request')} are waiting already, no more are taken",
                    hint="Try again in a moment.",
                )
            self._undecoded.append(job)
            self.lock.notify_all()
        return job

    def waiting(self) -> int:
        """How many requests wait."""
        with self.lock:
            return len(self._undecoded) + len(self._queued)

    def cancel(self, job: Job[Any]) -> None:
        """See :meth:`Job.cancel`."""
        with self.lock:
            computation = job._computation
            job._end(Cancelled())
            if job in self._undecoded:
                self._undecoded.remove(job)
            if computation is not None and job in computation.jobs:
                computation.jobs.remove(job)
                if not computation.jobs:
                    self._drop(computation)

    def forget(self, key: str) -> None:
        """Keep nothing of the content of that key (:attr:`Job.key`), now or when it is done."""
        with self.lock:
            if key in self._computations:
                self._computations[key].keep = False
            self.cache.forget(key)

    def close(self) -> None:
        """Take no more, cancel what waits, wait for what runs, let go of models and results."""
        with self.lock:
            self._closed = True
            for job in [*self._undecoded, *(j for c in self._queued for j in c.jobs)]:
                job._end(Cancelled())
            for running in self._computations.values():
                for job in running.jobs:
                    job._end(Cancelled())
                running.jobs.clear()
            self._undecoded.clear()
            self._queued.clear()
            self.lock.notify_all()
        for thread in self._threads:
            thread.join()
        self.cache.clear()
        for pool in self.pools.values():
            pool.drop()

    # Decoding

    def _decode_all(self) -> None:
        while (job := self._next_job()) is not None:
            request = job._request
            try:
                if request is not None:
                    self._admit(job, request, self._decoded(request))
            except Exception as error:  # a fault must not end the thread
                self._end([job], _failed(error))
            del job, request

    def _next_job(self) -> Job[Any] | None:
        with self.lock:
            while not self._undecoded and not self._closed:
                self.lock.wait(self.cache.drop_old())
            if self._closed:
                return None
            job = self._undecoded.popleft()
            job._enter("decoding")
            return job

    def _decoded(self, request: Request[Any]) -> _Decoded:
        from backend.inference.uploads import read_caption, read_picture

        if not request.pairs:
            raise InputError("there is no pair to trace")
        identity = self._models.identity(request.model)
        samples, notes, content = [], [], []
        for pair in request.pairs:
            picture = read_picture(pair.image) if isinstance(pair.image, bytes) else pair.image
            caption = read_caption(pair.text) if isinstance(pair.text, str) else pair.text
            samples.append(Sample(caption.text, () if picture is None else (picture.image,)))
            notes += [*(picture.notes if picture is not None else ()), *caption.notes]
            content.append([picture.digest if picture is not None else None, caption.text])
        placing = request.placing.key if request.placing is not None else None
        key = content_key(identity, content, request.work.key, placing)
        return _Decoded(tuple(samples), tuple(dict.fromkeys(notes)), key, identity)

    def _admit(self, job: Job[Any], request: Request[Any], decoded: _Decoded) -> None:
        """Answer from the cache, join the same computation, or queue one, if it can fit at all."""
        need = self._need(request, decoded)
        if all(need.bytes > pool.max_bytes for pool in self.pools.values()):
            most = max(pool.max_bytes for pool in self.pools.values())
            raise InputError(
                f"needs about {need.text}; models may take {size_text(most)} here",
                where=self._models.where(request.model),
                hint="Take a smaller model, or fewer pairs at once.",
            )
        with self.lock:
            job._key, job._notes = decoded.key, decoded.notes
            if self._closed:
                job._end(Cancelled())
            if job.done:
                return
            answer = self.cache.get(decoded.key)
            if isinstance(answer, _Answer):
                job._answered(answer, cached=True)
                return
            computation = self._computations.get(decoded.key)
            if computation is None:
                computation = _Computation(request, decoded, need)
                self._computations[decoded.key] = computation
                self._queued.append(computation)
                self.lock.notify_all()
            computation.jobs.append(job)
            job._computation, job._request = computation, None
            job._enter(computation.stage)

    def _need(self, request: Request[Any], decoded: _Decoded) -> Estimate:
        kept = (pool.weights(decoded.identity) for pool in self.pools.values())
        weights = next((size for size in kept if size is not None), None)
        if weights is None:
            weights = self._models.weights_bytes(request.model)
        each = self._measured.get(decoded.identity, pair_bytes(weights))
        return Estimate(weights, each * (request.work.at_once or len(decoded.samples)))

    # Computing

    def _work_all(self, device: str) -> None:
        while (computation := self._next_computation()) is not None:
            try:
                answer = self._compute(computation, device)
            except _AbandonedError:
                with self.lock:
                    self._drop(computation)
            except Exception as error:
                with self.lock:
                    self._drop(computation)
                    jobs = list(computation.jobs)
                self._end(jobs, _failed(error))
            else:
                with self.lock:
                    self._drop(computation)
                    if computation.keep and not self._closed:
                        self.cache.put(computation.decoded.key, answer)
                        self.lock.notify_all()  # who sweeps the cache must know when
                    for job in computation.jobs:
                        job._answered(answer, cached=False)
                del answer
            del computation

    def _next_computation(self) -> _Computation | None:
        with self.lock:
            while not self._queued and not self._closed:
                self.lock.wait()
            return None if self._closed else self._queued.popleft()

    def _compute(self, computation: _Computation, device: str) -> _Answer:
        where = self._models.where(computation.request.model)
        notice = ""
        if device != CPU and computation.need.bytes > self.pools[device].max_bytes:
            notice = (
                f"It needs about {computation.need.text}, more than the GPU has: it ran on the CPU."
            )
        elif device in self._broken:
            notice = "The GPU does not work any more until a restart: it ran on the CPU."
        elif device != CPU:
            try:
                return self._attempt(computation, device, ())
            except Exception as error:
                if device_failed(error):
                    self._broken.add(device)
                elif not out_of_memory(error):
                    raise
            # Outside of the handler, whose traceback holds on to what was allocated.
            if device in self._broken:
                _log.error("%s failed: what is asked runs on the CPU until a restart", device)
                notice = "The GPU failed: it ran on the CPU."
            else:
                _log.warning("%s ran out of memory on %s, the CPU goes on", where, device)
                self.pools[device].drop()
                release(device)
                notice = "The GPU ran out of memory: it ran on the CPU, which takes longer."
        try:
            return self._attempt(computation, CPU, (notice,) if notice else ())
        except Exception as error:
            if not out_of_memory(error):
                raise
        self.pools[CPU].drop()
        release(CPU)
        raise InputError(
            "this machine's memory does not suffice",
            where=where,
            hint="Take a smaller model, or fewer pairs at once.",
        )

    def _attempt(self, computation: _Computation, device: str, notices: tuple[str, ...]) -> _Answer:
        request, decoded = computation.request, computation.decoded

        def wanted() -> None:
            self._enter(computation, "loading")

        wanted()
        with self.pools[device].lease(
            decoded.identity,
            computation.need,
            lambda: self._models.open(request.model, device),
            wanted,
        ) as adapter:
            self._enter(computation, "running")
            with measured(device) as peak:
                value = request.work.run(adapter, decoded.samples)
        if peak.bytes is not None:
            at_once = request.work.at_once or len(decoded.samples)
            self._measured[decoded.identity] = max(1, peak.bytes // at_once)
        self._enter(computation, "placing")
        placed = request.placing.run(value) if request.placing is not None else None
        answer = _Answer(value, placed, notices, device)
        freeze(answer)
        return answer

    def _enter(self, computation: _Computation, stage: Stage) -> None:
        """Tell all who wait for it; :class:`_AbandonedError` where nobody does."""
        with self.lock:
            if not computation.jobs:
                raise _AbandonedError
            if computation.stage != stage:
                computation.stage = stage
                for job in computation.jobs:
                    job._enter(stage)

    def _drop(self, computation: _Computation) -> None:
        """Nobody joins it any more. With the lock held."""
        if self._computations.get(computation.decoded.key) is computation:
            del self._computations[computation.decoded.key]
        if computation in self._queued:
            self._queued.remove(computation)

    def _end(self, jobs: Sequence[Job[Any]], outcome: Failed) -> None:
        with self.lock:
            for job in jobs:
                job._end(outcome)


def trace(
    model: Adapter | str | Path,
    image: Picture | Image.Image | bytes | str | Path,
    text: str,
    *,
    cuts: Sequence[CutAt] = (),
    attention: bool = True,
    poolings: Sequence[Pooling] = POOLINGS,
    device: str = CPU,
) -> Trace:
    """One image and a text through a model's layers: for a notebook or a script.

    ``model`` is an adapter (:func:`backend.models.registry.open_model` makes one, once for many
    traces), a checkpoint directory or a hub id, which is opened on ``device``; ``image`` a picture
    of Pillow, a file's path or its bytes. InputError says in one line what cannot be used.
    """
    from backend.inference.uploads import read_caption
    from backend.models.registry import open_model

    picture, caption = picture_of(image), read_caption(text)
    for note in (*picture.notes, *caption.notes):
        _log.warning(note)
    adapter = open_model(str(model), device=device) if isinstance(model, str | Path) else model
    work = tracing(cuts, attention=attention, poolings=poolings)
    return work.run(adapter, [Sample(caption.text, (picture.image,))])[0]


def picture_of(image: Picture | Image.Image | bytes | str | Path) -> Picture:
    """A picture of any kind made harmless, as an upload is; InputError where it cannot be."""
    from backend.inference.uploads import read_picture

    if isinstance(image, Picture):
        return image
    if isinstance(image, bytes):
        return read_picture(image)
    if isinstance(image, str | Path):
        return read_picture(picture_bytes(Path(image)))
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
    elif not upright.mode.startswith(("I;16", "RGB")):
        upright = upright.convert("RGB")
    written = io.BytesIO()
    upright.save(written, "PNG", compress_level=1)
    return read_picture(written.getvalue())


def picture_bytes(path: Path) -> bytes:
    """A file that the user named; InputError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=str(path)) from error


def _cuts(adapter: Adapter, cuts: Sequence[CutAt]) -> tuple[Cut, ...]:
    from backend.models.edits import cut

    return tuple(edit for at in cuts for edit in cut(adapter.stream(at.stream), at.layer))


def _failed(error: Exception) -> Failed:
    """The error as a value; of a fault of ours only the kind and the place, as both are logged."""
    if isinstance(error, InputError):
        return Failed(error.named({}))  # a fresh one: a traceback holds pictures and texts
    kind = type(error).__name__
    places = "".join(traceback.format_tb(error.__traceback__))
    _log.error("a request failed with %s; its message may hold what users sent\n%s", kind, places)
    fault = InputError(f"a fault of ours ({kind})", hint="The server's log says where.")
    return Failed(fault, fault=True)
