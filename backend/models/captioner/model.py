"""Show, attend and tell (Xu et al. 2015): a word at a time, each after a look at the image.

A residual network of convolutions gives a grid of vectors. An LSTM goes through the caption; before
every word it weighs the grid by its state so far and takes the weighted sum in (the paper's soft
attention, section 4.2, with its gate).

The looks depend on the recurrence and the recurrence on the looks, word by word. So that what is
seen at all words is one value, which can be read and changed, the recurrence runs twice: step by
step to find the looks, then over the whole caption given them. Left alone, both agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from timm.models.resnet import ResNet
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from backend.errors import InputError
from backend.models.dual_stream.vision_weights import made_vision


class CaptionerConfig(PreTrainedConfig):
    """Everything that is needed to build the model again, as plain values.

    Args:
        encoder: ``{"name": timm name of a residual network, "options": constructor options}``.
        vocab_size: words that the decoder reads and says.
        hidden_size: width of a word's vector, of the LSTM's state and of what the words are said
            from. One width for all, so that each can be read as the next word.
        attention_size: width in which a state and a cell of the grid are compared.
        image_size: side in pixels, with ``image_mean`` and ``image_std`` per channel.
        max_text_length: tokens.
    """

    model_type = "fusionscope-captioner"

    def __init__(
        self,
        encoder: Mapping[str, Any] | None = None,
        vocab_size: int = 512,
        hidden_size: int = 512,
        attention_size: int = 512,
        image_size: int = 224,
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
        max_text_length: int = 64,
        **kwargs: Any,
    ) -> None:
        self.encoder = dict(encoder or {"name": "resnet18", "options": {}})
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.attention_size = attention_size
        self.image_size = image_size
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.max_text_length = max_text_length
        super().__init__(**kwargs)


class Captioner(PreTrainedModel):
    """Image and caption so far -> logits of the next word at every position."""

    config_class = CaptionerConfig
    base_model_prefix = "captioner"
    main_input_name = "input_ids"
    _no_split_modules: list[str] = []  # noqa: RUF012 -- the base class types it as a list

    def __init__(self, config: CaptionerConfig) -> None:
        super().__init__(config)
        self.encoder = residual_network(config.encoder)
        width, seen = config.hidden_size, int(self.encoder.num_features)
        self.words = nn.Embedding(config.vocab_size, width)
        self.start = Start(seen, width)
        self.look = Looks(seen, width, config.attention_size)
        self.recurrence = Recurrence(width, seen)
        self.telling = Telling(width, seen)
        self.output = nn.Linear(width, config.vocab_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave every module as its own constructor made it (torch's, timm's)."""

    def get_input_embeddings(self) -> nn.Module:
        """The vectors of words."""
        return self.words

    @property
    def blocks(self) -> list[nn.Module]:
        """The residual blocks of all stages of the encoder, one after another."""
        net = self.encoder
        return [
            block
            for stage in (net.layer1, net.layer2, net.layer3, net.layer4)
            for block in cast(nn.Sequential, stage)
        ]

    @property
    def widths(self) -> list[int]:
        """Channels of what enters the first block, and of what each block gives."""
        net, stages = self.encoder, (1, 2, 3, 4)
        channels = [int(entry["num_chs"]) for entry in cast(Any, net).feature_info]
        counts = [len(cast(nn.Sequential, getattr(net, f"layer{stage}"))) for stage in stages]
        return [channels[0], *(channels[k] for k in stages for _ in range(counts[k - 1]))]

    @property
    def stride(self) -> int:
        """Pixels of the input between two cells of the grid."""
        return int(cast(Any, self.encoder).feature_info[-1]["reduction"])

    def forward(self, input_ids: Tensor, pixel_values: Tensor) -> dict[str, Tensor]:
        """(B, T) ids, padded on the right, (B, 3, H, W) pixels -> ``logits`` (B, T, words).

        ``weights`` (B, 1, T, L): how much of each of the L cells, row by row, a word has seen.
        """
        grid = self.encoder.forward_features(pixel_values).flatten(2).transpose(1, 2)
        words, start = self.words(input_ids), self.start(grid)
        seen, weights = self.look(words, grid, start, self.recurrence)
        states = self.recurrence(words, seen, start)
        return {"logits": self.output(self.telling(words, states, seen)), "weights": weights}


class Start(nn.Module):
    """State and memory in which the caption begins, made of the grid's mean: (B, 2 width)."""

    def __init__(self, seen: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(seen, 2 * width)

    def forward(self, grid: Tensor) -> Tensor:
        """(B, L, d_grid) -> the two after one another."""
        both: Tensor = self.project(grid.mean(dim=1)).tanh()
        return both


class Recurrence(nn.Module):
    """An LSTM over words, each with what is seen of the image at it."""

    def __init__(self, width: int, seen: int) -> None:
        super().__init__()
        self.cell = nn.LSTM(width + seen, width, batch_first=True)

    def forward(self, words: Tensor, seen: Tensor, start: Tensor) -> Tensor:
        """(B, T, width), (B, T, d_grid), (B, 2 width) -> states (B, T, width)."""
        states, _ = self.steps(words, seen, start)
        return states

    def steps(self, words: Tensor, seen: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Also state and memory after the last of these words, in the form of ``before``."""
        state, memory = (part[None].contiguous() for part in before.chunk(2, dim=1))
        states, after = self.cell(torch.cat([words, seen], dim=2), (state, memory))
        return states, torch.cat([part[0] for part in after], dim=1)


class Look(nn.Module):
    """One look at the grid: additive attention by the state (Bahdanau et al. 2015), gated."""

    def __init__(self, seen: int, width: int, inner: int) -> None:
        super().__init__()
        self.of_state = nn.Linear(width, inner)
        self.score = nn.Linear(inner, 1)
        self.gate = nn.Linear(width, 1)

    def forward(self, state: Tensor, grid: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width), (B, L, d_grid), (B, L, inner) -> (B, d_grid) and its weights (B, L)."""
        scores = self.score((keys + self.of_state(state)[:, None]).tanh())[..., 0]
        weights = scores.softmax(dim=1)
        seen = torch.bmm(weights[:, None], grid)[:, 0]
        return self.gate(state).sigmoid() * seen, weights


class Looks(nn.Module):
    """What every word sees, found step by step."""

    def __init__(self, seen: int, width: int, inner: int) -> None:
        super().__init__()
        self.of_grid = nn.Linear(seen, inner)
        self.step = Look(seen, width, inner)

    def forward(
        self, words: Tensor, grid: Tensor, start: Tensor, recurrence: Recurrence
    ) -> tuple[Tensor, Tensor]:
        """(B, T, width), (B, L, d_grid), (B, 2 width) -> (B, T, d_grid), weights (B, 1, T, L)."""
        keys, state = self.of_grid(grid), start
        looks = []
        for word in words.split(1, dim=1):
            seen, weights = self.step(state.chunk(2, dim=1)[0], grid, keys)
            looks.append((seen, weights))
            _, state = recurrence.steps(word, seen[:, None], state)
        seen, weights = (torch.stack(parts, dim=1) for parts in zip(*looks, strict=True))
        return seen, weights[:, None]


class Telling(nn.Module):
    """What a word is said from (the paper's deep output): the word before, the state, the look."""

    def __init__(self, width: int, seen: int) -> None:
        super().__init__()
        self.of_state = nn.Linear(width, width)
        self.of_look = nn.Linear(seen, width, bias=False)

    def forward(self, words: Tensor, states: Tensor, seen: Tensor) -> Tensor:
        """(B, T, width), (B, T, width), (B, T, d_grid) -> (B, T, width)."""
        told: Tensor = words + self.of_state(states) + self.of_look(seen)
        return told


def residual_network(described: Mapping[str, Any]) -> ResNet:
    """timm's network without a classifier; InputError where it is none of residual blocks."""
    name = str(described["name"])
    net = made_vision(name, described.get("options", {}))
    if not isinstance(net, ResNet):
        raise InputError(
            f"{name} is no residual network of convolutions",
            where="encoder of a captioner",
            hint="Take one of timm's ResNets, such as resnet18.",
        )
    return net
