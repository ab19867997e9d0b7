"""Attention of diffusers written out, so that its maps can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from backend.models.adapter import Inputs
from backend.models.families.maps import cell_means


class WrittenOut:
    """A processor of one attention that hands its map (B, heads, T, S) through ``map``.

    Where nobody listens there, the library's own runs, which never holds the map: of a U-Net's
    places among each other it is half a gigabyte a block.
    """

    def __init__(self) -> None:
        self.map = nn.Identity()
        self.before: Any = None

    def __call__(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """As the library's own, for tokens in a row: (B, T, d) -> (B, T, d)."""
        if not self.map._forward_hooks:
            own: Tensor = self.before(
                attention, hidden_states, encoder_hidden_states, attention_mask, temb
            )
            return own
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


class Joint:
    """A processor of one attention over two sequences, each with projections of its own.

    It computes what the library's own does (Esser et al. 2024), and reads a mask over both, which
    that leaves out. While ``shown`` its map (B, heads, T, T) goes through ``map``.
    """

    def __init__(self) -> None:
        self.map = nn.Identity()
        self.shown = False

    def __call__(
        self,
        attention: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """(B, T1, d), (B, T2, d) -> both anew; the second is None where nothing reads it on."""
        a, both = attention, (hidden_states, encoder_hidden_states)
        query, key, value = (
            torch.cat(
                [_heads(a.heads, *own, part) for own, part in zip(kind, both, strict=True)], 2
            )
            for kind in (
                ((a.to_q, a.norm_q), (a.add_q_proj, a.norm_added_q)),
                ((a.to_k, a.norm_k), (a.add_k_proj, a.norm_added_k)),
                ((a.to_v, None), (a.add_v_proj, None)),
            )
        )
        if self.shown:
            scores = query @ key.mT * query.shape[-1] ** -0.5
            if attention_mask is not None:
                scores = scores + attention_mask
            out = self.map(scores.softmax(dim=-1)) @ value
        else:
            out = scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        out = out.transpose(1, 2).flatten(2)
        first, second = out.split([part.shape[1] for part in both], dim=1)
        return a.to_out[1](a.to_out[0](first)), None if a.context_pre_only else a.to_add_out(second)


def _heads(heads: int, project: nn.Module, norm: nn.Module | None, tokens: Tensor) -> Tensor:
    """(B, T, d) -> (B, heads, T, d / heads)."""
    apart: Tensor = project(tokens).unflatten(2, (heads, -1)).transpose(1, 2)
    return apart if norm is None else norm(apart)


@contextmanager
def shown(processors: Sequence[Joint]) -> Iterator[None]:
    """Within it each hands its map on; then as before."""
    try:
        for processor in processors:
            processor.shown = True
        yield
    finally:
        for processor in processors:
            processor.shown = False


@contextmanager
def written_out(attentions: Sequence[Any], processors: Sequence[WrittenOut]) -> Iterator[None]:
    """Within it each attention runs by its processor; then as before."""
    before = [attention.processor for attention in attentions]
    try:
        for attention, processor in zip(attentions, processors, strict=True):
            processor.before, attention.processor = attention.processor, processor
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
