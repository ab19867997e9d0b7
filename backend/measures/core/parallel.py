"""Run independent pieces of array work on all cores, each piece on one BLAS thread.

A BLAS that splits every small product over all cores waits for the slowest core each time: with
one other busy process on the machine the all-pairs pass became ten times slower. Whole blocks on
single-threaded BLAS have no such meeting points. numpy releases the interpreter lock in products
and decompositions, so ordinary threads suffice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

WORTH_THREADS = 20_000_000

Item = TypeVar("Item")
Value = TypeVar("Value")


def worker_count() -> int:
    """Cores that this process may use; no more than ``OMP_NUM_THREADS``, where that is set.

    The variable is the conventional limit of a process that shares its machine with others. Of a
    list (``"8,2"``: one count a level of nesting) the first counts; anything but a positive number
    is no limit.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) > 0 else cores


def map_pieces(
    function: Callable[[Item], Value], items: Iterable[Item], work: float
) -> list[Value]:
    """``[function(item) for item in items]``, in parallel; the first exception is raised.

    ``work`` are the multiply-adds of it all: below ``WORTH_THREADS`` it is a plain loop.
    """
    pieces = list(items)
    if work < WORTH_THREADS:
        return [function(piece) for piece in pieces]
    workers = min(worker_count(), len(pieces))
    with _controller().limit(limits=1, user_api="blas"):
        if workers <= 1:
            return [function(piece) for piece in pieces]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(function, pieces))


@cache
def _controller() -> ThreadpoolController:
    # Comes with scikit-learn. Finding the loaded libraries takes milliseconds: done once.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
