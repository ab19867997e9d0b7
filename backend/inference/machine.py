"""The devices of this machine, the models that are kept on each, and what is computed there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from backend.errors import InputError
from backend.inference.cache import Recall, ResultCache, freeze
from backend.inference.jobs import Answer, Computation, Decoded
from backend.inference.memory import (
    CPU,
    Estimate,
    ModelPool,
    TooLarge,
    budget,
    device_failed,
    measured,
    out_of_memory,
    pair_bytes,
    release,
)
from backend.inference.requests import Models, Request, Stage
from backend.words import size_text

if TYPE_CHECKING:
    from backend.models.adapter import Adapter

Enter = Callable[[Stage], None]
"""Told of every stage as it begins; what it raises ends the computation."""

_log = logging.getLogger(__name__)


class Machine:
    """Computes answers; several threads may, each on its own device or all on the CPU.

    The parameters are those of :class:`backend.inference.service.Service`.
    """

    def __init__(
        self,
        models: Models,
        devices: Sequence[str],
        cache: ResultCache,
        budgets: Mapping[str, int] | None = None,
        sizes: Callable[[Adapter], int] | None = None,
    ) -> None:
        self._models = models
        self._cache = cache
        given = budgets or {}
        sized = {} if sizes is None else {"size": sizes}
        self.pools = {
            device: ModelPool(given.get(device) or budget(device), **sized)
            for device in dict.fromkeys((*devices, CPU))
        }
        self._measured: dict[str, int] = {}
        self._broken: set[str] = set()

    def need(self, request: Request[Any], decoded: Decoded) -> Estimate:
        """What a request will take; InputError, with numbers, where no device has as much."""
        kept = (pool.weights(decoded.identity) for pool in self.pools.values())
        weights = next((size for size in kept if size is not None), None)
        if weights is None:
            weights = self._models.weights_bytes(request.model)
        each = self._measured.get(decoded.identity, pair_bytes(weights))
        pairs = each * (request.work.at_once or len(decoded.samples))
        need = Estimate(weights, pairs, request.work.beside())
        most = max(pool.max_bytes for pool in self.pools.values())
        if need.bytes > most:
            raise InputError(
                f"needs about {need.text}; models may take {size_text(most)} here",
                where=self._models.where(request.model),
                hint="Take a smaller model, or fewer pairs at once.",
            )
        return need

    def answer(
        self, computation: Computation, device: str, enter: Enter, *, alone: bool = True
    ) -> Answer:
        """Compute on a device, or on the CPU where that does not do, which the notices say.

        One that is not ``alone``, since others wait, takes one core: while their pages are drawn,
        threads on all cores wait for each other at every layer.
        """
        with threads(None if alone else 1):
            return self._answer(computation, device, enter)

    def _answer(self, computation: Computation, device: str, enter: Enter) -> Answer:
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
                return self._attempt(computation, device, enter, ())
            except TooLarge as error:
                notice = "It needs more than the GPU has: it ran on the CPU."
                _log.warning("%s on %s: %s", where, device, error)
            except Exception as error:
                if device_failed(error):
                    self._broken.add(device)
                elif not out_of_memory(error):
                    raise
            # Outside of the handler, whose traceback holds on to what was allocated.
            if notice:
                release(device)
            elif device in self._broken:
                _log.error("%s failed: what is asked runs on the CPU until a restart", device)
                notice = "The GPU failed: it ran on the CPU."
            else:
                _log.warning("%s ran out of memory on %s, the CPU goes on", where, device)
                self.pools[device].drop()
                release(device)
                notice = "The GPU ran out of memory: it ran on the CPU, which takes longer."
        try:
            return self._attempt(computation, CPU, enter, (notice,) if notice else ())
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

    def drop(self) -> None:
        """Let all models go that are not in use."""
        for pool in self.pools.values():
            pool.drop()

    def _attempt(
        self, computation: Computation, device: str, enter: Enter, notices: tuple[str, ...]
    ) -> Answer:
        request, decoded = computation.request, computation.decoded
        recall = computation.recall = Recall(self._cache, decoded.content, device)

        def wanted() -> None:
            enter("loading")

        wanted()
        with self.pools[device].lease(
            decoded.identity,
            computation.need,
            lambda: self._models.open(request.model, device),
            wanted,
        ) as adapter:
            enter("running")
            with measured(device) as peak:
                value = request.work.run(adapter, decoded.samples, recall)
        if peak.bytes is not None:
            at_once = request.work.at_once or len(decoded.samples)
            each = max(1, (peak.bytes - computation.need.beside) // at_once)
            # Of several works on a model that which takes most counts: one with maps, say.
            self._measured[decoded.identity] = max(each, self._measured.get(decoded.identity, 0))
        enter("placing")
        placed = request.placing.run(value) if request.placing is not None else None
        answer = Answer(value, placed, notices, device, tuple(recall.keys))
        freeze(answer)
        return answer


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Models run on so many cores in what this thread does inside; None leaves it as it is."""
    if count is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
