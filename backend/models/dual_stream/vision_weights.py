"""A vision encoder of timm and the file with its weights, checked against each other by name.

timm itself takes whatever fits: what is left over or missing it only logs, and patches of another
size it resamples. Which names and shapes the file comes to is therefore worked out first, by timm's
own conversion on tensors without memory, and compared.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from backend.errors import InputError
from backend.models.doors import (
    Misfits,
    not_finite,
    other_shapes,
    other_types,
    real_name,
    wrapping,
)
from backend.models.hub import fetch_file
from backend.models.loading import guarded
from backend.models.weights import SINGLE, StoredTensor, read_headers

_HEADS = re.compile(
    r"^(head|head_dist|fc_norm|attn_pool|pre_logits|mask_token)(\.|$)"
    r"|(^|\.)relative_position_index$|(^|\.)rope\.(freqs|periods|bands)\w*$"
)
"""Tensors beside a ViT's layers: classifiers, poolers, the mask of its pretraining, tables."""

_PATCHES, _POSITIONS = "patch_embed.proj.weight", "pos_embed"
_LOADING = {
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args"),
    *("checkpoint_path", "cache_dir", "features_only", "num_classes"),
}
"""Arguments of timm's that say from where to load, not what to build."""
_OPEN_CLIP = {"open_clip_pytorch_model.bin": "open_clip_model.safetensors"}
_SEED = 0


def made_vision(name: str, options: Mapping[str, Any], **loading: Any) -> nn.Module:
    """timm's model without a classifier; InputError for a name or options that it has not."""
    if not timm.is_model(name.split(".")[0]):
        raise InputError(
            f"timm has no model {name!r}",
            where="vision encoder",
            hint="`python -c \"import timm; print(timm.list_models('vit*'))\"` lists them.",
        )
    refused = sorted(_LOADING & set(options))
    if refused:
        raise InputError(f"{refused[0]} is no option of a model", where=f"vision encoder {name}")
    model: nn.Module = guarded(
        f"vision encoder {name}",
        "cannot be made",
        lambda: timm.create_model(name, num_classes=0, **{**options, **loading}),
    )
    return model


def hub_weights(name: str) -> Path:
    """The file of timm's own weights of that name, from the hub or its cache."""
    card = timm.get_pretrained_cfg(name)
    repository = (card and card.hf_hub_id) or name
    named = (card and card.hf_hub_filename) or SINGLE
    return fetch_file("vision encoder", repository, _OPEN_CLIP.get(named, SINGLE))


def check_weights(file: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file, whose header alone is read; InputError for another."""
    where = f"vision weights {file}"
    if not file.is_file():
        raise InputError("no such file", where=where)
    if file.suffix != ".safetensors":
        raise InputError("weights are read from safetensors files only", where=where)
    return read_headers([file], where)


def read_vision(
    name: str, options: Mapping[str, Any], file: Path, where: str, *, allow: bool
) -> tuple[nn.Module, tuple[str, ...]]:
    """The model with the file's weights, and notes on what ``allow`` let pass.

    InputError names what is missing, left over, of another shape or size of patch, of other than
    real numbers, or not finite.
    """
    tensors = check_weights(file)
    with torch.device("meta"):
        model = made_vision(name, options)
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    around = wrapping(tensors, own)
    named = {real_name(key, own, around): tensor for key, tensor in tensors.items()}
    if len(named) < len(tensors):
        raise InputError(f"names the same tensors with and without {around!r}", where=where)
    misfits = _misfits(model, own, named, resizable="flexi" in name)
    notes = misfits.judge(name, where, allow=allow, hint=_described(named))
    lost = {shape.partition(" ")[0] for shape in misfits.shapes} - {_PATCHES}
    stored = {
        key: value
        for key, value in (
            (real_name(key, own, around), value) for key, value in load_file(file).items()
        )
        if key not in lost
    }
    with torch.random.fork_rng([]):
        torch.manual_seed(_SEED)
        loaded: Any = guarded(
            where,
            f"are not weights of {name}",
            lambda: made_vision(
                name, options, pretrained=True, pretrained_cfg_overlay=_from(stored)
            ),
        )
    loaded.pretrained_cfg = {k: v for k, v in loaded.pretrained_cfg.items() if k != "state_dict"}
    loaded.default_cfg = loaded.pretrained_cfg
    unreal = Misfits(not_finite=not_finite(loaded))
    return loaded, (*notes, *unreal.judge(name, where, allow=allow))


def _from(stored: dict[str, Tensor]) -> dict[str, Any]:
    """timm's card, changed so that these tensors are what it loads."""
    return {"state_dict": stored, "source": "", "custom_load": False}


def _misfits(
    model: nn.Module,
    own: Mapping[str, tuple[int, ...]],
    named: Mapping[str, StoredTensor],
    *,
    resizable: bool,
) -> Misfits:
    stored = {key: tuple(tensor.shape) for key, tensor in named.items()}
    shapes = other_shapes(
        {key: shape for key, shape in stored.items() if key == _PATCHES and not resizable}, own
    )
    converted = stored if shapes else _converted(model, stored)
    rest = {key: shape for key, shape in converted.items() if not _HEADS.search(key)}
    if not _resampled(stored, own, model):
        rest |= {_POSITIONS: stored[_POSITIONS]}
    elif shapes:
        rest.pop(_POSITIONS, None)
    return Misfits(
        missing=[key for key in own if key not in converted and not _HEADS.search(key)],
        unexpected=[key for key in rest if key not in own],
        shapes=sorted({*shapes, *other_shapes(rest, own)}),
        types=other_types({k: v for k, v in named.items() if not _HEADS.search(k)}),
    )


def _converted(
    model: nn.Module, stored: Mapping[str, tuple[int, ...]]
) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes after timm's conversion to the model's layout and size of image."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return stored
    empty = {key: torch.empty(shape, device="meta") for key, shape in stored.items()}
    try:
        made = convert(empty, model)
    except Exception:  # of a layout that it does not know: the names are compared as they are
        return stored
    return {key: tuple(value.shape) for key, value in made.items()}


def _resampled(
    stored: Mapping[str, tuple[int, ...]], own: Mapping[str, tuple[int, ...]], model: Any
) -> bool:
    """Whether positions, where both have them, are those of a square of patches and a prefix."""
    if _POSITIONS not in stored or _POSITIONS not in own:
        return True
    old, new = stored[_POSITIONS], own[_POSITIONS]
    if old == new:
        return True
    if len(old) != 3 or len(new) != 3 or old[2] != new[2]:
        return False
    patches = old[1] - (new[1] - int(model.patch_embed.num_patches))
    return patches > 0 and isqrt(patches) ** 2 == patches


def _described(named: Mapping[str, StoredTensor]) -> str:
    """What the weights are of, as far as their shapes say."""
    patches = named.get(_PATCHES)
    blocks = {int(key.split(".")[1]) for key in named if re.match(r"blocks\.\d{1,4}\.", key)}
    if patches is None or len(patches.shape) != 4 or not blocks:
        return ""
    scaled = " and LayerScale" if any(".ls1." in key for key in named) else ""
    return (
        f"They are of a ViT with {max(blocks) + 1} blocks of width {patches.shape[0]}, patches of "
        f"{patches.shape[-1]} px{scaled}."
    )
