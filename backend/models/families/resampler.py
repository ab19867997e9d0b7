"""A perceiver resampler of transformers as a stream: learned latents that read a tower.

Its blocks add to the latents outside of their modules, so that sites are sums of what a module
gives and what it took; and it hands out no attention maps, so that they are computed once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from backend.models.adapter import AttentionKey, Inputs
from backend.models.families.base import meets
from backend.models.families.stacks import per_image
from backend.models.points import (
    ENTERING,
    FIRST,
    Argument,
    Arguments,
    AttentionPoint,
    PerImage,
    Point,
    Rewrite,
    Select,
    Side,
)
from backend.types import LayerRef, Site, StreamSpec

NAME = "query"

_CONTEXT, _LATENTS = Argument(0, "context"), Argument(1, "latents")


def stream(resampler: Any) -> StreamSpec:
    """The latents read the tower, and each other, in every block; a norm is after the last."""
    depth, width = len(resampler.blocks), resampler.embed_dim
    sites = [Site(0, width)]
    for k in range(1, depth + 1):
        sites += [Site(k, width, "fusion"), Site(k, width)]
    sites.append(Site(depth, width, "norm"))
    read = meets("cross", "vision", range(1, depth + 1), "fusion")
    return StreamSpec(NAME, NAME, tuple(sites), read, ("mean",))


def points(resampler: Any) -> dict[LayerRef, Point]:
    """``k.fusion`` is between attention and perceptron of block k."""
    places: dict[LayerRef, Point] = {}
    for k, (attention, mlp) in enumerate(resampler.blocks, start=1):
        if k == 1:
            places[LayerRef(NAME, 0)] = _latents(attention, "input", _InPlace(_LATENTS))
        entering = _latents(attention, "input", _LATENTS)
        places[LayerRef(NAME, k, "fusion")] = _latents(attention, residual=entering)
        entering = _latents(mlp, "input", ENTERING)
        places[LayerRef(NAME, k)] = _latents(mlp, residual=entering)
    places[LayerRef(NAME, k, "norm")] = _latents(resampler.layer_norm)
    return places


def attention(resampler: Any) -> dict[AttentionKey, AttentionPoint]:
    """One map a block: patches and latents are keys of the same attention."""
    keys = ("vision", NAME)
    maps: dict[AttentionKey, AttentionPoint] = {}
    for k, (module, _) in enumerate(resampler.blocks, start=1):
        again = partial(_weights, module)
        arrange = per_image(NAME, keys)
        point = AttentionPoint(module, (NAME,), keys, again, "input", arrange=arrange)
        for reads in keys:
            maps[AttentionKey(LayerRef(NAME, k, "fusion"), reads)] = point
    return maps


def blinded(resampler: Any, layer: int) -> Rewrite:
    """In that block the latents see only each other."""

    def without(value: Arguments, inputs: Inputs) -> Arguments:
        return _CONTEXT.write(value, _CONTEXT.read(value, inputs)[:, :0], inputs)

    return Rewrite(resampler.blocks[layer - 1][0], without, "input")


@dataclass(frozen=True)
class _InPlace:
    """Changes the tensor itself, which the resampler made for this pass and adds to later on."""

    inner: Select

    def read(self, value: Any, inputs: Inputs) -> Tensor:
        return self.inner.read(value, inputs)

    def write(self, value: Any, tokens: Tensor, inputs: Inputs) -> Any:
        self.inner.read(value, inputs).copy_(tokens)
        return value


def _latents(
    module: nn.Module, side: Side = "output", select: Select = FIRST, residual: Point | None = None
) -> Point:
    return Point(module, side, select=PerImage(NAME, select), residual=residual)


def _weights(module: Any, value: Arguments) -> Tensor:
    """(images, heads, latents, patches + latents), by the module's own projections and scale."""
    context, latents = value[0]
    latents = module.latents_layer_norm(latents)
    seen = torch.cat([module.context_layer_norm(context), latents], dim=1)
    heads = (module.n_heads, module.head_dim)
    queries = module.q_proj(latents).unflatten(2, heads).transpose(1, 2)
    keys = module.k_proj(seen).unflatten(2, heads).transpose(1, 2)
    if module.qk_layer_norms:
        queries, keys = module.q_layer_norm(queries), module.k_layer_norm(keys)
    weights: Tensor = (queries * module.qk_scale @ keys.transpose(2, 3)).softmax(dim=-1)
    return weights
