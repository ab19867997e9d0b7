"""Which placements a search may suggest, and how an optimiser's numbers become one.

A suggestion is the number of fusions and, for each stream, as many numbers in [0, 1] as there may
be fusions at most. Given how many layers to choose, the first number says which is the lowest, the
next one which comes after it, and so on: each cuts [0, 1] into the layers that are still possible,
each as wide as the share of increasing lists that go on from it. So

- every point is a valid placement and every valid placement has points (no rejected suggestions);
- of placements with the same number of fusions, uniform points make each equally likely;
- a number that grows moves its layer up, which is what a density over good points can learn;
- the optimiser always sees the same dimensions. Numbers of fusions that are not there are ignored.

Fusions below a frozen layer are allowed unless ``above_frozen``: the co-attention itself is always
trained. They cost more, since what lies below the first fusion need not be computed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Layers = tuple[int, ...]

MOST = 4
"""How many fusions there are at most where nobody says."""


@dataclass(frozen=True)
class Space:
    """All placements of ``fewest`` to ``most`` fusions on the given layers.

    ``text`` and ``vision`` are the layers that may fuse, 1-based and increasing. Where
    ``symmetric``, they are equally long and their layers of one index fuse only with each other.
    """

    text: Layers
    vision: Layers
    fewest: int
    most: int
    symmetric: bool = False

    @property
    def size(self) -> int:
        """How many placements there are."""
        counts = range(self.fewest, self.most + 1)
        if self.symmetric:
            return sum(comb(len(self.text), n) for n in counts)
        return sum(comb(len(self.text), n) * comb(len(self.vision), n) for n in counts)

    def distributions(self) -> dict[str, BaseDistribution]:
        """The optimiser's dimensions, the same for every suggestion."""
        from optuna.distributions import FloatDistribution, IntDistribution

        streams = ("both",) if self.symmetric else ("text", "vision")
        return {
            "fusions": IntDistribution(self.fewest, self.most),
            **{
                f"{stream}_{i + 1}": FloatDistribution(0.0, 1.0)
                for stream in streams
                for i in range(self.most)
            },
        }

    def layers(self, params: Mapping[str, Any]) -> tuple[Layers, Layers]:
        """(text, vision) of a point, equally long and strictly increasing."""
        count = int(params["fusions"])

        def chosen(stream: str, among: int) -> Layers:
            parts = [float(params[f"{stream}_{i + 1}"]) for i in range(count)]
            return subset(parts, among)

        text = chosen("both" if self.symmetric else "text", len(self.text))
        vision = text if self.symmetric else chosen("vision", len(self.vision))
        return tuple(self.text[i] for i in text), tuple(self.vision[i] for i in vision)


def space_of(
    depths: tuple[int, int],
    *,
    fewest: int,
    most: int | None,
    symmetric: bool = False,
    frozen: tuple[int, int] = (0, 0),
) -> Space:
    """The space for (text, vision) encoders of these depths; above ``frozen`` layers only.

    ``most`` of None is :data:`MOST`, or how many fusions there can be at all. Symmetric means the
    same relative depth: layer k of the shallower stream with ``ceil(k * deep / shallow)`` of the
    deeper, as in the placement ``full``. Raises ValueError, in words for whoever chose the numbers,
    where there is no placement.
    """
    text, vision = (tuple(range(1, depth + 1)) for depth in depths)
    if symmetric:
        shallow = min(depths)
        text, vision = (
            tuple(-(-k * depth // shallow) for k in range(1, shallow + 1)) for depth in depths
        )
    allowed = [tuple(k for k in layers if k > up) for layers, up in zip((text, vision), frozen)]  # noqa: B905
    if symmetric:
        pairs = [
            (t, v) for t, v in zip(text, vision, strict=True) if t > frozen[0] and v > frozen[1]
        ]
        allowed = [tuple(t for t, _ in pairs), tuple(v for _, v in pairs)]
    possible = min(map(len, allowed))
    largest = min(MOST, possible) if most is None else most
    if largest > possible:
        raise ValueError(f"{largest} fusions do not fit: there are {possible} layers for them")
    if fewest > largest:
        raise ValueError(f"at least {fewest} and at most {largest} fusions leave no placement")
    return Space(allowed[0], allowed[1], fewest, largest, symmetric)


def subset(parts: Sequence[float], among: int) -> Layers:
    """As many increasing indices of ``range(among)`` as there are ``parts``, each in [0, 1].

    All subsets of that size share the cube of ``parts`` equally.
    """
    chosen: list[int] = []
    first = 0
    for given, part in enumerate(parts):
        left = len(parts) - given
        aim = part * comb(among - first, left)
        last = among - left
        passed = 0
        at = first
        for at in range(first, last + 1):
            passed += comb(among - at - 1, left - 1)
            if aim < passed:
                break
        chosen.append(at)
        first = at + 1
    return tuple(chosen)
