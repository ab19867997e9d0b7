"""A checkpoint in the thesis code's format at small size, and its forward pass.

Both are written from the description of the format and share no code with the importer.
"""

from __future__ import annotations

import enum
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, BertModel

WIDTH, DEPTH, HEADS, INNER, CO_HEADS, POSITIONS = 16, 3, 2, 24, 4, 32
TEXT_IDS, VISION_IDS = [1, 2], [0, 2]  # counted from 0
OUTPUTS = {"fc": 1, "fc_imdb": 23, "fc_upmc": 101}


class Task(enum.Enum):
    """As the thesis code's module ``task`` defines it."""

    ALIGNMENT_PREDICTION = 1
    MASKED_LM = 2
    MASKED_IM = 3
    PLACEHOLDER = -1


Task.__module__ = "task"


@contextmanager
def task_module() -> Iterator[None]:
    """While a file is saved, pickle wants to find the class where it says it is."""
    sys.modules["task"] = ModuleType("task")
    sys.modules["task"].Task = Task  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del sys.modules["task"]


class Thesis:
    """Random weights in that format; ``state`` and ``config`` may be changed before :meth:`save`"""

    def __init__(self, vocabulary: int, heads: tuple[str, ...] = tuple(OUTPUTS)) -> None:
        torch.manual_seed(3)
        self.bert = BertModel(
            BertConfig(
                vocab_size=vocabulary,
                hidden_size=WIDTH,
                num_hidden_layers=DEPTH,
                num_attention_heads=HEADS,
                intermediate_size=40,
                max_position_embeddings=POSITIONS,
                attn_implementation="eager",
            )
        ).eval()
        self.vit = timm.create_model(
            "vit_base_patch16_224",
            num_classes=0,
            global_pool="",
            img_size=16,
            patch_size=8,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=HEADS,
            mlp_ratio=3.0,
        ).eval()
        state: dict[str, Tensor] = {}
        bert = self.bert.state_dict()
        state |= {f"bert.{name}": value for name, value in bert.items()}
        for second, first in (("bert_layers", "encoder.layer"), ("bert_embeddings", "embeddings")):
            for name, value in bert.items():
                if name.startswith(f"{first}."):
                    state[second + name.removeprefix(first)] = value
        state |= {f"vit.{name}": value for name, value in self.vit.state_dict().items()}
        state |= norm("vision_embeddings.LayerNorm")
        for i in range(len(TEXT_IDS)):
            state |= co_attention(f"c_layers.{i}")
        state |= linear("alignment_fc", 2 * WIDTH, 1)
        state |= linear("mlm", WIDTH, vocabulary)
        for head in heads:
            state |= linear(f"{head}.0", 2 * WIDTH, 12)
            state |= linear(f"{head}.3", 12, OUTPUTS.get(head, 13))
        generator = torch.Generator().manual_seed(7)
        for value in state.values():  # norms and biases away from 1 and 0
            value += 0.2 * torch.randn(value.shape, generator=generator)
        self.heads = heads
        self.cls: dict[tuple[str, int], Tensor] = {}
        self.state: dict[str, Any] = OrderedDict(state)  # as Module.state_dict() gives it
        self.state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
        self.config: dict[str, Any] = {
            "embedding_dim": WIDTH,
            "vocab_size": vocabulary,
            "num_hidden_layers": DEPTH,
            "num_attention_heads": HEADS,
            "num_bi_attention_heads": CO_HEADS,
            "dropout_prob": 0.08,
            "img_size": (16, 16),
            "text_cross_attention_layers": list(TEXT_IDS),
            "vision_cross_attention_layers": list(VISION_IDS),
            "pretraining_tasks": [Task.MASKED_LM, Task.ALIGNMENT_PREDICTION],
            "seed": 1567,
            "epochs": 15,
            "learning_rate": 4e-5,
            "batch_size": 32,
            "depth": 4,
        }

    def save(self, path: Path, **more: object) -> Path:
        """Write the file."""
        with task_module():
            torch.save({"model_state_dict": self.state, "config": self.config, **more}, path)
        return path

    def logits(self, ids: Tensor, mask: Tensor, pixels: Tensor) -> dict[str, Tensor]:
        """The forward pass of the description; ``cls`` then has {(stream, layer): (B, d)}."""
        state = self.state
        padding = (1.0 - mask[:, None, None, :].float()) * -10000.0
        t = self.bert.embeddings(input_ids=ids)
        v = self.vit.patch_embed(pixels)
        v = torch.cat([self.vit.cls_token.expand(len(v), -1, -1), v], dim=1) + self.vit.pos_embed
        done_text = done_vision = 0
        for i, (at_text, at_vision) in enumerate(zip(TEXT_IDS, VISION_IDS, strict=True)):
            t = self.text_blocks(t, padding, done_text, at_text)
            v = self.vision_blocks(v, done_vision, at_vision)
            done_text, done_vision = at_text, at_vision
            t, v = self.fuse(f"c_layers.{i}", t, v, padding)
        t = self.text_blocks(t, padding, done_text, DEPTH)
        v = self.vision_blocks(v, done_vision, DEPTH)
        both = torch.cat([t[:, 0], v[:, 0]], dim=1)

        def apply(name: str, x: Tensor) -> Tensor:
            return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

        return {
            head: apply(f"{head}.3", functional.relu(apply(f"{head}.0", both)))
            for head in self.heads
        }

    def text_blocks(self, t: Tensor, padding: Tensor, start: int, stop: int) -> Tensor:
        for k, block in enumerate(self.bert.encoder.layer[start:stop], start=start + 1):
            out = block(t, padding)
            t = out[0] if isinstance(out, tuple) else out
            self.cls["text", k] = t[:, 0]
        return t

    def vision_blocks(self, v: Tensor, start: int, stop: int) -> Tensor:
        for k, block in enumerate(list(self.vit.blocks)[start:stop], start=start + 1):
            v = block(v)
            self.cls["vision", k] = v[:, 0]
        return v

    def fuse(self, at: str, t: Tensor, v: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        state = self.state

        def apply(name: str, x: Tensor) -> Tensor:
            return functional.linear(x, state[f"{at}.{name}.weight"], state[f"{at}.{name}.bias"])

        def normed(name: str, x: Tensor) -> Tensor:
            weight, bias = state[f"{at}.{name}.weight"], state[f"{at}.{name}.bias"]
            return functional.layer_norm(x, (WIDTH,), weight, bias)

        def split(x: Tensor) -> Tensor:
            return x.view(x.shape[0], x.shape[1], CO_HEADS, -1).transpose(1, 2)

        def attend(q: Tensor, k: Tensor, value: Tensor, mask: Tensor | float) -> Tensor:
            scores = split(q) @ split(k).transpose(2, 3) / (WIDTH / CO_HEADS) ** 0.5 + mask
            out = scores.softmax(-1) @ split(value)
            return out.transpose(1, 2).reshape(q.shape)

        def forward_block(name: str, x: Tensor) -> Tensor:
            inner = functional.gelu(apply(f"{name}.net.0", normed(f"{name}.norm", x)))
            return apply(f"{name}.net.3", inner)

        c = "cross_attention"
        tn, vn = normed(f"{c}.norm1", t), normed(f"{c}.norm2", v)
        at_ = attend(
            apply(f"{c}.query1", tn), apply(f"{c}.key2", vn), apply(f"{c}.value2", vn), 0.0
        )
        av = attend(
            apply(f"{c}.query2", vn), apply(f"{c}.key1", tn), apply(f"{c}.value1", tn), padding
        )
        t = normed("output.norm_text", apply("output.projection_text.0", at_) + t)
        v = normed("output.norm_vision", apply("output.projection_vision.0", av) + v)
        return t + forward_block("ff_text", t), v + forward_block("ff_vision", v)


def linear(name: str, d_in: int, d_out: int) -> dict[str, Tensor]:
    return named(name, nn.Linear(d_in, d_out))


def norm(name: str) -> dict[str, Tensor]:
    return named(name, nn.LayerNorm(WIDTH))


def named(name: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in module.state_dict().items()}


def co_attention(at: str) -> dict[str, Tensor]:
    c, o = f"{at}.cross_attention", f"{at}.output"
    out = norm(f"{c}.norm1") | norm(f"{c}.norm2")
    for side in (1, 2):
        for part in ("query", "key", "value"):
            out |= linear(f"{c}.{part}{side}", WIDTH, INNER)
        out |= linear(f"{c}.to_out_proj{side}.0", INNER, WIDTH)
    for stream in ("text", "vision"):
        out |= linear(f"{o}.projection_{stream}.0", INNER, WIDTH) | norm(f"{o}.norm_{stream}")
        ff = f"{at}.ff_{stream}"
        out |= norm(f"{ff}.norm") | linear(f"{ff}.net.0", WIDTH, 64) | linear(f"{ff}.net.3", 64, 16)
    return out
