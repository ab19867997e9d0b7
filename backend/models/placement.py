"""Where two streams are fused: named placements and explicit lists.

A placement is two lists of 1-based layers, one a stream, that pair up in order and are equally
long. Names stand for the same *relative* depth in any pair of encoders: with the shallower stream
of depth L, a quarter is ``ceil(L / 4)`` fusions, placed at the end of the first (``earliest``),
second (``early``), third (``middle``) or last (``late``) quarter of each stream's own depth. On
12 + 12 layers that is 1-3, 4-6, 7-9, 10-12, as in the literature; on 6 + 12 layers ``late`` is
text 5,6 and vision 11,12. ``full`` fuses at every layer of the shallower stream, spread evenly over
the deeper one.

The other names are lists, published for 12 + 12 layers (1-based, text; vision):

    asymmetric   7,8,9,10; 4,6,8,10        hybrid_1   4,5,11 in both
    searched_1   4,7; 7,9                  hybrid_2   5,11,12 in both
    searched_2   8,10,11,12; 7,8,10,11

On L layers layer k of 12 becomes ``ceil(k L / 12)``. Where that puts two fusions on the same layer
of a stream, the later of the two is kept: on 6 + 12 layers ``asymmetric`` is text 4,5 and vision
6,10. On deeper encoders the number of fusions stays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from backend.errors import InputError

NAMES = (
    *("none", "full", "earliest", "early", "middle", "late"),
    *("asymmetric", "searched_1", "searched_2", "hybrid_1", "hybrid_2"),
)

_QUARTER = {"earliest": 1, "early": 2, "middle": 3, "late": 4}
_PUBLISHED_DEPTH = 12
_LISTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {  # text, vision
    "asymmetric": ((7, 8, 9, 10), (4, 6, 8, 10)),
    "searched_1": ((4, 7), (7, 9)),
    "searched_2": ((8, 10, 11, 12), (7, 8, 10, 11)),
    "hybrid_1": ((4, 5, 11), (4, 5, 11)),
    "hybrid_2": ((5, 11, 12), (5, 11, 12)),
}


@dataclass(frozen=True)
class Placement:
    """Fusion layers of the two streams, 1-based, paired in order."""

    name: str
    text: tuple[int, ...]
    vision: tuple[int, ...]

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(text layer, vision layer) of each fusion, in order."""
        return tuple(zip(self.text, self.vision, strict=True))

    @property
    def written(self) -> str:
        """As :func:`parse_placement` reads it: its name, or its lists where it has none."""
        if self.name in NAMES:
            return self.name
        return f"text={_join(self.text)};vision={_join(self.vision)}"


def parse_placement(text: str, *, text_depth: int, vision_depth: int) -> Placement:
    """``"late"`` or ``"text=7,8;vision=4,6"`` for encoders of the given depths.

    Raises InputError for an unknown name, a layer outside the encoder, lists of unequal length,
    and lists that are not strictly increasing.
    """
    text = text.strip()
    if "=" not in text:
        return _named(text, text_depth, vision_depth)
    lists: dict[str, tuple[int, ...]] = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        stream, _, numbers = (s.strip() for s in part.partition("="))
        if stream not in ("text", "vision") or stream in lists:
            raise _error(text, f"{stream!r} is not a stream or is given twice")
        lists[stream] = _numbers(text, numbers)
    if set(lists) != {"text", "vision"}:
        raise _error(text, "both streams must be given")
    return check_placement(
        Placement(name_of(lists["text"], lists["vision"], text_depth, vision_depth), **lists),
        text_depth=text_depth,
        vision_depth=vision_depth,
    )


def check_placement(placement: Placement, *, text_depth: int, vision_depth: int) -> Placement:
    """Return the placement if it fits encoders of these depths; InputError otherwise."""
    shown = f"text={_join(placement.text)};vision={_join(placement.vision)}"
    depths = {"text": text_depth, "vision": vision_depth}
    for stream, layers in (("text", placement.text), ("vision", placement.vision)):
        outside = [k for k in layers if not 1 <= k <= depths[stream]]
        if outside:
            raise _error(
                shown,
                f"fusion layer {outside[0]} is outside the {stream} encoder, "
                f"whose layers are 1..{depths[stream]}",
            )
        if any(a >= b for a, b in pairwise(layers)):
            raise _error(shown, f"the {stream} layers must be increasing, without repeats")
    if len(placement.text) != len(placement.vision):
        raise _error(
            shown,
            f"{len(placement.text)} text and {len(placement.vision)} vision layers: "
            "the lists pair up in order and must be equally long",
        )
    return placement


def name_of(text: Sequence[int], vision: Sequence[int], text_depth: int, vision_depth: int) -> str:
    """The name of a placement if it has one, else its lists (``"t7,8-v4,6"``).

    In shallow encoders several names can stand for the same lists: the first in ``NAMES`` is taken.
    """
    for name in NAMES:
        known = _named(name, text_depth, vision_depth)
        if (known.text, known.vision) == (tuple(text), tuple(vision)):
            return name
    return f"t{_join(text)}-v{_join(vision)}"


def _named(name: str, text_depth: int, vision_depth: int) -> Placement:
    shallow = min(text_depth, vision_depth)
    if name == "none":
        return Placement(name, (), ())
    if name == "full":
        return Placement(name, _spread(shallow, text_depth), _spread(shallow, vision_depth))
    if name in _QUARTER:
        count, part = math.ceil(shallow / 4), Fraction(_QUARTER[name], 4)
        return Placement(name, _ending(part, count, text_depth), _ending(part, count, vision_depth))
    if name in _LISTS:
        return _scaled(name, text_depth, vision_depth)
    raise _error(name, "no placement is called so")


def _spread(count: int, depth: int) -> tuple[int, ...]:
    return tuple(math.ceil(Fraction((i + 1) * depth, count)) for i in range(count))


def _ending(part: Fraction, count: int, depth: int) -> tuple[int, ...]:
    """``count`` adjacent layers, the last of them at ``part`` of the depth (halves round up)."""
    last = max(count, math.floor(part * depth + Fraction(1, 2)))
    return tuple(range(last - count + 1, last + 1))


def _scaled(name: str, text_depth: int, vision_depth: int) -> Placement:
    """A published list at the same relative depths; of fusions that collide the latest is kept."""
    kept: list[tuple[int, int]] = []
    for text, vision in reversed(list(zip(*_LISTS[name], strict=True))):
        pair = (
            math.ceil(Fraction(text * text_depth, _PUBLISHED_DEPTH)),
            math.ceil(Fraction(vision * vision_depth, _PUBLISHED_DEPTH)),
        )
        if not kept or (pair[0] < kept[0][0] and pair[1] < kept[0][1]):
            kept.insert(0, pair)
    return Placement(name, tuple(t for t, _ in kept), tuple(v for _, v in kept))


def _numbers(text: str, numbers: str) -> tuple[int, ...]:
    parts = [p.strip() for p in numbers.split(",") if p.strip()]
    if not all(p.isdecimal() for p in parts):
        raise _error(text, f"{numbers!r} is not a list of layer numbers")
    return tuple(int(p) for p in parts)


def _join(layers: Sequence[int]) -> str:
    return ",".join(map(str, layers))


def _error(given: str, problem: str) -> InputError:
    return InputError(
        f"{given!r}: {problem}",
        field="placement",
        hint=f"Use one of {', '.join(NAMES)}, or lists such as 'text=7,8;vision=4,6'.",
    )
