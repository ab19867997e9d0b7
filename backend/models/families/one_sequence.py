"""Words and what is seen as one sequence through the same blocks (ViLT, VisualBERT)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import nn

from backend.models.adapter import AttentionKey
from backend.models.families.base import Released, self_attention, unseen
from backend.models.points import AttentionPoint, Rewrite
from backend.types import Meet


class OneSequence(Released):
    """Streams ``text`` and ``vision`` live in ``encoder.layer``; the roles tell them apart."""

    @abstractmethod
    def maps(self, block: Any) -> nn.Module:
        """The module whose output is a block's attention map."""

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """One map a block, of both streams to both."""
        return self_attention(
            ("text", "vision"), [self.maps(block) for block in self.model.encoder.layer]
        )

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """The stream's tokens no longer see the other's in this block."""
        return (unseen(self.model.encoder.layer[meet.layer - 1], stream, meet.reads),)
