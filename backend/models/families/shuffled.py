"""Idefics 3, SmolVLM and InternVL: tiles of an image, a square of patches as one token.

Laurençon 2024, Marafioti 2025, Chen 2024. Facts are from transformers 5.23:
``Idefics3ImageProcessor.split_images`` (tiles row by row, then the whole image, all squashed to one
size), ``Idefics3Connector.pixel_shuffle`` and ``InternVLModel.pixel_shuffle`` (squares row by row),
``Idefics3Model.get_image_features`` (tiles that only pad a batch do not reach the tower),
``GotOcr2ImageProcessor.crop_image_to_patches`` (InternVL's tiles, then a thumbnail).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor, nn
from transformers import Idefics3Processor
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from backend.models.families.image_tokens import ImageTokens, Parts
from backend.models.families.pictures import Picture, merged, tiles_of, unsummed, whole
from backend.models.families.prompting import Images
from backend.models.loading import Checkpoint
from backend.models.points import FIRST, PerImage, Point
from backend.models.roles import Role, grid_boxes
from backend.types import LayerRef, Site


class Shuffled(ImageTokens):
    """Tiles are images to the tower; the language model gets ``square`` x ``square`` as a token."""

    @property
    @abstractmethod
    def side(self) -> int:
        """Patches along one side of a tile."""

    @property
    @abstractmethod
    def square(self) -> int:
        """Patches along one side of what becomes a token."""

    @abstractmethod
    def final_norm(self) -> nn.Module | None:
        """The tower's norm after its last block."""

    def tower_sites(self) -> tuple[Site, ...]:
        """The language model reads the tower after its final norm, if it has one."""
        depth, width = self.tower.depth, self.tower.width
        return () if self.final_norm() is None else (Site(depth, width, "norm"),)

    def tower_named(self) -> dict[LayerRef, Point]:
        """The final norm."""
        norm, ref = self.final_norm(), LayerRef("vision", self.tower.depth, "norm")
        return {} if norm is None else {ref: Point(norm, select=PerImage("vision", FIRST))}

    def picture(self, image: Image.Image, rows: int, columns: int, words: str) -> Picture:
        """Tiles row by row, then the whole image, which stands alone where it is the only tile."""
        regions = tiles_of(whole(image), rows, columns) if rows * columns > 1 else []
        regions.append(whole(image))
        side, prefix = self.side, len(self.prefix)
        cells = [grid_boxes(region, side, side, image.size) for region in regions]
        boxes = np.full((len(regions), prefix + side * side, 4), np.nan)
        boxes[:, prefix:] = cells
        squares = [merged(own, side, side, self.square) for own in cells]
        patches = [Role.CONTENT] * (side * side)
        tower = [*unsummed(self.prefix), *patches] * (len(regions) - 1) + [*self.prefix, *patches]
        row = [Role.CONTENT] * (len(regions) * len(squares[0]))
        return Picture(tower, boxes.reshape(-1, 4), words, row, np.concatenate(squares))


class Idefics3(Shuffled):
    """The images of a sample are one row of tiles; words before each tile say which it is."""

    family = "idefics3"
    model_class = "Idefics3ForConditionalGeneration"
    parts = Parts("model.vision_model", "model.text_model", ("model.connector",))

    @property
    def side(self) -> int:
        """Of the size that all tiles have."""
        config = self.model.config.vision_config
        return int(config.image_size // config.patch_size)

    @property
    def square(self) -> int:
        """The connector's factor."""
        return int(self.model.config.scale_factor)

    def final_norm(self) -> nn.Module | None:
        """Always there."""
        norm: nn.Module = self.model.model.vision_model.post_layernorm
        return norm

    def look(self, images: Sequence[Images]) -> tuple[dict[str, Tensor], list[Picture]]:
        """As many tiles for every sample as the one with the most has."""
        processor = self.processor.image_processor
        seen = processor(
            [list(own) for own in images], return_row_col_info=True, return_tensors="pt"
        )
        grids = list(zip(chain(*seen["rows"]), chain(*seen["cols"]), strict=True))
        pictures = [
            self.picture(
                image, int(rows), int(columns), self.processor.replace_image_token(seen, which)
            )
            for which, (image, (rows, columns)) in enumerate(
                zip(chain.from_iterable(images), grids, strict=True)
            )
        ]
        return {name: seen[name] for name in ("pixel_values", "pixel_attention_mask")}, pictures


class SmolVLM(Idefics3):
    """Idefics 3 with a small tower and language model."""

    family = "smolvlm"
    model_class = "SmolVLMForConditionalGeneration"

    @classmethod
    def processor_of(cls, checkpoint: Checkpoint) -> Any:
        """Idefics 3's, which makes the same of images; its own needs a package for videos."""
        return checkpoint.processor(Idefics3Processor)


class InternVL(Shuffled):
    """The tower's class token, by which nothing is read, is left out for the language model."""

    family = "internvl"
    model_class = "InternVLForConditionalGeneration"

    @property
    def side(self) -> int:
        """Of the size that all tiles have."""
        config = self.model.config.vision_config
        return int(config.image_size[0] // config.patch_size[0])

    @property
    def square(self) -> int:
        """The inverse of the ratio by which the model shrinks."""
        ratio = float(self.model.config.downsample_ratio)
        return round(1 / ratio)

    def final_norm(self) -> nn.Module | None:
        """None where the tower is made for averages."""
        norm: nn.Module = self.model.model.vision_tower.layernorm
        return None if isinstance(norm, nn.Identity) else norm

    def look(self, images: Sequence[Images]) -> tuple[dict[str, Tensor], list[Picture]]:
        """The tiles of all images in a row."""
        processor, flat = self.processor.image_processor, list(chain.from_iterable(images))
        seen = processor(flat, return_tensors="pt")
        pictures = []
        for which, (image, tiles) in enumerate(zip(flat, seen["num_patches"], strict=True)):
            rows, columns = 1, 1
            if int(tiles) > 1:
                columns, rows = get_optimal_tiled_canvas(
                    (image.height, image.width),
                    (processor.size["height"], processor.size["width"]),
                    processor.min_patches,
                    processor.max_patches,
                )
            words = self.processor.replace_image_token(seen, which)
            pictures.append(self.picture(image, rows, columns, words))
        return {"pixel_values": seen["pixel_values"]}, pictures
