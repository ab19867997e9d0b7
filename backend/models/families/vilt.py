"""ViLT: text and patches as one sequence in one transformer (Kim et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from transformers.models.vilt.image_processing_vilt import MAX_LONGER_EDGE, MAX_SHORTER_EDGE

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import Inputs
from backend.models.families.base import (
    block_points,
    block_sites,
    meets,
)
from backend.models.families.one_sequence import OneSequence
from backend.models.points import Point, Pooled
from backend.models.roles import Origins, Role, box_origins, grid_boxes
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import LayerRef, Site, StreamSpec


class Vilt(OneSequence):
    """Both streams are tokens of one sequence, and read each other in every block.

    The model itself draws the order of an image's patches, and which of them it takes, by lot. Here
    they stay row by row, and where there are too many, evenly spaced ones are taken.
    """

    family = "vilt"
    model_class = "ViltModel"
    ignored_keys = (r"^classifier\.", r"^mlm_score\.", r"^rank_output\.")

    def describe(self) -> None:
        """The same blocks for text and vision; the pooler reads the text's first token."""
        config = self.model.config
        depth, width = config.num_hidden_layers, config.hidden_size
        norm = Site(depth, width, "norm")
        pooled = Site(depth, width, "pooled", pooled=True)
        ends = {"text": (norm, pooled) if self.model.pooler else (norm,), "vision": (norm,)}
        notes = {"vision": "No head reads the class token of the image: cls is not trained as one."}
        self.streams = tuple(
            StreamSpec(
                name,
                name,
                block_sites(depth, width, *ends[name]),
                meets("joint", reads, range(1, depth + 1)),
                note=notes.get(name, ""),
                space="joint",
            )
            for name, reads in (("text", "vision"), ("vision", "text"))
        )

    def points(self) -> dict[LayerRef, Point]:
        """One module serves both streams; the roles tell their tokens apart."""
        model, points = self.model, dict[LayerRef, Point]()
        for spec in self.streams:
            points |= block_points(spec.name, model.encoder.layer)
            for ref in spec.refs[spec.depth + 1 :]:
                points[ref] = (
                    Point(model.layernorm)
                    if ref.site == "norm"
                    else Point(model.pooler, select=Pooled())
                )
        return points

    def maps(self, block: Any) -> nn.Module:
        """The dropout, through which they go."""
        weights: nn.Module = block.attention.attention.dropout
        return weights

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """Token ids and pixels; images keep their shape and are padded to the largest."""
        self.require(samples)
        images, tokenizer = [sample.images[0] for sample in samples], self.processor.tokenizer
        limit = self.model.config.max_position_embeddings
        texts = tokenize(tokenizer, [sample.text for sample in samples], limit)
        self._check_sizes(images)
        pixels = self.processor.image_processor(images, return_tensors="pt")
        grids, chosen = self._patches(pixels["pixel_mask"])
        words, patches = texts.ids.shape[1], max(map(len, chosen))
        text = text_roles(texts.ids, texts.mask, special_ids(tokenizer), "first")
        vision = torch.full((len(samples), 1 + patches), int(Role.PADDING), dtype=torch.int8)
        vision[:, 0] = int(Role.SUMMARY)
        boxes, left_out = [], []
        for row, (image, grid, own) in enumerate(zip(images, grids, chosen, strict=True)):
            vision[row, 1 : 1 + len(own)] = int(Role.CONTENT)
            boxes.append(grid_boxes((0.0, 0.0, *image.size), *grid, image.size)[own])
            left_out.append(grid[0] * grid[1] - len(own))
        spans = np.pad(texts.spans.values, ((0, 0), (0, 1 + patches), (0, 0)), constant_values=-1)
        return Inputs(
            {"input_ids": texts.ids, "attention_mask": texts.mask, **pixels},
            {"text": pad(text, (0, 1 + patches)), "vision": pad(vision, (words, 0))},
            {
                "text": Origins("span", spans),
                "vision": box_origins(boxes, words + 1, words + 1 + patches),
            },
            {"text": texts.cut, "vision": np.array(left_out)},
        )

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """No head: nothing beside what is read at the sites."""
        given = dict(inputs.tensors)
        patches, real = self._embed(given.pop("pixel_values"), given.pop("pixel_mask"))
        self.model(**given, image_embeds=patches, pixel_mask=real)
        return {}

    def _check_sizes(self, images: Sequence[Image.Image]) -> None:
        """The processor bounds an image's longer side, and so may leave nothing of a stripe."""
        processor = self.processor.image_processor
        longest = int(MAX_LONGER_EDGE / MAX_SHORTER_EDGE * processor.size["shortest_edge"])
        for row, image in enumerate(images):
            if longest * min(image.size) / max(image.size) + 0.5 < processor.size_divisor:
                width, height = image.size
                raise InputError(
                    f"the image of sample {row + 1} is too narrow: {width} x {height} pixels",
                    where=f"model {self.name}",
                )

    def _patches(self, pixel_mask: Tensor) -> tuple[list[tuple[int, int]], list[np.ndarray]]:
        """Rows and columns of each image's patches, and which of them, row by row, are taken."""
        side, limit = self.model.config.patch_size, self.model.config.max_image_length
        size = (pixel_mask.shape[1] // side, pixel_mask.shape[2] // side)
        real = interpolate(pixel_mask[:, None].float(), size=size)[:, 0].long()
        grids = list(zip(real[:, :, 0].sum(1).tolist(), real[:, 0].sum(1).tolist(), strict=True))
        counts = [rows * columns for rows, columns in grids]
        most = min(max(counts), limit) if limit > 0 else max(counts)
        return grids, [
            np.linspace(0, count - 1, min(count, most)).round().astype(int) for count in counts
        ]

    def _embed(self, pixels: Tensor, pixel_mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1 + patches, d) with class token and positions, and (B, 1 + patches) which are real.

        As the model embeds them, but for the lots that it draws.
        """
        embeddings = self.model.embeddings
        projected = embeddings.patch_embeddings(pixels)
        grids, chosen = self._patches(pixel_mask)
        start, places = embeddings.position_embeddings[:, :1], embeddings.position_embeddings[:, 1:]
        side = int(places.shape[1] ** 0.5)
        places = places.transpose(1, 2).unflatten(2, (side, side))
        length = max(map(len, chosen))
        out = projected.new_zeros(len(pixels), length, projected.shape[1])
        real = pixel_mask.new_zeros(len(pixels), 1 + length)
        for row, ((rows, columns), own) in enumerate(zip(grids, chosen, strict=True)):
            patches = projected[row, :, :rows, :columns] + interpolate(
                places, size=(rows, columns), mode="bilinear", align_corners=True
            )
            out[row, : len(own)] = patches[0].flatten(1).T[own]
            real[row, : 1 + len(own)] = 1
        summary = (embeddings.cls_token + start).expand(len(pixels), -1, -1)
        return embeddings.dropout(torch.cat([summary, out], dim=1)), real
