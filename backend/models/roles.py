"""What each token of a stream is, and where it comes from; without torch, for those who only read.

Two streams may live in one sequence of tokens (text and image inside a language model). Their roles
then have the length of the whole sequence, and a token of another stream has none (``ABSENT``): so
one hidden state serves both, without copying anything apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


class Role(IntFlag):
    """A token may be several at once: the last word of a causal text is summary and content."""

    ABSENT = 0
    SUMMARY = 1
    CONTENT = 2
    SPECIAL = 4
    PADDING = 8


OWN = Role.SUMMARY | Role.CONTENT | Role.SPECIAL
"""A token that is really there: neither padding nor another stream's."""


def has(roles: Tensor, role: Role) -> Tensor:
    """(B, T) bool: which tokens are any of ``role``."""
    return (roles & int(role)) != 0


def elsewhere(roles: Tensor) -> Tensor:
    """(B, T): what tokens with ``roles`` are to another stream of their sequence.

    Padding stays padding; a token that is there is absent from the other stream.
    """
    return (roles & int(Role.PADDING)).to(roles.dtype)


@dataclass(frozen=True, eq=False)
class Origins:
    """Where every token of a stream comes from, as far as it comes from one place.

    ``kind`` ``"span"``: ``values`` (B, T, 2) are start and end of the characters of the sample's
    text; -1 where there are none. ``"box"``: (B, T, 4) left, top, right, bottom in pixels of the
    original image, NaN where there is none; ``image`` (B, T) is which of the sample's images.
    ``"time"``: (B, T, 2) start and end in seconds of the recording, NaN where there is none.
    """

    kind: Literal["span", "box", "time"]
    values: np.ndarray
    image: np.ndarray | None = None


Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""


def grid_boxes(region: Box, rows: int, columns: int, within: tuple[int, int]) -> np.ndarray:
    """(rows * columns, 4): ``region`` of an image in equal cells, row by row.

    ``within`` is the image's (width, height): a region that reaches beyond it (letterbox) gives
    cells that end at its border, and NaN where a cell lies wholly in the padding.
    """
    left, top, right, bottom = region
    boxes = boxes_between(np.linspace(left, right, columns + 1), np.linspace(top, bottom, rows + 1))
    width, height = within
    inside: np.ndarray = np.clip(boxes, 0.0, [width, height, width, height])
    empty = (inside[:, 2] <= inside[:, 0]) | (inside[:, 3] <= inside[:, 1])
    inside[empty] = np.nan
    return inside


def boxes_between(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """((len(y) - 1) * (len(x) - 1), 4): the cells between edges ``x`` and ``y``, row by row."""
    rows, columns = len(y) - 1, len(x) - 1
    return np.stack(
        [
            np.tile(x[:-1], rows),
            np.repeat(y[:-1], columns),
            np.tile(x[1:], rows),
            np.repeat(y[1:], columns),
        ],
        axis=1,
    )


def placed_boxes(boxes: Sequence[np.ndarray], prefix: int, length: int) -> np.ndarray:
    """(B, length, 4): each sample's (n, 4) boxes after ``prefix`` tokens that have none."""
    out = np.full((len(boxes), length, 4), np.nan, dtype=np.float32)
    for row, own in enumerate(boxes):
        out[row, prefix : prefix + len(own)] = own
    return out


def box_origins(boxes: Sequence[np.ndarray], prefix: int, length: int) -> Origins:
    """Origins of ``length`` tokens: each sample's (n, 4) boxes of one image after ``prefix``."""
    values = placed_boxes(boxes, prefix, length)
    return Origins("box", values, np.zeros(values.shape[:2], dtype=np.int32))
