"""Bidirectional co-attention between two token sequences of any widths.

Each stream's queries attend to the other stream's keys and values. The block is the one of the
two-stream literature (Lu et al. 2019, ViLBERT, eq. of the co-attentional transformer layer), in
the variant whose layer-wise results are the project's reference: normalised queries, keys and
values, residual, LayerNorm, then a feed-forward block of its own per stream.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class FeedForward(nn.Module):
    """LayerNorm, expansion, GELU, reduction: (B, T, d) -> (B, T, d). The caller adds the input."""

    def __init__(self, width: int, ratio: float, dropout: float) -> None:
        super().__init__()
        inner = int(width * ratio)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, inner)
        self.reduce = nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``x``."""
        out: Tensor = self.dropout(
            self.reduce(self.dropout(functional.gelu(self.expand(self.norm(x)))))
        )
        return out


class CrossAttention(nn.Module):
    """Multi-head attention from one stream's tokens to the other's.

    ``d_query`` and ``d_context`` are the streams' widths; attention runs in ``inner`` dimensions.
    Scores are divided by the square root of a head's size: its own, ``inner / heads``, or with
    ``scale_by="stream"`` its share of the stream's width, ``d_query / heads``.

    With ``eager`` the map (B, heads, T, S) is computed and passes through ``map``, where it can be
    read; else torch's fused attention gives the same without it.
    """

    def __init__(
        self,
        d_query: int,
        d_context: int,
        inner: int,
        heads: int,
        dropout: float,
        scale_by: str = "head",
    ) -> None:
        super().__init__()
        self.heads = heads
        self.dropout_p = dropout
        self.scale = ((d_query if scale_by == "stream" else inner) / heads) ** -0.5
        self.eager = False
        self.map = nn.Identity()
        self.query = nn.Linear(d_query, inner)
        self.key = nn.Linear(d_context, inner)
        self.value = nn.Linear(d_context, inner)
        self.project = nn.Linear(inner, d_query)

    def forward(self, x: Tensor, context: Tensor, context_mask: Tensor | None) -> Tensor:
        """(B, T, d_query) attends to (B, S, d_context); ``context_mask`` (B, S), True = real."""
        q, k, v = (self._split(f(a)) for f, a in self._inputs(x, context))
        mask = None if context_mask is None else context_mask[:, None, None, :]
        dropout = self.dropout_p if self.training else 0.0
        if self.eager:
            scores = q @ k.transpose(2, 3) * self.scale
            if mask is not None:
                scores = scores.masked_fill(~mask, float("-inf"))
            weights = self.map(scores.softmax(dim=-1))
            out = functional.dropout(weights, dropout) @ v
        else:
            out = functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout, scale=self.scale
            )
        projected: Tensor = self.project(out.transpose(1, 2).flatten(2))
        return projected

    def _inputs(self, x: Tensor, context: Tensor) -> tuple[tuple[nn.Linear, Tensor], ...]:
        return (self.query, x), (self.key, context), (self.value, context)

    def _split(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(2, (self.heads, -1))
        return heads.transpose(1, 2)


class CoAttention(nn.Module):
    """One fusion: both streams read each other at once, from the values they entered with."""

    def __init__(
        self,
        text_width: int,
        vision_width: int,
        *,
        inner: int,
        heads: int,
        ff_ratio: float,
        dropout: float,
        scale_by: str = "head",
    ) -> None:
        super().__init__()
        attention = inner, heads, dropout, scale_by
        self.norm_in_text = nn.LayerNorm(text_width)
        self.norm_in_vision = nn.LayerNorm(vision_width)
        self.text_from_vision = CrossAttention(text_width, vision_width, *attention)
        self.vision_from_text = CrossAttention(vision_width, text_width, *attention)
        self.norm_text = nn.LayerNorm(text_width)
        self.norm_vision = nn.LayerNorm(vision_width)
        self.ff_text = FeedForward(text_width, ff_ratio, dropout)
        self.ff_vision = FeedForward(vision_width, ff_ratio, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, text: Tensor, vision: Tensor, text_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """(B, T, d_text), (B, S, d_vision) -> the same shapes; padding of the text is masked."""
        t, v = self.norm_in_text(text), self.norm_in_vision(vision)
        from_vision = self.dropout(self.text_from_vision(t, v, None))
        from_text = self.dropout(self.vision_from_text(v, t, text_mask))
        text = self.norm_text(from_vision + text)
        vision = self.norm_vision(from_text + vision)
        return text + self.ff_text(text), vision + self.ff_vision(vision)
