"""Idefics 2: a resampler's latents for every image among a text's words (Laurençon et al. 2024).

Facts are from transformers 5.23: ``Idefics2Model.get_image_features`` (images that only pad a batch
do not reach the tower), ``Idefics2VisionEmbeddings.forward`` (an image keeps its shape; patches
stand row by row in the grid of the largest one), ``Idefics2PerceiverLayer.forward`` (patches and
latents are keys of one attention), ``Idefics2ImageProcessor.split_images`` (quarters, then the
whole), ``Idefics2Processor.__call__`` (what stands around an image).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from backend.models.adapter import AttentionKey, Inputs
from backend.models.families import resampler
from backend.models.families.base import fusion_sites, item, meets
from backend.models.families.image_tokens import ImageTokens, Parts
from backend.models.families.pictures import Picture, whole
from backend.models.families.prompting import Images
from backend.models.families.stacks import per_image
from backend.models.images import several_roles
from backend.models.points import (
    ENTERING,
    FIRST,
    Argument,
    Arguments,
    AttentionPoint,
    PerImage,
    Point,
    Rewrite,
)
from backend.models.roles import Box, Role, grid_boxes
from backend.models.texts import Prompt
from backend.types import LayerRef, Meet, Site, StreamSpec

_CONTEXT, _MASK = Argument(1, "context"), Argument(2, "attention_mask")


class Idefics2(ImageTokens):
    """``query`` are the latents in the resampler, ``image`` what becomes of them.

    An image may be split: then its quarters, and all of it, are images of their own.
    """

    family = "idefics2"
    model_class = "Idefics2ForConditionalGeneration"
    parts = Parts("model.vision_model", "model.text_model", ("model.connector",))

    def describe(self) -> None:
        """The resampler lies in the connector, behind a projection of the tower's patches."""
        self.resampler = self.model.model.connector.perceiver_resampler
        self.unsupported = {
            "origins": "A query token, and so an image token, is made of a whole image."
        }
        super().describe()

    def tower_sites(self) -> tuple[Site, ...]:
        """The resampler reads the tower after its final norm."""
        return (Site(self.tower.depth, self.tower.width, "norm"),)

    def tower_named(self) -> dict[LayerRef, Point]:
        """The final norm."""
        return self.tower_norm()

    def between(self) -> tuple[StreamSpec, ...]:
        """The latents read the patches, and each other, in every block."""
        depth, width = self.resampler.depth, self.resampler.hidden_size
        blocks = range(1, depth + 1)
        sites = fusion_sites(depth, width, blocks, Site(depth, width, "norm"))
        read = meets("cross", "vision", blocks, "fusion")
        return (StreamSpec(resampler.NAME, resampler.NAME, sites, read, ("mean",)),)

    def between_points(self) -> dict[LayerRef, Point]:
        """``k.fusion`` is between attention and perceptron of block k."""
        name, layers = resampler.NAME, self.resampler.layers
        entering, leaving = PerImage(name, ENTERING), PerImage(name, FIRST)
        places = {LayerRef(name, 0): Point(layers[0], "input", select=entering)}
        for k, layer in enumerate(layers, start=1):
            taken = Point(layer, "input", select=entering)
            places[LayerRef(name, k, "fusion")] = Point(
                layer.self_attn, select=leaving, residual=taken
            )
            places[LayerRef(name, k)] = Point(layer, select=leaving)
        places[LayerRef(name, k, "norm")] = Point(self.resampler.norm, select=leaving)
        return places

    def between_roles(self, seen: Sequence[Sequence[Picture]]) -> dict[str, Tensor]:
        """Every latent of every image is content."""
        count = self.resampler.n_latents
        images = [sum(len(picture.row) for picture in own) // count for own in seen]
        return {resampler.NAME: several_roles(images, [Role.CONTENT] * count)}

    def between_attention(self) -> dict[AttentionKey, AttentionPoint]:
        """One map a block: patches and latents are keys of the same attention."""
        name, keys = resampler.NAME, ("vision", resampler.NAME)
        return {
            AttentionKey(LayerRef(name, k, "fusion"), reads): AttentionPoint(
                layer.self_attn, (name,), keys, item(1), arrange=per_image(name, keys)
            )
            for k, layer in enumerate(self.resampler.layers, start=1)
            for reads in keys
        }

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """In that block the latents see only each other."""
        if stream == resampler.NAME:
            return (Rewrite(self.resampler.layers[meet.layer - 1].self_attn, _blinded, "input"),)
        return super().cut(stream, meet)

    def look(self, images: Sequence[Images]) -> tuple[dict[str, Tensor], list[Picture]]:
        """Every image of its own shape, in the grid of the batch's largest."""
        seen = self.processor.image_processor([list(own) for own in images], return_tensors="pt")
        mask, side = seen["pixel_attention_mask"], self.model.config.vision_config.patch_size
        split = 5 if self.processor.image_processor.do_image_splitting else 1
        pictures = []
        for own, masks in zip(images, mask, strict=True):
            for at, image in enumerate(own):
                parts = masks[at * split : (at + 1) * split]
                pictures.append(self._picture(image, parts, side))
        return dict(seen), pictures

    def _picture(self, image: Image.Image, masks: Tensor, side: int) -> Picture:
        """An image or, split, its quarters and itself; ``masks`` (parts, h, w): its pixels."""
        rows, columns = masks.shape[1] // side, masks.shape[2] // side
        roles = np.full((len(masks), rows, columns), int(Role.PADDING))
        boxes = np.full((len(masks), rows, columns, 4), np.nan)
        regions = [*_quarters(image), whole(image)] if len(masks) > 1 else [whole(image)]
        for part, (mask, region) in enumerate(zip(masks, regions, strict=True)):
            height, width = int(mask[:, 0].sum()), int(mask[0].sum())
            own = (slice(height // side), slice(width // side))
            roles[part][own] = int(Role.CONTENT)
            seen = _of_whole_patches(region, (height, width), side)
            boxes[part][own] = grid_boxes(seen, height // side, width // side, image.size).reshape(
                height // side, width // side, 4
            )
        count, fake = self.resampler.n_latents, self.processor.fake_image_token
        return Picture(
            [Role(int(role)) for role in roles.ravel()],
            boxes.reshape(-1, 4),
            f"{fake}{self.mark * count}{fake}" * len(masks),
            [Role.CONTENT] * (count * len(masks)),
            None,
        )

    def spelled(self, prompt: Prompt) -> Prompt:
        """One mark between images that touch, and a space before a word that touches one."""
        fake = self.processor.fake_image_token
        touching = re.compile(rf"{re.escape(fake)}(?=[^\s<])")

        def apart(part: str, follows: str) -> str:
            spaced = touching.sub(f"{fake} ", part.replace(fake * 2, fake) + follows)
            return spaced[: len(spaced) - len(follows)]

        before, text, after = prompt
        return Prompt(apart(before, (text + after)[:1]), text, apart(after, ""))


def _quarters(image: Image.Image) -> list[Box]:
    """The four quarters of an image, row by row, of whole pixels."""
    x, y = float(image.width // 2), float(image.height // 2)
    across, down = ((0.0, x), (x, float(image.width))), ((0.0, y), (y, float(image.height)))
    return [(left, top, right, bottom) for top, bottom in down for left, right in across]


def _of_whole_patches(region: Box, size: tuple[int, int], side: int) -> Box:
    """What of ``region`` is seen: pixels at the right and below that fill no patch are not.

    ``size``: the pixels (height, width) that the region became.
    """
    left, top, right, bottom = region
    height, width = size
    return (
        left,
        top,
        left + (right - left) * (width // side * side / width),
        top + (bottom - top) * (height // side * side / height),
    )


def _blinded(value: Arguments, inputs: Inputs) -> Arguments:
    """The resampler's attention without the patches among its keys."""
    context: Tensor = _CONTEXT.read(value, inputs)
    mask: Tensor | None = _MASK.read(value, inputs)
    without = _CONTEXT.write(value, context[:, :0], inputs)
    return without if mask is None else _MASK.write(without, mask[..., context.shape[1] :], inputs)
