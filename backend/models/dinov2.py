"""One of timm's ViTs as the DINOv2 class of transformers: the same numbers, opened by more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Dinov2Config, Dinov2Model, ViTImageProcessor

from backend.errors import InputError

SAME = 1e-5
"""How far a converted encoder's tokens may lie from timm's at any layer, in units of their sd."""

_PLACES = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
    "blocks": "encoder.layer",
}
_INSIDE = {
    ".attn.proj.": ".attention.o_proj.",
    ".ls1.gamma": ".layer_scale1.lambda1",
    ".ls2.gamma": ".layer_scale2.lambda1",
}


def as_dinov2(vit: Any, name: str) -> Dinov2Model:
    """timm's ViT (its module) as a ``Dinov2Model`` for the same image size.

    Position embeddings are taken as timm has resampled them, so nothing is interpolated later; a
    ViT without LayerScale gets scales of 1. InputError if it is built otherwise, or if its tokens
    of a made-up image differ at any layer.
    """
    where = f"vision encoder {name}"
    rows, columns = vit.patch_embed.grid_size
    side = vit.patch_embed.patch_size[0]
    if rows != columns:
        raise InputError("takes images that are no square", where=where)
    config = Dinov2Config(
        hidden_size=vit.embed_dim,
        num_hidden_layers=len(vit.blocks),
        num_attention_heads=vit.blocks[0].attn.num_heads,
        mlp_ratio=vit.blocks[0].mlp.fc1.out_features // vit.embed_dim,
        layer_norm_eps=getattr(vit.norm, "eps", 1e-6),
        layerscale_value=1.0,
        image_size=rows * side,
        patch_size=side,
        use_mask_token=False,
    )
    made: Dinov2Model = Dinov2Model(config).eval()
    weights = dict(_renamed(vit.state_dict()))
    own = made.state_dict()
    scales = {key: value for key, value in own.items() if ".layer_scale" in key}
    if not scales.keys() & weights.keys():
        weights |= scales
    strangers = sorted(
        key
        for key in weights.keys() | own.keys()
        if key not in weights or key not in own or weights[key].shape != own[key].shape
    )
    if strangers:
        raise InputError(
            f"is not built as DINOv2: {', '.join(strangers[:3])}",
            where=where,
            hint="Give a vit_*_dinov2 model of timm, or a directory of transformers.",
        )
    made.load_state_dict(weights)
    apart = _apart(vit.eval(), made, rows * side)
    if apart > SAME:
        raise InputError(f"its tokens differ by {apart:.1e} as a Dinov2Model", where=where)
    return made


def square_processor(size: int, mean: Sequence[float], std: Sequence[float]) -> ViTImageProcessor:
    """Bicubic resizing to a square, nothing cropped away."""
    return ViTImageProcessor(
        size={"height": size, "width": size},
        resample=3,
        image_mean=list(mean),
        image_std=list(std),
    )


def _apart(vit: nn.Module, made: Dinov2Model, size: int) -> float:
    """The largest difference at any block, and after the final norm, in units of their sd."""
    theirs: list[Tensor] = []
    hooks = [
        block.register_forward_hook(lambda module, args, output: theirs.append(output))
        for block in vit.blocks  # type: ignore[union-attr]
    ]
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            theirs.append(vit.forward_features(pixels))  # type: ignore[operator]
            out = made(pixels, output_hidden_states=True)
    finally:
        for hook in hooks:
            hook.remove()
    ours = [*out.hidden_states[1:], out.last_hidden_state]
    return max(
        float((a - b).abs().max() / b.std().clamp(min=1e-12))
        for a, b in zip(ours, theirs, strict=True)
    )


def _renamed(weights: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """timm's names -> those of transformers; the one matrix of q, k and v becomes three."""
    for name, value in weights.items():
        for theirs, ours in _PLACES.items():
            if name == theirs or name.startswith(f"{theirs}."):
                name = ours + name.removeprefix(theirs)
                break
        for theirs, ours in _INSIDE.items():
            name = name.replace(theirs, ours)
        if ".attn.qkv." in name:
            for part, third in zip("qkv", value.chunk(3), strict=True):
                yield name.replace(".attn.qkv.", f".attention.{part}_proj."), third
        else:
            yield name, value
