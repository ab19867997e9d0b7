"""Whether runs may be compared, and what was meant by a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import pyarrow.compute as pc

from backend.errors import InputError
from backend.store.run import Run


def assert_comparable(runs: Sequence[Run]) -> None:
    """Raise InputError unless all runs have the same sample ids in the same order."""
    if not runs:
        return
    first = runs[0]
    for other in runs[1:]:
        a, b = first.ids, other.ids
        if a.equals(b):
            continue
        problem = f"runs {first.run_id} and {other.run_id} cannot be compared: "
        only_a = a.filter(pc.invert(pc.is_in(a, value_set=b))).to_pylist()
        only_b = b.filter(pc.invert(pc.is_in(b, value_set=a))).to_pylist()
        if not only_a and not only_b:
            rows = [i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y]
            problem += (
                f"the same samples in another order, {len(rows)} of {len(a)} rows differ, first "
                f"row {rows[0]} ({a[rows[0]]} and {b[rows[0]]})"
            )
        else:
            parts = [
                f"{len(ids)} samples only in {run.run_id} ({_few(ids)})"
                for run, ids in ((first, only_a), (other, only_b))
                if ids
            ]
            problem += " and ".join(parts)
        raise InputError(problem, hint="Capture both runs from the same data, split and limit")


def nearest(name: str, names: Sequence[str]) -> str:
    """A hint for a name that does not exist: the near ones, else the first few."""
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"There are: {_few(names)}" if names else "The store is empty"


def _few(names: Sequence[str], count: int = 5) -> str:
    shown = ", ".join(names[:count])
    return shown if len(names) <= count else f"{shown}, ... ({len(names)} in all)"
