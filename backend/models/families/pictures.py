"""An image as a model gets it that puts its tokens among a text's: patches, tiles, placeholders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backend.models.roles import Box, Origins, Role


@dataclass(frozen=True, eq=False)
class Picture:
    """One image: its tokens in the tower, and in the language model.

    ``tower`` (T,) and ``boxes`` (T, 4): the roles of the tower's tokens and their boxes in the
    original image (NaN: none), in the order that the tower has them; those of tiles follow one
    another. ``words`` stand in the prompt for the image, a placeholder for each of ``row`` (t,),
    the roles of its tokens in the language model, with ``places`` (t, 4), their boxes; None where
    such a token has no place.
    """

    tower: Sequence[Role]
    boxes: np.ndarray
    words: str
    row: Sequence[Role]
    places: np.ndarray | None


def unsummed(roles: Sequence[Role]) -> list[Role]:
    """The same with summary tokens as special ones, by which nothing is read here."""
    return [Role.SPECIAL if role == Role.SUMMARY else role for role in roles]


def filled(prompt: str, mark: str, words: Iterator[str]) -> str:
    """The prompt with the next of ``words`` at each of its marks."""
    first, *others = prompt.split(mark)
    return first + "".join(next(words) + piece for piece in others)


def in_the_tower(seen: Sequence[Sequence[Picture]]) -> tuple[Tensor, Origins]:
    """Roles and origins of every sample's tokens in the tower, (B, most), then padding.

    A sample is summed up by its first image: the summary token of another one is special.
    """
    lengths = [sum(len(picture.tower) for picture in own) for own in seen]
    roles = np.full((len(seen), max(lengths)), int(Role.PADDING), dtype=np.int8)
    boxes = np.full((*roles.shape, 4), np.nan, dtype=np.float32)
    image = np.zeros(roles.shape, dtype=np.int32)
    for row, own in enumerate(seen):
        at = 0
        for which, picture in enumerate(own):
            span = slice(at, at + len(picture.tower))
            own_roles = unsummed(picture.tower) if which else picture.tower
            tower = np.array([int(role) for role in own_roles], dtype=np.int8)
            roles[row, span], boxes[row, span], image[row, span] = tower, picture.boxes, which
            at = span.stop
    return torch.from_numpy(roles), Origins("box", boxes, image)


def placed(
    seen: Sequence[Sequence[Picture]], at: Tensor, mask: Tensor
) -> tuple[Tensor, Origins | None]:
    """Roles (B, T) of the image tokens at ``at`` (B, T) bool, and where they come from.

    ``mask`` (B, T): which tokens of the sequence are real. ValueError where a sample has another
    number of placeholders than its images have tokens.
    """
    roles = torch.where(mask.bool(), int(Role.ABSENT), int(Role.PADDING)).to(torch.int8)
    boxes = np.full((*at.shape, 4), np.nan, dtype=np.float32)
    image = np.zeros(at.shape, dtype=np.int32)
    for sample, own in enumerate(seen):
        row = [int(role) for picture in own for role in picture.row]
        if int(at[sample].sum()) != len(row):
            raise ValueError(f"{int(at[sample].sum())} placeholders for {len(row)} image tokens")
        roles[sample, at[sample]] = torch.tensor(row, dtype=torch.int8)
        marked = at[sample].numpy()
        image[sample, marked] = np.repeat(np.arange(len(own)), [len(p.row) for p in own])
        places = [picture.places for picture in own if picture.places is not None]
        if places:
            boxes[sample, marked] = np.concatenate(places)
    some = any(picture.places is not None for own in seen for picture in own)
    return roles, Origins("box", boxes, image) if some else None


def tiles_of(region: Box, rows: int, columns: int) -> list[Box]:
    """``region`` of an image in equal tiles, row by row; nothing of it is clipped."""
    left, top, right, bottom = region
    x, y = np.linspace(left, right, columns + 1), np.linspace(top, bottom, rows + 1)
    return [
        (float(x[c]), float(y[r]), float(x[c + 1]), float(y[r + 1]))
        for r in range(rows)
        for c in range(columns)
    ]


def whole(image: Image.Image) -> Box:
    """All of an image as a box."""
    return (0.0, 0.0, float(image.width), float(image.height))


def merged(boxes: np.ndarray, rows: int, columns: int, side: int) -> np.ndarray:
    """(rows x columns / side^2, 4): a box for every square of ``side`` x ``side`` patches.

    ``boxes`` (rows x columns, 4) are the patches' own, row by row, and so are the squares; NaN
    where any of the four corners' patches has none.
    """
    grid = boxes.reshape(rows // side, side, columns // side, side, 4)
    return np.concatenate([grid[:, 0, :, 0, :2], grid[:, -1, :, -1, 2:]], axis=-1).reshape(-1, 4)
