"""Samples that belong together: captions of one photo, memes of one template, frames of one film.

They are no independent samples. Whatever is split, permuted or drawn is so by whole groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError

Groups = NDArray[np.intp]

LEAST_EXCHANGES = 20
"""Ways to exchange groups without which chance is not told: no p would be below 0.05."""


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


def group_sums(values: NDArray[np.float64], groups: Groups) -> NDArray[np.float64]:
    """Sums (G, ...) of ``values`` (n, ...) over the samples of each group."""
    sums = np.zeros((int(groups.max()) + 1, *values.shape[1:]))
    np.add.at(sums, groups, values)
    return sums


def by_size(groups: Groups) -> list[NDArray[np.intp]]:
    """The samples of the groups of each size m: one array (groups, m) a size, sizes ascending.

    The samples of a group are in their own order.
    """
    sizes = np.bincount(groups)
    starts = np.cumsum(sizes) - sizes
    order = np.argsort(groups, kind="stable")
    return [order[starts[sizes == m, None] + np.arange(m)] for m in np.unique(sizes)]


def exchanges(groups: Groups | None, n: int) -> float:
    """In how many ways whole groups of one size can be exchanged among each other, as a float."""
    counts = [n] if groups is None else [len(members) for members in by_size(groups)]
    return math.prod(math.factorial(count) if count < 171 else math.inf for count in counts)


def exchange_orders(groups: Groups, count: int, seed: int = 0) -> tuple[list[Groups], bool]:
    """Orders (n,) of the samples in which whole groups of one size are exchanged.

    All there are if these are no more than ``count`` (then True is the second), else ``count``
    random ones.
    """
    n = len(groups)
    every = exchanges(groups, n) <= count
    return (list(_all_orders(groups)) if every else shuffled_orders(groups, n, count, seed)), every


def _all_orders(groups: Groups) -> Iterator[Groups]:
    kinds = by_size(groups)
    for ways in product(*(permutations(range(len(members))) for members in kinds)):
        yield _exchanged(len(groups), kinds, [np.array(way) for way in ways])


def shuffled_orders(groups: Groups | None, n: int, count: int, seed: int) -> list[Groups]:
    """``count`` random orders (n,) of samples or, with groups, of whole groups of one size each."""
    rng = np.random.default_rng(seed)
    if groups is None:
        return [rng.permutation(n) for _ in range(count)]
    kinds = by_size(groups)
    return [
        _exchanged(n, kinds, [rng.permutation(len(members)) for members in kinds])
        for _ in range(count)
    ]


def _exchanged(n: int, kinds: list[NDArray[np.intp]], ways: list[NDArray[np.intp]]) -> Groups:
    order = np.empty(n, dtype=np.intp)
    for members, way in zip(kinds, ways, strict=True):
        order[members] = members[way]
    return order


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
