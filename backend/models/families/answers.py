"""The decoder that answers, of an encoder-decoder whose encoder reads an image among words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from backend.models.adapter import AttentionKey, Inputs
from backend.models.families.base import block_points, fusion_sites, item, self_attention
from backend.models.images import patch_roles
from backend.models.points import (
    ENTERING,
    FIRST,
    Argument,
    Arguments,
    AttentionPoint,
    Point,
    Rewrite,
)
from backend.models.roles import OWN, Role, has
from backend.types import LayerRef, Meet, StreamSpec

ANSWER = "answer"
READS = ("image", "text")
"""The streams of the encoder, which the decoder takes in."""


def answer_stream(depth: int, width: int, note: str = "") -> StreamSpec:
    """One token, by which the answer begins; ``k.fusion`` is behind block k's cross-attention."""
    both = range(1, depth + 1)
    meets = tuple(Meet(k, "cross", reads, f"{k}.fusion") for k in both for reads in READS)
    said = f"The word that begins the answer. {note}".strip()
    return StreamSpec(ANSWER, "text", fusion_sites(depth, width, both), meets, ("cls",), said)


def answer_roles(samples: int) -> Tensor:
    """(B, 1): the answer is read by its one token."""
    return patch_roles(samples, 0, (Role.SUMMARY,))


def answer_points(
    blocks: Sequence[nn.Module], crossed: Sequence[nn.Module]
) -> dict[LayerRef, Point]:
    """``crossed`` are the modules that give what is behind each block's cross-attention."""
    places = block_points(ANSWER, blocks)
    for k, module in enumerate(crossed, start=1):
        places[LayerRef(ANSWER, k, "fusion")] = Point(module)
    return places


def answer_attention(
    own: Sequence[nn.Module], cross: Sequence[nn.Module], index: int = 1
) -> dict[AttentionKey, AttentionPoint]:
    """Self-attention of every block, and what its cross-attention sees of the encoder."""
    maps = self_attention(ANSWER, own, index)
    for k, module in enumerate(cross, start=1):
        point = AttentionPoint(module, (ANSWER,), READS, item(index))
        for reads in READS:
            maps[AttentionKey(LayerRef(ANSWER, k, "fusion"), reads)] = point
    return maps


def unread(module: nn.Module, reads: str, mask: Argument) -> tuple[Rewrite, ...]:
    """A cross-attention that no longer sees one of the streams; where it sees none, it adds 0."""

    def close(value: Arguments, inputs: Inputs) -> Arguments:
        entering: Tensor | None = mask.read(value, inputs)
        closed = has(inputs.roles[reads], OWN | Role.PADDING)[:, None, None]
        numbers = ENTERING.read(value, inputs).dtype
        if entering is None:
            entering = torch.ones_like(closed)
        if entering.dtype == torch.bool:  # as numbers: T5 would make the lowest one of them
            entering = torch.zeros_like(entering, dtype=numbers).masked_fill(~entering, -torch.inf)
        return mask.write(value, entering.masked_fill(closed, -torch.inf), inputs)

    return (Rewrite(module, close, "input"), Rewrite(module, _nothing))


def _nothing(value: Any, inputs: Inputs) -> Any:
    """Zeros where no key was left to see, which an attention gives as no number."""
    tokens = FIRST.read(value, inputs)
    return FIRST.write(value, tokens.nan_to_num(nan=0.0), inputs)
