"""The logit lens: what a language model would say next if it stopped at a layer.

Each layer's hidden state at the last position goes through the model's own final norm and output
layer (nostalgebraist 2020, "interpreting GPT: the logit lens"). At the last layer that is the
model's prediction; early layers were not trained to be read so.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from backend.capture.sinks import TokenSink
from backend.inference.values import NextWords
from backend.models.adapter import Adapter, Inputs
from backend.models.roles import Role
from backend.types import LayerRef

MOST_WORDS = 10


class LastPositionSink(TokenSink):
    """Hidden states (B, d) of every layer at the last position of the stream that speaks.

    That is the last which is not padding: a token of another stream counts, where two share the
    sequence.
    """

    def __init__(self, adapter: Adapter) -> None:
        super().__init__(adapter.stream(adapter.speaking).layers)

    def begin(self, adapter: Adapter, inputs: Inputs) -> None:
        """Find the positions, once a batch."""
        super().begin(adapter, inputs)
        real = inputs.roles[adapter.speaking] != int(Role.PADDING)
        places = torch.arange(real.shape[1], device=real.device)
        self._rows = torch.arange(len(real), device=real.device)
        self._last = torch.where(real, places, -1).amax(dim=1)

    def take(self, ref: LayerRef, tokens: Tensor) -> None:
        """Keep one vector a sample."""
        super().take(ref, tokens[self._rows, self._last])


def next_words(
    adapter: Adapter, sink: LastPositionSink, most: int = MOST_WORDS
) -> Iterator[NextWords]:
    """The ``most`` likeliest words of each layer, for every sample of the sink's last pass.

    RuntimeError where the model does not go on with the text (``adapter.unembedding()`` is None).
    """
    logits = adapter.unembedding()
    if logits is None or adapter.tokenizer is None:
        raise RuntimeError(f"{adapter.family} models give no next words")
    refs = tuple(sink.tokens)
    chances, words = [], []
    for ref in refs:  # one layer at a time: a vocabulary is large
        with torch.inference_mode():
            shares = logits(sink.tokens[ref]).float().softmax(dim=-1)
        best = shares.topk(min(most, shares.shape[1]), dim=-1)
        chances.append(best.values.cpu().numpy())
        words.append(best.indices.tolist())
    read = {
        word: str(adapter.tokenizer.decode([word]))
        for layer in words
        for sample in layer
        for word in sample
    }
    for row in range(len(chances[0])):
        yield NextWords(
            refs,
            tuple(tuple(read[word] for word in layer[row]) for layer in words),
            np.stack([layer[row] for layer in chances]),
        )
