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
    pairs: Iterable[Compared], width: int, *, same: bool = False, nested: bool = False
) -> Resolution:
    """Of all pairs of dimensions that a finding compares, in layers ``width`` wide.

    Values are too low, by an unknown factor, unless there are ten samples a dimension. With more
    samples than a layer is wide they are told to be so; with no more, nothing is judged unless
    every order is known (:func:`backend.measures.families.dimension.order_is_known`) or, with
    ``same``, where the question is whether two are equal, every value is. ``nested``: what is said
    is a difference of two such changes, which may err to either side.
    """
    every = list(pairs)
    short = [pair for pair in every if not all(is_resolved(*size) for size in pair)]
    if not short:
        return Resolution(True)
    unknown = (
        short
        if same
        else [(a, b) for a, b in short if not order_is_known(a.value, b.value, a.n, b.n)]
    )
    n = min(size.n for pair in every for size in pair)
    largest = max(size.value for pair in every for size in pair)
    lack = f"{counted(n, 'sample')} for up to {largest:,.0f} dimensions or more"
    takes = f"ten samples a dimension would be {PER_DIMENSION * largest:,.0f}"
    if n <= width and unknown:
        return Resolution(
            False, note=f"Not judged: {lack} do not tell which is larger; {takes} or more."
        )
    # The larger one is a lower bound and the smaller one is not.
    at_least = not (unknown or same or nested) and _one_way(every)
    said = "the true change is larger" if at_least else "true values are larger"
    return Resolution(True, at_least, f"“At least”: {lack}; {said}, by how much is not known.")


def _one_way(pairs: list[Compared]) -> bool:
    return len({a.value > b.value for a, b in pairs}) == 1
