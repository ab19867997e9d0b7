"""Qwen2-VL, 2.5-VL and 3-VL: images of any shape among a text's words (Wang 2024, Bai 2025).

Facts are from transformers 5.23: ``Qwen2VLImageProcessor.patchify`` (the order of patches: those of
a square that becomes one token stand together), ``Qwen2VLModel.get_rope_index`` (positions),
``Qwen2_5_VisionTransformerPretrainedModel.forward`` (the tower works in the order of its windows
and goes back after its merger), ``Qwen3VLVisionModel.forward`` and ``Qwen3VLTextModel.forward``
(DeepStack: after the first blocks of the language model, features of earlier layers of the tower
are added to the image's tokens; Meng 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.vision_utils import get_vision_window_index

from backend.errors import InputError
from backend.models.adapter import Inputs
from backend.models.families.base import fusion_sites, meets
from backend.models.families.image_tokens import ImageTokens, Parts
from backend.models.families.pictures import Picture, merged, whole
from backend.models.families.prompting import Images
from backend.models.points import Arguments, Point, Rewrite
from backend.models.roles import Role, grid_boxes
from backend.models.texts import Prompted
from backend.types import LayerRef, Meet


class Qwen2VL(ImageTokens):
    """An image keeps its shape; a square of its patches becomes one token of the language model."""

    family = "qwen2_vl"
    model_class = "Qwen2VLForConditionalGeneration"
    parts = Parts("model.visual", "model.language_model", ("model.visual.merger",))
    packed = True

    def look(self, images: Sequence[Images]) -> tuple[dict[str, Tensor], list[Picture]]:
        """Patches square by square, the squares row by row or in the order of the tower."""
        flat = list(chain.from_iterable(images))
        seen = self.processor.image_processor(flat, return_tensors="pt")
        side = self.model.config.vision_config.spatial_merge_size
        pictures = []
        for which, image in enumerate(flat):
            grid = seen["image_grid_thw"][which]
            rows, columns = grid[1:].tolist()
            patches = grid_boxes(whole(image), rows, columns, image.size)
            squares = patches.reshape(rows // side, side, columns // side, side, 4)
            squares = squares.transpose(0, 2, 1, 3, 4).reshape(-1, side * side, 4)
            pictures.append(
                Picture(
                    [Role.CONTENT] * (rows * columns),
                    squares[self.order(grid)].reshape(-1, 4),
                    self.processor.replace_image_token(seen, which),
                    [Role.CONTENT] * len(squares),
                    merged(patches, rows, columns, side),
                )
            )
        return dict(seen), pictures

    def order(self, grid: Tensor) -> np.ndarray:
        """The squares of an image of (1, rows, columns) patches as the tower has them."""
        return np.arange(int(grid.prod()) // self.model.config.vision_config.spatial_merge_size**2)

    def positions(self, tokens: Prompted) -> dict[str, Tensor]:
        """The model counts rows and columns of images itself; it is told which tokens those are."""
        return {"mm_token_type_ids": (tokens.ids == self.image_id).int()}


class Qwen25VL(Qwen2VL):
    """Most blocks of the tower attend within windows, so it has its patches window by window."""

    family = "qwen2_5_vl"
    model_class = "Qwen2_5_VLForConditionalGeneration"

    def order(self, grid: Tensor) -> np.ndarray:
        """The model's own order."""
        config = self.model.config.vision_config
        index, _ = get_vision_window_index(
            grid[None], config.spatial_merge_size, config.window_size, config.patch_size
        )
        return index.numpy()


class Qwen3VL(Qwen2VL):
    """DeepStack: what is added on entry to block k + 1 comes from the k-th of chosen tower layers.

    So ``image`` meets ``vision`` there, beside its meets with the text.
    """

    family = "qwen3_vl"
    model_class = "Qwen3VLForConditionalGeneration"
    parts = replace(
        Qwen2VL.parts, between=("model.visual.merger", "model.visual.deepstack_merger_list")
    )

    def describe(self) -> None:
        """``k.fusion`` is what enters block k with the features that were added."""
        super().describe()
        added = self.added
        if added and added[-1] > self.language.depth:
            raise InputError(
                "features of the tower are added after the language model's last block",
                where=f"model {self.name}",
                hint="A model has more blocks than deepstack_visual_indexes.",
            )
        named = {spec.name: spec for spec in self.streams}
        ends = tuple(site for site in named["image"].sites if site.name == "norm")
        named["image"] = replace(
            named["image"],
            sites=fusion_sites(self.language.depth, self.language.width, added, *ends),
            meets=(*meets("add", "vision", added, "fusion"), *named["image"].meets),
        )
        self.streams = tuple(named.values())

    @property
    def added(self) -> list[int]:
        """The blocks on entry to which features of the tower are added."""
        layers = self.model.config.vision_config.deepstack_visual_indexes
        return list(range(2, 2 + len(layers)))

    def tower_note(self) -> str:
        """From where DeepStack takes its features."""
        layers = [k + 1 for k in self.model.config.vision_config.deepstack_visual_indexes]
        names = ", ".join(map(str, layers))
        return f"Layers {names} are also added to the image's tokens between later blocks."

    def points(self) -> dict[LayerRef, Point]:
        """What is added is first seen in what the next block takes."""
        places = super().points()
        for k in self.added:
            entering = Point(self.language.blocks[k - 1], "input")
            places[LayerRef("image", k, "fusion")] = entering
        return {ref: places[ref] for spec in self.streams for ref in spec.refs}

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What would be added on entry to that block becomes zero."""
        if meet.how != "add":
            return super().cut(stream, meet)
        language = self.model.get_submodule(self.parts.language)
        return (Rewrite(language, partial(_without, meet.layer - 2), "input"),)


def _without(which: int, value: Arguments, inputs: Inputs) -> Any:
    """The language model's arguments with zeros as the features of that number."""
    args, kwargs = value
    features = list(kwargs["deepstack_visual_embeds"])
    features[which] = torch.zeros_like(features[which])
    return args, {**kwargs, "deepstack_visual_embeds": features}
