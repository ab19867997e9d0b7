"""The boxes of patches against their pixels: each patch shows what lies in its box."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from backend.data.sample import Sample
from backend.models.adapter import Inputs
from backend.models.roles import Role, has
from tests.models.families.common import Case

SIZES = ((400, 300), (240, 480), (320, 320))


def ramp(width: int, height: int) -> Image.Image:
    """Red is how far right a pixel is, green how far down, in 1/255 of the image."""
    x = np.broadcast_to((np.arange(width) + 0.5) / width, (height, width))
    y = np.broadcast_to(((np.arange(height) + 0.5) / height)[:, None], (height, width))
    pixels = np.stack([x, y, np.zeros_like(x)], axis=2)
    return Image.fromarray((pixels * 255).round().astype(np.uint8))


def patch_colours(inputs: Inputs, row: int, side: int) -> torch.Tensor:
    """(patches, 3): the mean colour of each patch of the model's input, row by row."""
    pixels = inputs.tensors["pixel_values"][row]
    if pixels.ndim == 2:  # SigLIP 2 is given patches, not an image
        return pixels.view(len(pixels), -1, 3).mean(dim=1)
    return torch.nn.functional.avg_pool2d(pixels, side).flatten(1).T


@pytest.mark.parametrize(
    "family",
    ["clip", "siglip", "siglip2", "vilt", "vision_text_dual", "vision_text_dual_timm"],
)
def test_a_patch_shows_what_lies_in_its_box(family: str) -> None:
    case: Case = import_module(f"tests.models.families.{family}").tiny()
    images = case.adapter.processor.image_processor
    settings = getattr(images, "data_config", None) or {
        "mean": images.image_mean,
        "std": images.image_std,
    }
    for size in SIZES:
        inputs = case.adapter.encode([Sample("a cat", (ramp(*size),))])
        content = has(inputs.roles["vision"], Role.CONTENT)[0]
        boxes = inputs.origins["vision"].values[0][content.numpy()]
        colours = patch_colours(inputs, 0, 8)[: len(boxes)]
        shown = colours * torch.tensor(settings["std"]) + torch.tensor(settings["mean"])
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / np.array(size)
        np.testing.assert_allclose(shown[:, :2].numpy(), centres, atol=0.02)
        assert len(boxes) >= 4
