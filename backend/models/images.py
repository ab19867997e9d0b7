"""Which part of an image a model sees: the geometry of image processors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from backend.models.roles import Box, Origins, Role, grid_boxes


def patch_roles(batch: int, patches: int, prefix: Sequence[Role] = ()) -> Tensor:
    """(B, prefix + patches): the prefix as given (CLS: SUMMARY, register: SPECIAL), content."""
    row = [int(role) for role in prefix] + [int(Role.CONTENT)] * patches
    return torch.tensor(row, dtype=torch.int8).expand(batch, -1)


def seen_region(processor: Any, size: tuple[int, int]) -> Box:
    """The rectangle of an image of ``size`` (width, height) that becomes the model's input.

    Through padding to a square, resizing (squash, or the shorter edge with the proportions kept)
    and a centre crop. Where there is padding, also by a crop larger than the resized image, the
    rectangle reaches beyond the image. Tiled and patch-packed inputs are for the families that
    have them.
    """
    width, height = size
    if hasattr(processor, "data_config"):
        return _timm_region(processor.data_config, size)
    if getattr(processor, "do_pad", False) and hasattr(processor, "pad_to_square"):
        longest = max(size)
        left, top = (longest - width) // 2, (longest - height) // 2
        square = _resized_region(processor, (longest, longest))
        return (square[0] - left, square[1] - top, square[2] - left, square[3] - top)
    return _resized_region(processor, size)


def _resized_region(processor: Any, size: tuple[int, int]) -> Box:
    width, height = size
    across, down = float(width), float(height)  # the resized image
    if getattr(processor, "do_resize", False):
        want = _sides(processor.size)
        if "shortest_edge" in want:
            scale = want["shortest_edge"] / min(width, height)
            if "longest_edge" in want:
                scale = min(scale, want["longest_edge"] / max(width, height))
            across, down = round(width * scale), round(height * scale)
        elif "height" in want:
            across, down = float(want["width"]), float(want["height"])
    if not getattr(processor, "do_center_crop", False):
        return (0.0, 0.0, float(width), float(height))
    crop = _sides(processor.crop_size)
    edge = crop.get("shortest_edge", 0)
    return centre_region(size, (across, down), (crop.get("width", edge), crop.get("height", edge)))


def _timm_region(settings: dict[str, Any], size: tuple[int, int]) -> Box:
    """The same for timm's evaluation transforms, which resize to more than the crop keeps."""
    width, height = size
    _, kept_down, kept_across = settings["input_size"]
    across, down = (math.floor(kept / settings["crop_pct"]) for kept in (kept_across, kept_down))
    if settings["crop_mode"] != "squash":
        fit = min if settings["crop_mode"] == "border" else max
        scale = fit(across / width, down / height)
        across, down = round(width * scale), round(height * scale)
    return centre_region(size, (across, down), (kept_across, kept_down))


def centre_region(
    size: tuple[int, int], resized: tuple[float, float], kept: tuple[int, int]
) -> Box:
    """The middle ``kept`` pixels of a resized image, in pixels of the original."""
    x, y = size[0] / resized[0], size[1] / resized[1]
    left, top = (resized[0] - kept[0]) / 2, (resized[1] - kept[1]) / 2
    return (left * x, top * y, (left + kept[0]) * x, (top + kept[1]) * y)


def _sides(size: Any) -> dict[str, int]:
    """``{"height": 224, "width": 224}`` or ``{"shortest_edge": 224}``, of a mapping or a number."""
    if isinstance(size, int):
        return {"height": size, "width": size}
    named = dict(size) if isinstance(size, dict) else vars(size)
    return {name: int(value) for name, value in named.items() if value is not None}


def several_roles(counts: Sequence[int], row: Sequence[Role]) -> Tensor:
    """(B, most x T): the tokens of every sample's images after one another, then padding.

    ``row`` are the roles of one image's tokens. A sample is summed up by its first image: the
    summary token of another one is special.
    """
    first = torch.tensor([int(role) for role in row], dtype=torch.int8)
    other = torch.where(first == int(Role.SUMMARY), int(Role.SPECIAL), first)
    most = max(counts)
    roles = torch.full((len(counts), most, len(row)), int(Role.PADDING), dtype=torch.int8)
    for sample, count in enumerate(counts):
        roles[sample, :count] = other
    roles[:, 0] = first
    return roles.flatten(1)


def several_boxes(
    images: Sequence[Sequence[Image.Image]], processor: Any, grid: tuple[int, int], prefix: int
) -> Origins:
    """Origins for tokens as in :func:`several_roles`: a grid of patches after ``prefix`` tokens."""
    rows, columns = grid
    length, most = prefix + rows * columns, max(map(len, images))
    values = np.full((len(images), most, length, 4), np.nan, dtype=np.float32)
    for sample, own in enumerate(images):
        for which, image in enumerate(own):
            region = seen_region(processor, image.size)
            values[sample, which, prefix:] = grid_boxes(region, rows, columns, image.size)
    which_image = np.repeat(np.arange(most, dtype=np.int32), length)
    return Origins(
        "box",
        values.reshape(len(images), -1, 4),
        np.tile(which_image, (len(images), 1)),
    )
