"""How much memory a request needs, how much there is, and which models are kept in it."""

from __future__ import annotations

import gc
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backend.errors import InputError, causes
from backend.words import size_text

if TYPE_CHECKING:
    from backend.models.adapter import Adapter

CPU = "cpu"
_SHARE_OF_CPU = 0.5  # the dashboard and other programs live there, too
_SHARE_OF_GPU = 0.9  # the rest is lost to fragmentation
_LEAST_PAIR_BYTES = 16 * 2**20
_PAIR_SHARE = 8
_CHECK_S = 0.1


class TooLarge(InputError):  # noqa: N818 -- nothing is wrong: another device may have the room
    """A model that a device can never hold, whatever goes."""


@dataclass(frozen=True)
class Estimate:
    """Bytes that a request needs at most at once: for the model's weights and while it runs.

    ``pairs`` is what its pairs take, ``beside`` what the work takes whatever the pairs are.
    """

    weights: int
    pairs: int
    beside: int = 0

    @property
    def activations(self) -> int:
        """While it runs."""
        return self.pairs + self.beside

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.weights + self.activations

    @property
    def text(self) -> str:
        """``2.4 GiB (2 GiB of weights, 409.6 MiB while it runs)``."""
        return (
            f"{size_text(self.bytes)} ({size_text(self.weights)} of weights, "
            f"{size_text(self.activations)} while it runs)"
        )


def pair_bytes(weights: int) -> int:
    """What one pair is taken to need while a model of so many bytes runs, before it was measured.

    An eighth of the weights, at least 16 MiB. That is more than a pair of the towers and language
    models that this program opens needs for its activations, attention maps included.
    """
    return max(_LEAST_PAIR_BYTES, weights // _PAIR_SHARE)


def stored_bytes(folder: Path, where: str) -> int:
    """What the weights of a checkpoint directory take when loaded, which is as float32.

    Read off the headers of its files. InputError where they are missing or broken.
    """
    from backend.models.weights import stored_tensors

    return 4 * sum(tensor.count for tensor in stored_tensors(folder, where).values())


def loaded_bytes(adapter: Adapter) -> int:
    """What an open model's parameters and buffers take."""
    from backend.models.describe import describe

    return describe(adapter).memory.bytes


def budget(device: str) -> int:
    """Bytes that models may take on a device: half of the CPU's free memory, 0.9 of a GPU's."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0] * _SHARE_OF_GPU)
    return int(available_bytes() * _SHARE_OF_CPU)


def available_bytes(root: Path = Path("/")) -> int:
    """Main memory that this process may still take: what is free, within its control group."""
    free = _meminfo(root / "proc" / "meminfo")
    if free is None:
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    group = root / "sys" / "fs" / "cgroup"
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most, now = _number(group / limit), _number(group / used)
        if most is not None and now is not None:
            free = min(free, max(0, most - now))
    return free


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on any device; the device itself is then sound.

    Also where that was told as another error, as it is of whatever a checkpoint's loading raises.
    """
    import torch

    return any(
        isinstance(one, torch.OutOfMemoryError | MemoryError)
        # What torch says of the CPU's memory.
        or (isinstance(one, RuntimeError) and "can't allocate memory" in str(one))
        for one in causes(error)
    )


def device_failed(error: BaseException) -> bool:
    """Whether a GPU reported an error after which this process cannot use it any more."""
    import torch

    return isinstance(error, torch.AcceleratorError)


def release(device: str) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()


class Peak:
    """What :func:`measured` measured: ``bytes``, None where the device does not tell."""

    bytes: int | None = None


@contextmanager
def measured(device: str) -> Iterator[Peak]:
    """The most memory that is taken on a GPU inside, beyond what was taken before."""
    peak = Peak()
    if not device.startswith("cuda"):
        yield peak
        return
    import torch

    on = torch.device(device)
    if not torch.cuda.is_initialized():
        yield peak
        return
    before = torch.cuda.memory_allocated(on)
    torch.cuda.reset_peak_memory_stats(on)
    yield peak
    peak.bytes = torch.cuda.max_memory_allocated(on) - before


@dataclass
class _Kept:
    """A model; ``adapter`` is None while it is being opened. A busy one has a user."""

    bytes: int
    adapter: Adapter | None = None
    busy: bool = True
    room: int = 0


class ModelPool:
    """The models that are kept on one device, at most ``max_bytes`` with what they need to run.

    The least recently used idle one goes first; one in use stays. Safe between threads; a model
    has one user at a time, as passes with other hooks would mix.
    """

    def __init__(self, max_bytes: int, size: Callable[[Adapter], int] = loaded_bytes) -> None:
        self.max_bytes = max_bytes
        self._size = size
        self._models: OrderedDict[str, _Kept] = OrderedDict()
        self._changed = threading.Condition()

    @property
    def bytes(self) -> int:
        """What all models take, and those in use for running."""
        with self._changed:
            return self._taken()

    @property
    def identities(self) -> tuple[str, ...]:
        """Which models are kept, the least recently used first."""
        with self._changed:
            return tuple(self._models)

    def weights(self, identity: str) -> int | None:
        """What a model takes that is kept; None for any other."""
        with self._changed:
            kept = self._models.get(identity)
            return kept.bytes if kept is not None and kept.adapter is not None else None

    @contextmanager
    def lease(
        self,
        identity: str,
        need: Estimate,
        open_model: Callable[[], Adapter],
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[Adapter]:
        """A model for one user, opened if it is not here.

        Waits while others use what must go first; ``check`` is called meanwhile and may raise.
        TooLarge where it cannot fit, with numbers.
        """
        kept = self._reserved(identity, need, check)
        try:
            if kept.adapter is None:
                kept.adapter = open_model()
                self._fit(identity, kept, self._size(kept.adapter))
            yield kept.adapter
        finally:
            with self._changed:
                kept.busy, kept.room = False, 0
                if kept.adapter is None:
                    self._models.pop(identity, None)
                self._changed.notify_all()

    def drop(self, identity: str | None = None) -> None:
        """Let one model go, or all, unless they are in use."""
        with self._changed:
            for name in [identity] if identity is not None else list(self._models):
                if name in self._models and not self._models[name].busy:
                    del self._models[name]
            self._changed.notify_all()

    def _reserved(self, identity: str, need: Estimate, check: Callable[[], None]) -> _Kept:
        """The model's place, busy, with room for it to run."""
        with self._changed:
            while True:
                kept = self._models.get(identity)
                if kept is None:
                    if self._make_room(identity, need.bytes):
                        self._models[identity] = kept = _Kept(need.weights, room=need.activations)
                        return kept
                elif not kept.busy and self._make_room(identity, need.activations):
                    kept.busy, kept.room = True, need.activations
                    self._models.move_to_end(identity)
                    return kept
                self._wait(check)

    def _fit(self, identity: str, kept: _Kept, size: int) -> None:
        """Count a model that was just opened by what it takes, which may be more than was said.

        It is not waited for others: what it takes is taken already.
        """
        with self._changed:
            kept.bytes = size
            try:
                self._make_room(identity, 0)
            except TooLarge:
                kept.adapter = None
                raise

    def _make_room(self, identity: str, more: int) -> bool:
        """Whether ``more`` bytes fit now, once idle models have gone; TooLarge if never."""
        own = self._models.get(identity)
        least = more + (own.bytes + own.room if own is not None else 0)
        if least > self.max_bytes:
            raise TooLarge(
                f"the model needs {size_text(least)}, and there is {size_text(self.max_bytes)}",
                hint="Take a smaller model, or fewer pairs at once.",
            )
        for name in list(self._models):
            if self._taken() + more <= self.max_bytes:
                break
            if name != identity and not self._models[name].busy:
                del self._models[name]
                gc.collect()
        return self._taken() + more <= self.max_bytes

    def _taken(self) -> int:
        return sum(kept.bytes + kept.room for kept in self._models.values())

    def _wait(self, check: Callable[[], None]) -> None:
        check()
        self._changed.wait(_CHECK_S)


def _meminfo(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    values = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(values[0]) * 1024 if values else None


def _number(path: Path) -> int | None:
    """What a control group's file says; None where it is missing or says ``max``."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
