"""The blocks of a tower or a language model inside a larger model, whatever class they are of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from backend.errors import InputError
from backend.models.adapter import AttentionKey, Inputs
from backend.models.families.base import MASK, block_points, self_attention
from backend.models.points import Argument, AttentionPoint, PerImage, Point, Select
from backend.models.roles import Role
from backend.types import LayerRef

_LISTS = ("layers", "layer", "block", "blocks", "h")
_NORMS = ("norm", "layer_norm", "final_layer_norm", "final_layernorm", "ln_f", "norm_f")
_CLASS_TOKENS = ("class_embedding", "cls_token")
_REGISTERS = ("register_tokens",)


@dataclass(frozen=True)
class AttentionNames:
    """Where a kind of block keeps its self-attention: the module, its mask, its map's place.

    ``index`` None: the module hands out no map.
    """

    module: str
    mask: Argument = MASK
    index: int | None = 1


_ATTENTION = (
    AttentionNames("self_attn"),
    AttentionNames("layer.0.SelfAttention", Argument(1, "mask"), 2),  # T5
    AttentionNames("attention"),
    AttentionNames("attn", index=None),  # Qwen's towers
)


@dataclass(frozen=True)
class Stack:
    """Equal blocks one after another, with ``norm`` (where there is one) after the last."""

    blocks: tuple[nn.Module, ...]
    attention: tuple[nn.Module, ...]
    names: AttentionNames
    norm: nn.Module | None
    width: int

    @property
    def depth(self) -> int:
        """The number of blocks."""
        return len(self.blocks)


def stack(model: nn.Module, config: Any) -> Stack:
    """The blocks of ``model``, as many as ``config`` says, by names that transformers uses.

    InputError where there are none.
    """
    for path, part in model.named_modules():
        if not isinstance(part, nn.ModuleList) or path.rpartition(".")[2] not in _LISTS:
            continue
        if len(part) != (getattr(config, "num_hidden_layers", None) or config.depth):
            continue
        around = model.get_submodule(path.rpartition(".")[0])
        norms = (getattr(around, name, None) for name in _NORMS)
        for names in _ATTENTION:
            try:
                attention = tuple(block.get_submodule(names.module) for block in part)
            except AttributeError:
                continue
            norm = next((norm for norm in norms if norm is not None), None)
            width = getattr(config, "embed_dim", config.hidden_size)
            return Stack(tuple(part), attention, names, norm, width)
    raise InputError(
        f"no blocks were found in a {type(model).__name__}",
        where="opening the model",
        hint="Name them in backend/models/families/stacks.py.",
    )


def prefix_roles(tower: nn.Module) -> list[Role]:
    """What a tower puts before its patches: a class token, which is its summary, and registers."""
    leaves = {name.rpartition(".")[2]: weight for name, weight in tower.named_parameters()}
    prefix = [Role.SUMMARY] * any(name in leaves for name in _CLASS_TOKENS)
    for name in _REGISTERS:
        if name in leaves:
            prefix += [Role.SPECIAL] * leaves[name].shape[-2]
    return prefix


def tower_points(
    stream: str, blocks: tuple[nn.Module, ...], packed: bool = False
) -> dict[LayerRef, Point]:
    """Layers of a tower that runs over images; ``packed``: over all patches of a batch at once."""
    return {
        ref: replace(
            point,
            select=PerImage(stream, AsOneImage(point.selection) if packed else point.selection),
        )
        for ref, point in block_points(stream, blocks).items()
    }


@dataclass(frozen=True)
class AsOneImage:
    """(tokens, d), those of all images after one another, as (1, tokens, d)."""

    inner: Select

    def read(self, value: Any, inputs: Inputs) -> Tensor:
        """The tokens as if they were of one image."""
        return self.inner.read(value, inputs)[None]

    def write(self, value: Any, tokens: Tensor, inputs: Inputs) -> Any:
        """The tokens as they were."""
        return self.inner.write(value, tokens[0], inputs)


def tower_attention(stream: str, tower: Stack) -> dict[AttentionKey, AttentionPoint]:
    """Self-attention of a tower that runs over images; nothing where it hands out no maps."""
    if tower.names.index is None:
        return {}
    arrange = per_image(stream, (stream,))
    return {
        key: replace(point, arrange=arrange)
        for key, point in self_attention(stream, tower.attention, tower.names.index).items()
    }


def per_image(stream: str, keys: tuple[str, ...]) -> Callable[[Tensor, Inputs], Tensor]:
    """Turns maps by image into maps by sample: tokens of one image do not see another's.

    (images, heads, queries, keys) -> (B, heads, all queries of a sample, all its keys), the keys of
    each of ``keys`` after one another. Where keys are left out from the front, because they were
    cut, they get zeros.
    """

    def arrange(weights: Tensor, inputs: Inputs) -> Tensor:
        roles = inputs.roles[stream]
        batch, length = roles.shape
        images, heads, queries, _ = weights.shape
        most = length // queries
        widths = [inputs.roles[name].shape[1] // most for name in keys]
        weights = nn.functional.pad(weights, (sum(widths) - weights.shape[3], 0))
        if most == 1:
            return weights
        real = torch.ones(batch, most, dtype=torch.bool, device=roles.device)
        if images != real.numel():
            real = roles.view(batch, most, queries)[..., 0] != int(Role.PADDING)
        rows, which = real.nonzero(as_tuple=True)
        parts = []
        for part in weights.split(widths, dim=3):
            out = part.new_zeros(batch, heads, most, queries, most, part.shape[3])
            out[rows, :, which, :, which] = part
            parts.append(out.reshape(batch, heads, length, -1))
        return torch.cat(parts, dim=3)

    return arrange


def next_token(model: Any, inputs: Inputs) -> dict[str, Tensor]:
    """Run a causal language model: its logits of the word that comes after each prompt."""
    mask = inputs.tensors["attention_mask"]
    rows = torch.arange(len(mask), device=mask.device)
    places = torch.where(mask.bool(), torch.arange(mask.shape[1], device=mask.device), -1)
    wanted, which = torch.unique(places.amax(dim=1), return_inverse=True)
    out = model(**inputs.tensors, use_cache=False, logits_to_keep=wanted)
    return {"next_token_logits": out.logits[rows, which]}


def bounded(
    logits: Callable[[Tensor], Tensor] | None, cap: float | None
) -> Callable[[Tensor], Tensor] | None:
    """The same logits within -cap and cap, by a hyperbolic tangent; as they are without a cap."""
    if logits is None or cap is None:
        return logits
    return lambda tokens: (logits(tokens) / cap).tanh() * cap
