"""Samples that belong together: captions of one photo, memes of one template, frames of one film.

They are no independent samples. Whatever is split, permuted or drawn is so by whole groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError

Groups = NDArray[np.intp]


def as_groups(groups: object, n: int) -> Groups | None:
    """The number of each sample's group (n,), from 0 in the order in which they first occur.

    ``groups`` are n names or numbers; None, or one group a sample, gives None: each is its own.
    InputError for another count, and for a sample without a group, which it names.
    """
    if groups is None:
        return None
    names = list(groups) if isinstance(groups, Sequence | np.ndarray) else None
    if names is None or len(names) != n:
        count = "no" if names is None else len(names)
        raise InputError(f"{count} groups, but there are {n} samples", where="groups")
    for at, name in enumerate(names):
        if name is None or name == "" or name != name:
            raise InputError(
                f"sample {at} has none",
                where="groups",
                hint="Give each sample a group; one that is alone has one of its own.",
            )
    numbers: dict[object, int] = {}
    codes = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)
    return None if len(numbers) == n else codes


def half_of_groups(groups: Groups | None, n: int, seed: int) -> tuple[Groups, Groups]:
    """(held, fit): two disjoint random halves of n samples, both sorted, which part no group.

    The held half has n // 2 samples or, with groups, as near to it as whole groups in their random
    order allow.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        order = rng.permutation(n)
        return np.sort(order[: n // 2]), np.sort(order[n // 2 :])
    order = rng.permutation(int(groups.max()) + 1)
    filled = np.cumsum(np.bincount(groups)[order])
    count = int(np.argmin(np.abs(filled[:-1] - n / 2))) + 1 if len(order) > 1 else 0
    held = np.isin(groups, order[:count])
    return np.flatnonzero(held), np.flatnonzero(~held)
