"""What all dual encoders share: a vision and a text tower that meet in the training loss alone.

A family of this kind names its two towers and, where they take other inputs than a square of pixels
and padded text, how samples become these.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor, nn

from backend.data.sample import Sample
from backend.models.adapter import AttentionKey, Embedder, Inputs
from backend.models.families.base import Released, block_points, block_sites, self_attention
from backend.models.images import patch_roles
from backend.models.points import AttentionPoint, Point
from backend.models.roles import Origins, Role
from backend.models.texts import special_ids, text_roles, tokenize
from backend.types import POOLINGS, LayerRef, Meet, Pooling, Site, StreamSpec


@dataclass(frozen=True, eq=False)
class Tower:
    """One of the two encoders.

    ``attention[k - 1]`` gives the self-attention map of ``blocks[k - 1]``, as item ``index`` of its
    output; there may be none. ``after`` are the sites after the last block, in order; the last of
    them is what the loss compares.
    """

    blocks: Sequence[nn.Module]
    attention: Sequence[nn.Module]
    width: int
    after: Mapping[Site, Point]
    poolings: tuple[Pooling, ...] = POOLINGS
    note: str = ""
    index: int = 1


class Encoded(NamedTuple):
    """One tower's part of a batch: see :class:`backend.models.adapter.Inputs`."""

    tensors: dict[str, Tensor]
    roles: Tensor
    origins: Origins
    cut: np.ndarray = np.zeros(0, dtype=np.int64)


class DualEncoder(Released):
    """Two towers; as it stands, a square of patches after a CLS, and text read at ``summary``."""

    prefix: tuple[Role, ...] = (Role.SUMMARY,)
    """The tokens of the vision tower before the patches."""
    summary: Literal["first", "last"] | None = "first"
    """The token by which the text tower is read; None where it is not read by a single one."""

    @abstractmethod
    def towers(self) -> dict[str, Tower]:
        """``vision`` and ``text``."""

    def describe(self) -> None:
        """Streams of both towers, with one meet each: the loss."""
        self._towers = self.towers()
        if not self.processor.tokenizer.is_fast:
            reason = "this tokenizer does not say which characters a token comes from"
            self.unsupported = {**self.unsupported, "origins of text": reason}
        self.streams = tuple(
            StreamSpec(
                name,
                name,
                block_sites(len(tower.blocks), tower.width, *tower.after),
                (Meet(len(tower.blocks), "loss", other, list(tower.after)[-1].label),),
                tower.poolings,
                tower.note,
            )
            for (name, tower), other in zip(
                self._towers.items(), reversed(self._towers), strict=True
            )
        )

    def points(self) -> dict[LayerRef, Point]:
        """The blocks of both towers, and what follows them."""
        points: dict[LayerRef, Point] = {}
        for name, tower in self._towers.items():
            points |= block_points(name, tower.blocks)
            for site, point in tower.after.items():
                points[LayerRef(name, site.layer, site.name)] = point
        return points

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Self-attention of both towers."""
        maps: dict[AttentionKey, AttentionPoint] = {}
        for name, tower in self._towers.items():
            maps |= self_attention(name, tower.attention, tower.index)
        return maps

    def encode(self, samples: Sequence[Sample]) -> Inputs:
        """What both towers take."""
        self.require(samples)
        vision, text = self.encode_vision(samples), self.encode_text(samples)
        return Inputs(
            {**text.tensors, **vision.tensors},
            {"vision": vision.roles, "text": text.roles},
            {"vision": vision.origins, "text": text.origins},
            {"text": text.cut},
        )

    def embedders(self) -> Mapping[str, Embedder]:
        """Either tower alone, to the vectors that the loss compares."""
        return {
            "vision": Embedder(
                lambda samples: _alone("vision", self.encode_vision(samples)),
                lambda inputs: self.model.get_image_features(**inputs.tensors).pooler_output,
            ),
            "text": Embedder(
                lambda samples: _alone("text", self.encode_text(samples)),
                lambda inputs: self.model.get_text_features(**inputs.tensors).pooler_output,
            ),
        }

    def encode_vision(self, samples: Sequence[Sample]) -> Encoded:
        """The first image of each sample as a square of patches, after the prefix."""
        images = self.processor.image_processor
        pixels = images([s.images[0] for s in samples], return_tensors="pt")["pixel_values"]
        side = self.patch_size
        rows, columns = pixels.shape[2] // side, pixels.shape[3] // side
        return Encoded(
            {"pixel_values": pixels},
            patch_roles(len(samples), rows * columns, self.prefix),
            self.image_boxes(samples, images, rows, columns, len(self.prefix)),
        )

    def encode_text(self, samples: Sequence[Sample]) -> Encoded:
        """Token ids, padded to the longest text."""
        tokenizer = self.processor.tokenizer
        tokens = tokenize(tokenizer, [s.text for s in samples], self.max_tokens)
        return Encoded(
            {"input_ids": tokens.ids, "attention_mask": tokens.mask},
            text_roles(tokens.ids, tokens.mask, special_ids(tokenizer), self.summary),
            tokens.spans,
            tokens.cut,
        )

    @property
    def patch_size(self) -> int:
        """The side of a patch in pixels of the model's input."""
        return int(self.model.config.vision_config.patch_size)

    @property
    def max_tokens(self) -> int:
        """The most tokens that the text tower takes."""
        return int(self.model.config.text_config.max_position_embeddings)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """The similarity of every image with every text of the batch, as the loss sees it."""
        out = self.model(**inputs.tensors)
        return {"logits_per_image": out.logits_per_image}


def _alone(stream: str, made: Encoded) -> Inputs:
    """A batch of one tower."""
    return Inputs(made.tensors, {stream: made.roles}, {stream: made.origins}, {stream: made.cut})
