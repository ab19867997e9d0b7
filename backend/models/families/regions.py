"""Regions that a detector found in an image, as a batch: for models without a tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.roles import Origins, Role, placed_boxes


class RegionBatch(NamedTuple):
    """``features`` (B, R, d) and ``boxes`` (B, R, 4) as shares of the image, zeros where ``mask``
    (B, R) is 0; ``roles`` (B, R) and where the regions lie in the original image.
    """

    features: Tensor
    boxes: Tensor
    mask: Tensor
    roles: Tensor
    origins: Origins


def region_batch(samples: Sequence[Sample], width: int, where: str) -> RegionBatch:
    """Every sample's regions, padded to the most of the batch.

    InputError for a sample whose regions have another number of features than ``width``.
    """
    regions = [sample.regions for sample in samples if sample.regions is not None]
    longest = max(len(own.features) for own in regions)
    features = torch.zeros(len(samples), longest, width)
    boxes = torch.zeros(len(samples), longest, 4)
    mask = torch.zeros(len(samples), longest, dtype=torch.long)
    for row, (sample, own) in enumerate(zip(samples, regions, strict=True)):
        count, given = own.features.shape
        if given != width:
            raise InputError(
                f"regions of sample {row + 1} have {given} features a region, "
                f"where the model takes {width}",
                where=where,
            )
        size = torch.tensor(sample.images[0].size * 2)
        features[row, :count] = torch.as_tensor(own.features)
        boxes[row, :count] = torch.as_tensor(own.boxes) / size
        mask[row, :count] = 1
    roles = torch.where(mask.bool(), int(Role.CONTENT), int(Role.PADDING)).to(torch.int8)
    at = placed_boxes([own.boxes for own in regions], 0, longest)
    origins = Origins("box", at, np.zeros(at.shape[:2], dtype=np.int32))
    return RegionBatch(features, boxes, mask, roles, origins)
