"""What each token of a stream is, and where it comes from.

Two streams may live in one sequence of tokens (text and image inside a language model). Their roles
then have the length of the whole sequence, and a token of another stream has none (``ABSENT``): so
one hidden state serves both, without copying anything apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Literal

import numpy as np
import torch
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


def text_roles(
    ids: Tensor,
    mask: Tensor,
    special: Sequence[int],
    summary: Literal["first", "last"] | None,
    *,
    summary_id: int | None = None,
) -> Tensor:
    """(B, T) roles of a text stream: padding where ``mask`` is 0, ``special`` ids, content.

    ``summary``: the first or the last real token, wherever padding stands; with ``summary_id`` the
    first real token of that id (CLIP's EOS). A summary that is a word is content, too.
    """
    real = mask.bool()
    specials = torch.isin(ids, torch.as_tensor(list(special), dtype=ids.dtype, device=ids.device))
    roles = torch.where(specials, int(Role.SPECIAL), int(Role.CONTENT))
    roles = torch.where(real, roles, int(Role.PADDING)).to(torch.int8)
    if summary is None and summary_id is None:
        return roles
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    if summary_id is not None:
        at = torch.where(real & (ids == summary_id), places, ids.shape[1]).amin(dim=1)
        if bool((at == ids.shape[1]).any()):
            raise ValueError(f"a text has no token {summary_id}, by which it is read")
    elif summary == "first":
        at = torch.where(real, places, ids.shape[1]).amin(dim=1)
    else:
        at = torch.where(real, places, -1).amax(dim=1)
    rows = torch.arange(len(ids), device=ids.device)
    own = roles[rows, at] & int(Role.CONTENT)  # a special token that sums up is nothing else
    roles[rows, at] = own | int(Role.SUMMARY)
    return roles


def patch_roles(batch: int, patches: int, prefix: Sequence[Role] = ()) -> Tensor:
    """(B, prefix + patches): the prefix as given (CLS: SUMMARY, register: SPECIAL), content."""
    row = [int(role) for role in prefix] + [int(Role.CONTENT)] * patches
    return torch.tensor(row, dtype=torch.int8).expand(batch, -1)


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
    x = np.linspace(left, right, columns + 1)
    y = np.linspace(top, bottom, rows + 1)
    boxes = np.stack(
        [
            np.tile(x[:-1], rows),
            np.repeat(y[:-1], columns),
            np.tile(x[1:], rows),
            np.repeat(y[1:], columns),
        ],
        axis=1,
    )
    width, height = within
    inside = np.clip(boxes, 0.0, [width, height, width, height])
    empty = (inside[:, 2] <= inside[:, 0]) | (inside[:, 3] <= inside[:, 1])
    inside[empty] = np.nan
    return inside


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
