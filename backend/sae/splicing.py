"""What putting reconstructions in the place of activations does to a model's next words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.measures.chance.ratios import Ratio, ratio
from backend.models.adapter import Adapter, Inputs
from backend.models.edits import Edit
from backend.models.families.image_tokens import ImageTokens
from backend.models.families.text_alone import TextAlone
from backend.models.roles import Role
from backend.sae.autoencoder import SparseAutoencoder
from backend.sae.content import content, said
from backend.types import LayerRef

Edited = Callable[[LayerRef], Edit]


def spliced(sae: SparseAutoencoder, ref: LayerRef) -> Edit:
    """A site's content tokens as the autoencoder rebuilds them."""

    def rebuild(tokens: Tensor, inputs: Inputs) -> Tensor:
        own = content(inputs, ref.stream)
        out = tokens.clone()
        out[own] = sae(tokens[own].float())[1].to(tokens)
        return out

    return Edit(ref, rebuild, Role.CONTENT)


def gone(ref: LayerRef) -> Edit:
    """Zeros in the place of the same tokens."""

    def empty(tokens: Tensor, inputs: Inputs) -> Tensor:
        return tokens * ~content(inputs, ref.stream)[..., None]

    return Edit(ref, empty, Role.CONTENT)


def says_words(adapter: Adapter) -> bool:
    """Whether a model goes on with its text, so that it has a loss of the next word.

    None where the words see each other both ways: each would know what comes next.
    """
    whole = adapter.whole if isinstance(adapter, TextAlone) else adapter
    both_ways = isinstance(whole, ImageTokens) and whole.bidirectional
    return adapter.unembedding() is not None and adapter.speaking == "text" and not both_ways


def word_losses(
    adapter: Adapter, inputs: Inputs, edits: Sequence[Edit] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """(B,) summed loss of each sample's own words, in nats, and (B,) how many words were said.

    A word that begins the whole sequence is said by nothing and does not count.
    """
    last = LayerRef("text", adapter.stream("text").depth)
    sink = TokenSink([last])
    with Tap(adapter, sink, edits) as tap:
        tap(inputs)
    ids, unembed = adapter.token_ids(inputs, "text"), adapter.unembedding()
    if ids is None or unembed is None:
        raise ValueError(f"{adapter.family} models say no words")
    wanted = said(inputs)
    rows, columns = wanted.nonzero(as_tuple=True)
    with torch.inference_mode():
        logits = unembed(sink.tokens[last][rows, columns]).float()
        each = cross_entropy(logits, ids[rows, columns + 1], reduction="none").double()
        summed = each.new_zeros(len(ids)).index_add(0, rows, each)
    return summed.cpu().numpy(), wanted.sum(dim=1).cpu().numpy()


@dataclass(frozen=True, eq=False)
class Spliced:
    """Summed losses (n,) of words as they are, with the site rebuilt, and with it zero."""

    clean: np.ndarray
    rebuilt: np.ndarray
    without: np.ndarray
    words: np.ndarray

    def rise(self, groups: np.ndarray | None = None) -> Ratio:
        """How much the loss of a word rises by the reconstruction, in nats."""
        return ratio(self.rebuilt - self.clean, self.words.astype(float), groups)

    def recovered(self, groups: np.ndarray | None = None) -> Ratio:
        """1 where the reconstruction does as well as the activations, 0 where as badly as zeros.

        1 - (rebuilt - clean) / (without - clean); NaN unless zeros do harm (the 95 % interval of
        their harm lies above 0): else there is nothing to be recovered.
        """
        harm = self.without - self.clean
        clear = ratio(harm, self.words.astype(float), groups)
        if not clear.low > 0:
            return Ratio(float("nan"), float("nan"), float("nan"), clear.groups)
        return ratio(self.without - self.rebuilt, harm, groups)


def splice(
    adapter: Adapter, batches: Sequence[Inputs], edits: Sequence[tuple[Edit, Edit]]
) -> list[Spliced]:
    """For every (rebuilding, zeroing) edit, over the same batches on the model's device."""
    clean = [word_losses(adapter, batch) for batch in batches]
    losses, words = (np.concatenate([one[at] for one in clean]) for at in (0, 1))
    found = []
    for pair in edits:
        rebuilt, without = (
            np.concatenate([word_losses(adapter, batch, (edit,))[0] for batch in batches])
            for edit in pair
        )
        found.append(Spliced(losses, rebuilt, without, words))
    return found
