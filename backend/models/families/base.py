"""What the released models of ``transformers`` have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from backend.data.sample import Sample
from backend.models.adapter import Adapter, AttentionKey, Inputs
from backend.models.eager import eager_attention
from backend.models.images import seen_region
from backend.models.loading import Checkpoint
from backend.models.points import (
    ENTERING,
    FIRST,
    Argument,
    Arguments,
    AttentionPoint,
    Point,
    Rewrite,
)
from backend.models.roles import OWN, Origins, box_origins, grid_boxes, has
from backend.types import BLOCK, How, LayerRef, Meet, Pooling, Site, StreamSpec

MASK = Argument(1, "attention_mask")


class Released(Adapter):
    """A model of transformers with its processor.

    A family sets ``family`` (the ``model_type`` of config.json) and ``model_class``, and describes
    the model; see ``docs/new-family.md``.
    """

    model_class: ClassVar[str | type[PreTrainedModel]]
    """With what a checkpoint is opened: the name of a class of transformers, or any such class."""
    ignored_keys: ClassVar[tuple[str, ...]] = ()
    """Patterns of a checkpoint's tensors that the class has no place for, such as task heads."""

    def __init__(self, model: PreTrainedModel, processor: Any, name: str) -> None:
        self.model = model.eval()
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.name = name
        self.describe()

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> Self:
        """Open a checkpoint directory; InputError says in one line what is wrong with it."""
        model = checkpoint.weights(cls.model_class, ignored_keys=cls.ignored_keys)
        return cls(model, cls.processor_of(checkpoint), checkpoint.name)

    @classmethod
    def processor_of(cls, checkpoint: Checkpoint) -> Any:
        """What makes inputs of samples: the processor, where the family has such a class."""
        return checkpoint.processor()

    @abstractmethod
    def describe(self) -> None:
        """Set ``streams`` and whatever else depends on the model's configuration."""

    @property
    def module(self) -> nn.Module:
        """The model."""
        module: nn.Module = self.model
        return module

    @contextmanager
    def showing_attention(self) -> Iterator[None]:
        """The eager implementation, which is the one that gives maps; then as before."""
        with eager_attention(self.model):
            yield

    def image_boxes(
        self, samples: Sequence[Sample], processor: Any, rows: int, columns: int, prefix: int
    ) -> Origins:
        """Boxes of a grid of patches over each sample's first image, after ``prefix`` tokens."""
        sizes = [sample.images[0].size for sample in samples]
        boxes = [grid_boxes(seen_region(processor, size), rows, columns, size) for size in sizes]
        return box_origins(boxes, prefix, prefix + rows * columns)


def block_sites(depth: int, width: int, *named: Site) -> tuple[Site, ...]:
    """Layers 0..depth of one width, then named sites after the last of them."""
    return (*(Site(k, width) for k in range(depth + 1)), *named)


def fusion_sites(depth: int, width: int, fused: Collection[int], *named: Site) -> tuple[Site, ...]:
    """As :func:`block_sites`, with ``k.fusion`` before layer k for every k in ``fused``."""
    sites = [Site(0, width)]
    for k in range(1, depth + 1):
        sites += [Site(k, width, "fusion")] if k in fused else []
        sites.append(Site(k, width))
    return (*sites, *named)


def block_points(stream: str, blocks: Sequence[nn.Module]) -> dict[LayerRef, Point]:
    """Layer 0 is what enters the first block, k what block k gives."""
    found = {LayerRef(stream, 0): Point(blocks[0], "input")}
    for k, block in enumerate(blocks, start=1):
        found[LayerRef(stream, k)] = Point(block)
    return found


def self_attention(
    stream: str | tuple[str, ...], modules: Sequence[nn.Module], index: int = 1
) -> dict[AttentionKey, AttentionPoint]:
    """Self-attention of every block: ``modules[k - 1]`` returns its map as item ``index``.

    ``stream`` is a tuple where several streams share the sequence: each then reads itself and
    every other in the same map.
    """
    streams = (stream,) if isinstance(stream, str) else stream
    found = {}
    for k, module in enumerate(modules, start=1):
        point = AttentionPoint(module, streams, streams, item(index))
        for name in streams:
            for reads in streams:
                found[AttentionKey(LayerRef(name, k), reads)] = point
    return found


def item(index: int) -> Callable[[Any], Tensor | None]:
    """Reads item ``index`` of a tuple, or the value itself where it is a tensor."""

    def read(value: Any) -> Tensor | None:
        part: Tensor | None = value if isinstance(value, Tensor) else value[index]
        return part

    return read


def silenced(module: nn.Module, call: int | None = 0) -> Rewrite:
    """A branch that adds nothing: the (first) output becomes zeros, in every call for None."""

    def zeros(value: Any, inputs: Inputs) -> Any:
        return FIRST.write(value, torch.zeros_like(FIRST.read(value, inputs)), inputs)

    return Rewrite(module, zeros, call=call)


def unseen(
    module: nn.Module, stream: str, reads: str, mask: Argument = MASK, call: int | None = 0
) -> Rewrite:
    """Tokens of ``stream`` no longer see those of ``reads`` in the mask that enters ``module``.

    For streams that share a sequence. No mask at all is read as the attention itself reads it:
    causal where ``module`` says ``is_causal``, full attention both ways otherwise.
    """

    def close(value: Arguments, inputs: Inputs) -> Arguments:
        entering: Tensor | None = mask.read(value, inputs)
        rows = has(inputs.roles[stream], OWN)[:, None, :, None]
        closed = rows & has(inputs.roles[reads], OWN)[:, None, None, :]
        if entering is None:
            entering = torch.zeros_like(closed, dtype=ENTERING.read(value, inputs).dtype)
            if getattr(module, "is_causal", False):
                later = torch.ones_like(closed).triu(1)
                entering = entering.masked_fill(later, torch.finfo(entering.dtype).min)
        if entering.dtype == torch.bool:
            return mask.write(value, entering & ~closed, inputs)
        lowest = torch.finfo(entering.dtype).min
        return mask.write(value, torch.where(closed, lowest, entering), inputs)

    return Rewrite(module, close, "input", call)


def meets(how: How, reads: str, layers: Sequence[int], site: str = BLOCK) -> tuple[Meet, ...]:
    """A meet at each of ``layers``, first seen at the layer itself or at its named ``site``."""
    return tuple(Meet(k, how, reads, str(k) if site == BLOCK else f"{k}.{site}") for k in layers)


__all__ = [
    "Pooling",
    "Released",
    "Site",
    "StreamSpec",
    "block_points",
    "block_sites",
    "item",
    "meets",
    "self_attention",
    "silenced",
    "unseen",
]
