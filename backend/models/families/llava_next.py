"""LLaVA-NeXT and -OneVision: LLaVA with an overview and tiles of an image (Liu, Li 2024).

Facts are from transformers 5.23: ``LlavaNextImageProcessor._get_image_patches`` (the overview is
the whole image, squashed; the tiles are of the image at the best of given resolutions, padded
around), ``LlavaNextModel.pack_image_features`` (overview first, then the tiles' patches as one
grid without the padding, a learned token at the end of every row) and its sister in
``LlavaOnevisionModel``, which shrinks that grid where it is large, and takes several images of a
sample as one padded square each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.image_processing_utils import (
    get_patch_output_size,
    select_best_resolution,
)
from transformers.image_utils import ChannelDimension

from backend.models.families.llava import Llava
from backend.models.families.pictures import Picture, tiles_of, unsummed, whole
from backend.models.families.prompting import Images
from backend.models.roles import Box, Role, grid_boxes


class LlavaNext(Llava):
    """Tiles are images to the tower: patches of one do not see those of another there."""

    family = "llava_next"
    model_class = "LlavaNextForConditionalGeneration"

    def look(self, images: Sequence[Images]) -> tuple[dict[str, Tensor], list[Picture]]:
        """The overview's tokens, then row by row the tiles' patches and the end of the row."""
        flat = list(chain.from_iterable(images))
        seen = self.processor.image_processor(flat, return_tensors="pt")
        pictures = []
        for which, image in enumerate(flat):
            regions = [whole(image), *self._tiles(image)]
            words = self.processor.replace_image_token(seen, which)
            pictures.append(self._picture(image, regions, words))
        return dict(seen), pictures

    @property
    def side(self) -> int:
        """Patches along one side of a tile."""
        config = self.model.config.vision_config
        return int(config.image_size // config.patch_size)

    def _tiles(self, image: Image.Image) -> list[Box]:
        """Where the tiles lie in the image; they reach beyond it where it was padded."""
        size = (image.height, image.width)
        best = select_best_resolution(size, self.model.config.image_grid_pinpoints)
        blank = torch.empty(0, *size)
        down, across = get_patch_output_size(blank, best, ChannelDimension.FIRST)
        x, y = image.width / across, image.height / down  # pixels of the image a resized one
        left, top = (best[1] - across) // 2, (best[0] - down) // 2
        region = (-left * x, -top * y, (best[1] - left) * x, (best[0] - top) * y)
        tile = self.model.config.vision_config.image_size
        return tiles_of(region, best[0] // tile, best[1] // tile)

    def _picture(self, image: Image.Image, regions: Sequence[Box], words: str) -> Picture:
        """The model itself arranges the tokens: it is given boxes in the place of features."""
        side, prefix = self.side, len(self.prefix)
        cells = [grid_boxes(region, side, side, image.size) for region in regions]
        boxes = np.full((len(regions), prefix + side * side, 4), np.nan)
        boxes[:, prefix:] = cells
        patches = [Role.CONTENT] * (side * side)
        tower = [*self.prefix, *patches]
        tower += [*unsummed(self.prefix), *patches] * (len(regions) - 1)
        places, content = self._packed(image, boxes[:, self.first :], regions)
        row = [Role.CONTENT if own else Role.SPECIAL for own in content]
        return Picture(tower, boxes.reshape(-1, 4), words, row, places)

    def _packed(
        self, image: Image.Image, boxes: np.ndarray, regions: Sequence[Box]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(t, 4) boxes of the image's tokens, and (t,) which of them are of patches."""
        real = np.ones((*boxes.shape[:2], 1))
        real[:, : len(self.prefix) - self.first] = 0.0
        features = torch.from_numpy(np.concatenate([boxes, real], axis=2))
        newline = torch.tensor([np.nan] * 4 + [0.0], dtype=features.dtype)
        (packed,), _ = self.pack(features, (image.height, image.width), newline)
        values = packed.numpy()
        return values[:, :4], values[:, 4] > 0.5

    def pack(
        self, features: Tensor, size: tuple[int, int], newline: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """The model's own arrangement of (tiles, patches, d) of one image of (height, width)."""
        strategy = self.model.config.vision_feature_select_strategy
        return self.model.model.pack_image_features(  # type: ignore[no-any-return]
            [features], [size], vision_feature_select_strategy=strategy, image_newline=newline
        )


class LlavaOnevision(LlavaNext):
    """Large grids of patches are shrunk; of several images there are no tiles."""

    family = "llava_onevision"
    model_class = "LlavaOnevisionForConditionalGeneration"

    def look(self, images: Sequence[Images]) -> tuple[dict[str, Tensor], list[Picture]]:
        """One image with its tiles, or several as a padded square and a last token each."""
        processor = self.processor.image_processor
        seen = processor([list(own) for own in images], return_tensors="pt")
        pictures: list[Picture] = []
        for own in images:
            for image in own:
                words = self.processor.replace_image_token(seen, len(pictures))
                regions = [whole(image), *self._tiles(image)] if len(own) == 1 else [square(image)]
                pictures.append(self._picture(image, regions, words))
        return dict(seen), pictures

    def pack(
        self, features: Tensor, size: tuple[int, int], newline: Tensor, shrink: bool = True
    ) -> tuple[list[Tensor], Tensor]:
        """The model's own arrangement, with a large grid left as it is unless ``shrink``."""
        ratio = self.model.config.vision_aspect_ratio if shrink else "anyres_max_1000000000"
        return self.model.model.pack_image_features(  # type: ignore[no-any-return]
            [features], [size], image_newline=newline, vision_aspect_ratio=ratio
        )

    def _packed(
        self, image: Image.Image, boxes: np.ndarray, regions: Sequence[Box]
    ) -> tuple[np.ndarray, np.ndarray]:
        """A grid that was shrunk is laid anew over the whole image, which it covers."""
        places, content = super()._packed(image, boxes, regions)
        size, empty = (image.height, image.width), torch.zeros(1)
        (large,), _ = self.pack(torch.zeros(*boxes.shape[:2], 1), size, empty, shrink=False)
        if len(places) < len(large):
            grid, own = places[boxes.shape[1] :], content[boxes.shape[1] :]
            rows = int((~own).sum())
            grid[own] = grid_boxes(whole(image), rows, int(own.sum()) // rows, image.size)
        return places, content


def square(image: Image.Image) -> Box:
    """The padded square around an image, which has as much padding on both sides."""
    longest = max(image.size)
    left, top = (longest - image.width) // 2, (longest - image.height) // 2
    return (float(-left), float(-top), float(longest - left), float(longest - top))
