"""Sample ids of arrays and tables: read, checked, and put beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from backend.data.report import clipped
from backend.data.rows import RowError, check_id
from backend.errors import InputError

_SHOWN = 3


def as_ids(values: Iterable[object], where: str) -> tuple[str, ...]:
    """Ids as text, each once; InputError for one that is none, or that occurs twice."""
    ids: list[str] = []
    for row, value in enumerate(values):
        try:
            text = value.decode() if isinstance(value, bytes) else value
            ids.append(check_id(text))
        except (RowError, UnicodeDecodeError) as error:
            raise InputError(f"row {row}: {error}", where=where) from error
    require_distinct(ids, where)
    return tuple(ids)


def require_distinct(ids: Sequence[str], where: str) -> None:
    """InputError naming the ids that occur more than once."""
    if len(set(ids)) == len(ids):
        return
    twice = [sample_id for sample_id, times in Counter(ids).items() if times > 1]
    raise InputError(
        f"{len(twice)} {'id occurs' if len(twice) == 1 else 'ids occur'} more than once: "
        f"{shown(twice)}",
        where=where,
        hint="Give every sample an id of its own",
    )


def row_order(
    ids: Sequence[str], other: Sequence[str], names: tuple[str, str]
) -> np.ndarray | None:
    """Where each of ``ids`` stands in ``other``; None where both are the same in the same order.

    InputError with the ids that only one of the two has; ``names`` says what the two are.
    """
    if tuple(ids) == tuple(other):
        return None
    place = {sample_id: row for row, sample_id in enumerate(other)}
    own = set(ids)
    lacking = [sample_id for sample_id in ids if sample_id not in place]
    surplus = [sample_id for sample_id in other if sample_id not in own]
    if lacking or surplus:
        sides = ((names[0], lacking), (names[1], surplus))
        parts = [f"{len(few)} only in {name} ({shown(few)})" for name, few in sides if few]
        raise InputError(
            f"sample ids differ: {', '.join(parts)}", hint="Bring the same samples to both"
        )
    return np.array([place[sample_id] for sample_id in ids], dtype=np.int64)


def shown(ids: Sequence[str]) -> str:
    """The first few ids: ``'a', 'b', 'c' and 4 more``."""
    first = ", ".join(repr(clipped(sample_id, 40)) for sample_id in ids[:_SHOWN])
    return first + (f" and {len(ids) - _SHOWN:,} more" if len(ids) > _SHOWN else "")
