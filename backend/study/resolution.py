"""Whether enough samples were measured to say which of two effective dimensions is larger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from backend.measures.families.dimension import PER_DIMENSION, is_resolved, order_is_known
from backend.words import counted


class Size(NamedTuple):
    """The effective dimension of a layer, and the number of samples it is of."""

    value: float
    n: int


Sizes = Mapping[int, Size]
"""{layer: its size}."""
Curves = dict[tuple[str, str], dict[int, Size]]
"""{(run, stream): {layer: its size}}."""
Compared = tuple[Size, Size]


def steps(before: Sizes, after: Sizes) -> Iterator[tuple[int, Compared]]:
    """(k, (layer k-1, after k)) wherever both are known."""
    return ((k, (before[k - 1], size)) for k, size in after.items() if k - 1 in before)


@dataclass(frozen=True)
class Resolution:
    """``enough`` samples to judge; ``at_least`` where the true change is rather larger; a note."""

    enough: bool
    at_least: bool = False
    note: str = ""


def resolution(
    pairs: Iterable[Compared], *, same: bool = False, nested: bool = False
) -> Resolution:
    """Of all pairs of dimensions that a finding compares, in layers ``width`` wide.

    Values are too low, by an unknown factor, unless there are ten samples a dimension. Where some
    are, nothing is judged unless every order is known
    (:func:`backend.measures.families.dimension.order_is_known`) and all go one way. With ``same``,
    where the question is whether two are equal, and ``nested``, where it is about a difference of
    two changes, which may err to either side, every value must be known.
    """
    every = list(pairs)
    short = [pair for pair in every if not all(is_resolved(*size) for size in pair)]
    if not short:
        return Resolution(True)
    known = not (same or nested) and all(
        order_is_known(a.value, b.value, a.n, b.n) for a, b in short
    )
    n = min(size.n for pair in every for size in pair)
    largest = max(size.value for pair in every for size in pair)
    lack = f"{counted(n, 'sample')} for up to {largest:,.0f} dimensions or more"
    takes = f"ten samples a dimension would be {PER_DIMENSION * largest:,.0f}"
    if not known or not _one_way(every):
        return Resolution(
            False, note=f"Not judged: {lack} do not tell which is larger; {takes} or more."
        )
    # The larger one is a lower bound and the smaller one is not.
    said = "the true change is larger, by how much is not known"
    return Resolution(True, at_least=True, note=f"“At least”: {lack}; {said}.")


def _one_way(pairs: list[Compared]) -> bool:
    return len({a.value > b.value for a, b in pairs}) == 1
