"""The order in which the first samples of a split are of all its classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from backend.types import Record, TaskSpec

_FIRST_BLOCK = 256
_LARGEST_BLOCK = 16_384


def spread(
    records: Callable[[], Iterator[Record]], tasks: Mapping[str, TaskSpec]
) -> Iterator[Record]:
    """The records in the order of :func:`spread_order` over the classes of :func:`spread_by`.

    ``records`` streams them afresh. Goes through them once for the classes, then once for every
    block of records that somebody really takes. Memory: a number a record and one block.
    """
    by = spread_by(tasks)
    if by is None:
        yield from records()
        return
    codes: dict[object, int] = {}
    order = spread_order(
        np.fromiter(
            (codes.setdefault(_class(record, by), len(codes)) for record in records()), np.intp
        )
    )
    start, block_rows = 0, _FIRST_BLOCK
    while start < len(order):
        wanted = {int(row): place for place, row in enumerate(order[start : start + block_rows])}
        block: list[Record | None] = [None] * len(wanted)
        for row, record in enumerate(records()):
            if row in wanted:
                block[wanted[row]] = record
        yield from (record for record in block if record is not None)
        start, block_rows = start + block_rows, min(2 * block_rows, _LARGEST_BLOCK)


def spread_by(tasks: Mapping[str, TaskSpec]) -> str | None:
    """The task whose classes are spread: the first that gives a sample one class; else the first.

    None where there is no task.
    """
    single = [name for name, task in tasks.items() if task.kind != "multilabel"]
    return next(iter([*single, *tasks]), None)


def spread_order(classes: NDArray[np.intp]) -> NDArray[np.intp]:
    """(n,) rows in an order whose beginnings hold every class in its share, as far as that goes.

    The i-th of the m rows of a class stands at (i + 1/2) / m of the way; classes of one size take
    turns. Within a class rows keep their order. ``classes`` are numbered as they first occur.
    """
    sizes = np.bincount(classes)
    rank = np.empty(len(classes), dtype=np.intp)
    by_class = np.argsort(classes, kind="stable")
    starts = np.cumsum(sizes) - sizes
    rank[by_class] = np.arange(len(classes)) - np.repeat(starts, sizes)
    return np.lexsort((classes, (rank + 0.5) / sizes[classes]))


def _class(record: Record, task: str) -> object:
    label = record.labels.get(task)
    return label[:1] if isinstance(label, tuple) else label
