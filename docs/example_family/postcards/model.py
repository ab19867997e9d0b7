"""The model to be looked into: nothing here knows of Fusionscope.

A picture as patches in one tower, the words of a postcard in another. On entry to one block of the
text tower a bridge lets the words look at the picture, through a learned gate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class PostcardConfig(PreTrainedConfig):
    """``bridge_layer`` is the block of the text tower, counted from 1, that the bridge precedes."""

    model_type = "postcards"

    vocab_size: int = 64
    hidden_size: int = 16
    num_hidden_layers: int = 4
    num_attention_heads: int = 2
    bridge_layer: int = 3
    max_position_embeddings: int = 32
    image_size: int = 24
    patch_size: int = 8
    initializer_range: float = 0.02


class Attention(nn.Module):
    """Tokens attend to a source, which may be the tokens themselves."""

    def __init__(self, config: PostcardConfig) -> None:
        super().__init__()
        self.heads, width = config.num_attention_heads, config.hidden_size
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(
        self, hidden_states: Tensor, source: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What is read (B, T, d) and the map (B, heads, T, S); ``mask`` (B, S) is 0 at padding."""
        query, key, value = (
            project(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project, tokens in (
                (self.query, hidden_states),
                (self.key, source),
                (self.value, source),
            )
        )
        scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None, :] == 0, float("-inf"))
        weights = scores.softmax(dim=-1)
        return self.out((weights @ value).transpose(1, 2).flatten(2)), weights


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: PostcardConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.norm, self.attention = nn.LayerNorm(width), Attention(config)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, hidden_states: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, d) to (B, T, d)."""
        normed = self.norm(hidden_states)
        hidden_states = hidden_states + self.attention(normed, normed, mask)[0]
        return hidden_states + self.mlp(hidden_states)


class Bridge(nn.Module):
    """The words look at the picture; a gate that training opens says how much of it they take."""

    def __init__(self, config: PostcardConfig) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(config.hidden_size), Attention(config)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, hidden_states: Tensor, picture: Tensor) -> Tensor:
        """(B, T, d) to (B, T, d)."""
        seen, _ = self.attention(self.norm(hidden_states), picture)
        return hidden_states + self.gate.tanh() * seen


class PostcardModel(PreTrainedModel):
    """Does this text belong to this picture?"""

    config_class = PostcardConfig
    base_model_prefix = "postcard"

    def __init__(self, config: PostcardConfig) -> None:
        super().__init__(config)
        width, depth = config.hidden_size, config.num_hidden_layers
        patches = (config.image_size // config.patch_size) ** 2
        self.patches = nn.Conv2d(3, width, config.patch_size, config.patch_size)
        self.places = nn.Embedding(patches, width)
        self.vision_blocks = nn.ModuleList(Block(config) for _ in range(depth))
        self.words = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Embedding(config.max_position_embeddings, width)
        self.text_blocks = nn.ModuleList(Block(config) for _ in range(depth))
        self.bridge = Bridge(config)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor
    ) -> SequenceClassifierOutput:
        """``logits`` (B, 1), read from the first token of the text."""
        picture = self.patches(pixel_values).flatten(2).transpose(1, 2) + self.places.weight
        for block in self.vision_blocks:
            picture = block(picture)
        text = self.words(input_ids) + self.positions.weight[: input_ids.shape[1]]
        for k, block in enumerate(self.text_blocks, start=1):
            if k == self.config.bridge_layer:
                text = self.bridge(text, picture)
            text = block(text, attention_mask)
        return SequenceClassifierOutput(logits=self.head(self.norm(text)[:, 0]))


AutoConfig.register("postcards", PostcardConfig)
