"""Attention of diffusers written out, so that its maps can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from backend.models.adapter import Inputs
from backend.models.families.maps import cell_means


class WrittenOut:
    """A processor of one attention that hands its map (B, heads, T, S) through ``map``."""

    def __init__(self) -> None:
        self.map = nn.Identity()

    def __call__(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """As the library's own, for tokens in a row: (B, T, d) -> (B, T, d)."""
        read = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        mask = attention.prepare_attention_mask(attention_mask, read.shape[1], len(read))
        query, key, value = (
            attention.head_to_batch_dim(project(tokens))
            for project, tokens in (
                (attention.to_q, hidden_states),
                (attention.to_k, read),
                (attention.to_v, read),
            )
        )
        weights = attention.get_attention_scores(query, key, mask)
        weights = self.map(weights.unflatten(0, (len(read), -1))).flatten(0, 1)
        out = attention.batch_to_head_dim(torch.bmm(weights, value))
        projected: Tensor = attention.to_out[1](attention.to_out[0](out))
        return projected


@contextmanager
def written_out(attentions: Sequence[Any], processors: Sequence[WrittenOut]) -> Iterator[None]:
    """Within it each attention runs by its processor; then as before."""
    before = [attention.processor for attention in attentions]
    try:
        for attention, processor in zip(attentions, processors, strict=True):
            attention.processor = processor
        yield
    finally:
        for attention, processor in zip(attentions, before, strict=True):
            attention.processor = processor


def as_cells(stream: str, keys_too: bool) -> Callable[[Tensor, Inputs], Tensor]:
    """Maps whose queries are the places of a square map, as those of a smaller square of cells.

    What the places of a cell see on average; with ``keys_too`` the keys are such places as well,
    and a cell is seen as much as all of its places together.
    """

    def arrange(weights: Tensor, inputs: Inputs) -> Tensor:
        means = cell_means(weights.shape[2], inputs.roles[stream].shape[1], weights)
        weights = torch.einsum("gq,bhqk->bhgk", means, weights)
        if keys_too:
            weights = torch.einsum("gk,bhqk->bhqg", (means > 0).to(weights.dtype), weights)
        return weights

    return arrange
