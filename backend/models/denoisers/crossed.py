"""Denoisers whose blocks read one text's encoder by cross-attention, none of which it sees."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from backend.models.adapter import AttentionKey, Inputs
from backend.models.denoisers.adapter import SPACE, Denoiser, text_points
from backend.models.denoisers.attention import WrittenOut, written_out
from backend.models.eager import eager_attention
from backend.models.families.base import block_sites, item, self_attention, silenced
from backend.models.points import AttentionPoint, Point, Rewrite, Select
from backend.models.texts import Tokens
from backend.types import LayerRef, Meet, Pooling, Site, StreamSpec

Arrange = Callable[[Tensor, Inputs], Tensor]

_READER = "text_encoder"


@dataclass(frozen=True, eq=False)
class Layer:
    """What gives a layer, its width, and the transformer blocks in it that read the text."""

    module: nn.Module
    width: int
    reading: tuple[Any, ...] = ()


class Crossed(Denoiser):
    """``vision_tN`` read ``text``, the one encoder."""

    poolings: ClassVar[tuple[Pooling, ...]]
    """Of the text."""

    @abstractmethod
    def all_layers(self) -> list[Layer]:
        """What enters the first block, then every block. InputError for other kinds."""

    @abstractmethod
    def tokens_of(self, stream: str) -> Select:
        """How a layer's tokens are taken out."""

    def arranged(self, stream: str, keys_too: bool) -> Arrange | None:
        """What makes maps over places those over cells."""
        return None

    @abstractmethod
    def text_roles(self, texts: Tokens) -> Tensor:
        """(B, T) roles of the text's tokens."""

    def describe(self) -> None:
        """A stream a level, and the text."""
        self.layers = self.all_layers()
        self.text_encoder: Any = self.parts[_READER]
        self.text_stack = self.reader(_READER)
        depth, width = self.text_stack.depth, self.text_stack.width
        meets = tuple(
            Meet(k, "cross", "text", str(k)) for k, layer in enumerate(self.layers) if layer.reading
        )
        sites = tuple(Site(k, layer.width) for k, layer in enumerate(self.layers))
        norm = Site(depth, width, "norm")
        self.streams = (
            *(
                StreamSpec(
                    *(stream, "vision", sites, meets, ("mean",)), self.level_note(stream), SPACE
                )
                for stream in self.steps
            ),
            StreamSpec("text", "text", block_sites(depth, width, norm), poolings=self.poolings),
        )
        self.processors = {id(attention): WrittenOut() for attention in self._attentions()}

    def points(self) -> dict[LayerRef, Point]:
        """Every layer in each of the denoiser's runs; the text encoder's blocks and norm."""
        places: dict[LayerRef, Point] = {}
        for call, stream in enumerate(self.steps):
            for k, layer in enumerate(self.layers):
                select = self.tokens_of(stream)
                places[LayerRef(stream, k)] = Point(layer.module, call=call, select=select)
        return places | text_points("text", self.text_stack)

    def attention(self) -> dict[AttentionKey, AttentionPoint]:
        """Of the last transformer block in each layer: among its tokens, and to the text."""
        names = self.text_stack.names
        maps = self_attention("text", self.text_stack.attention, names.index or 1)
        for call, stream in enumerate(self.steps):
            for k, layer in enumerate(self.layers):
                if not layer.reading:
                    continue
                last = layer.reading[-1]
                for reads, attention in ((stream, last.attn1), ("text", last.attn2)):
                    maps[AttentionKey(LayerRef(stream, k), reads)] = AttentionPoint(
                        self.processors[id(attention)].map,
                        (stream,),
                        (reads,),
                        item(0),
                        call=call,
                        arrange=self.arranged(stream, reads == stream),
                    )
        return maps

    @contextmanager
    def showing_attention(self) -> Iterator[None]:
        """Attention written out, in the text encoder and in the denoiser; then as before."""
        attentions = self._attentions()
        processors = [self.processors[id(attention)] for attention in attentions]
        with ExitStack() as both:
            both.enter_context(eager_attention(self.text_encoder))
            both.enter_context(written_out(attentions, processors))
            yield

    def cut(self, stream: str, meet: Meet) -> tuple[Rewrite, ...]:
        """What the layer's cross-attention adds becomes zero, at this level of noise."""
        call = list(self.steps).index(stream)
        reading = self.layers[meet.layer].reading
        return tuple(silenced(block.attn2, call=call) for block in reading)

    def with_texts(self, inputs: Inputs, texts: Sequence[str]) -> Inputs:
        """The same with the one text."""
        tokens = self.preprocessor.tokens(texts)
        tensors: Mapping[str, Tensor] = {"input_ids": tokens.ids, "attention_mask": tokens.mask}
        return replace(
            inputs,
            tensors={**inputs.tensors, **tensors},
            roles={**inputs.roles, "text": self.text_roles(tokens)},
            origins={**inputs.origins, "text": tokens.spans},
            cut={"text": tokens.cut},
        )

    def _attentions(self) -> list[Any]:
        blocks = [block for layer in self.layers for block in layer.reading]
        return [attention for block in blocks for attention in (block.attn1, block.attn2)]
