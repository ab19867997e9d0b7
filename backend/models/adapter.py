"""What capture needs to know of a model, whatever its family.

A new family is one file with an :class:`Adapter` and one line in ``registry.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor, nn

from backend.models.placement import Placement
from backend.types import LayerRef, StreamSpec, TaskSpec


@dataclass(frozen=True)
class HookPoint:
    """Where a layer can be read: the module whose forward output holds it, and how to get it out.

    ``select`` takes the module's output and returns the stream's tokens, (B, T, d).
    """

    module: nn.Module
    select: Callable[[Any], Tensor]


class Adapter(ABC):
    """A loaded model with named streams."""

    family: str
    name: str
    streams: tuple[StreamSpec, ...]
    placement: Placement | None = None
    seed: int | None = None
    tasks: tuple[TaskSpec, ...] = ()
    trained_on: str = ""  # the dataset's name, where the checkpoint says it
    digest: str = ""  # of weights and configuration

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """The model that runs."""

    @abstractmethod
    def points(self) -> Mapping[LayerRef, HookPoint]:
        """Every site of every stream, in the streams' order."""

    @abstractmethod
    def batch(self, images: Sequence[Image.Image], texts: Sequence[str]) -> dict[str, Tensor]:
        """Inputs of :meth:`forward`, on the CPU."""

    @abstractmethod
    def counted(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor | int]:
        """Which tokens of a stream the mean pools: a (B, T) mask, or how many leading to leave out.

        Padding never counts, and CLS and register tokens do not either.
        """

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the model: the logits of each task (empty for a model without heads)."""
