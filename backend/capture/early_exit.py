"""What a model would say if it stopped at an earlier layer: its own end, begun from there.

After one pass every block is stood in for by what it gave, the last one by another layer's tokens,
and the model runs again. Only what comes before the first block and after the last one is computed,
and that is the model's own, whatever it is: final norm, pooler, attention head, projection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from backend.capture.sinks import PooledSink, TokenSink, Vectors
from backend.capture.tap import Tap
from backend.errors import InputError
from backend.models.adapter import Adapter, Embedder, Inputs
from backend.types import LayerRef, Pooling


class EarlyExit:
    """One stream of a model that compares whole images with whole texts, read at every layer.

    ``layers`` are those from which the model can go on: those as wide as the last one. ``pooling``
    is ``cls`` where the stream has a summary token, else ``mean``. InputError for a model without
    a space for images and texts.
    """

    def __init__(self, adapter: Adapter, stream: str) -> None:
        self._adapter = adapter
        self._embedder = embedder_of(adapter, stream)
        self.spec = adapter.stream(stream)
        last = self.spec.layers[-1]
        points = adapter.points()
        self._last = points[last]
        self._blocks = [points[ref].module for ref in self.spec.layers[1:]]
        self.layers = tuple(
            ref for ref in self.spec.layers if self.spec.width_of(ref) == self.spec.width_of(last)
        )
        self.pooling: Pooling = "cls" if "cls" in self.spec.poolings else "mean"

    def __call__(self, inputs: Inputs) -> tuple[dict[LayerRef, Tensor], Vectors]:
        """{layer: (B, p) vectors in the model's space, if it stopped there}, and what is pooled.

        The second are the layers' own vectors (B, d), of every layer of the stream. ``inputs`` are
        the embedder's, on the model's device. At the last layer the first is what the model gives.
        """
        tokens = TokenSink(self.layers)
        pooled = PooledSink((self.pooling,), refs=frozenset(self.spec.layers))
        given: dict[nn.Module, Any] = {}
        with (
            _remembering(self._blocks, given),
            Tap(self._adapter, (tokens, pooled), run=self._run) as tap,
        ):
            ends = {self.spec.layers[-1]: tap(inputs)["vectors"]}
        values = [given[block] for block in self._blocks]
        with torch.inference_mode():
            for ref in self.layers[:-1]:
                begun = self._last.selection.write(values[-1], tokens.tokens[ref], inputs)
                with _standing_in(self._blocks, [*values[:-1], begun]):
                    ends[ref] = self._run(inputs)["vectors"]
        return {ref: ends[ref].float() for ref in self.layers}, pooled.vectors()

    def encode(self, samples: Sequence[Any]) -> Inputs:
        """A batch of this stream alone."""
        return self._embedder.encode(samples)

    def _run(self, inputs: Inputs) -> dict[str, Tensor]:
        return {"vectors": self._embedder.run(inputs)}


def embedder_of(adapter: Adapter, stream: str) -> Embedder:
    """A stream by itself; InputError where the model does not compare whole images with texts."""
    embedders = adapter.embedders()
    if stream not in embedders:
        raise InputError(
            f"{adapter.family} models have no space of their own for whole images and texts",
            where=f"model {adapter.name}",
            hint="CLIP-like models have one: two towers and a projection of each.",
        )
    return embedders[stream]


@contextmanager
def _remembering(blocks: Sequence[nn.Module], given: dict[nn.Module, Any]) -> Iterator[None]:
    """Within it ``given`` gets what each block gives."""

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        given[module] = output

    with ExitStack() as stack:
        for block in blocks:
            stack.callback(block.register_forward_hook(keep).remove)
        yield


@contextmanager
def _standing_in(blocks: Sequence[nn.Module], values: Sequence[Any]) -> Iterator[None]:
    """Within it each block gives its value at once, whatever it is given."""
    with ExitStack() as stack:
        for block, value in zip(blocks, values, strict=True):
            own = vars(block).get("forward")
            stack.callback(_put_back, block, own)
            block.forward = partial(_give, value)
        yield


def _give(value: Any, *args: Any, **named: Any) -> Any:
    return value


def _put_back(block: nn.Module, forward: Any) -> None:
    if forward is None:
        del block.forward
    else:
        block.forward = forward
