"""The checkpoints of the thesis code: ``torch.save({"model_state_dict": ..., "config": ...})``.

BERT and a ViT of one width and depth with co-attention before chosen blocks, which the file counts
from 0 and we from 1. Its forward pass is :class:`FusionModel`'s, with the head on the last block's
CLS rather than on the ViT's normed one, and with co-attention scaled by a head's share of the
stream's width, √(d / heads), not by the head's own size. Of each tensor that this pass reads, name,
shape and number type must be right; the tensors that the file is known to hold besides are left
out, and a tensor of any other name is refused.

Heads become tasks named as in our loaders: ``fc`` is ``hateful``, ``fc_imdb`` ``genres``,
``fc_upmc`` ``dish``, ``fc_vqa`` ``answer``. The file does not say which output is which class, so
the classes of all but the first are numbered from 0 in the order of the outputs. Neither does it
say how images were normalised: as timm's ``vit_base_patch16_224`` expects them.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.errors import InputError
from backend.models.doors import Misfits, other_shapes
from backend.models.dual_stream.model import FusionConfig, FusionModel
from backend.models.imports.archive import read_archive, shown
from backend.models.imports.thesis_config import HEADS, config_of

_COMPILED = "_orig_mod."
_DEEPEST = 10  # lists and dictionaries inside each other in the configuration

_CO_ATTENTION = {
    "norm_in_text": "cross_attention.norm1",
    "norm_in_vision": "cross_attention.norm2",
    "text_from_vision.query": "cross_attention.query1",
    "text_from_vision.key": "cross_attention.key2",
    "text_from_vision.value": "cross_attention.value2",
    "text_from_vision.project": "output.projection_text.0",
    "vision_from_text.query": "cross_attention.query2",
    "vision_from_text.key": "cross_attention.key1",
    "vision_from_text.value": "cross_attention.value1",
    "vision_from_text.project": "output.projection_vision.0",
    "norm_text": "output.norm_text",
    "norm_vision": "output.norm_vision",
    **{
        f"ff_{stream}.{ours}": f"ff_{stream}.{theirs}"
        for stream in ("text", "vision")
        for ours, theirs in (("norm", "norm"), ("expand", "net.0"), ("reduce", "net.3"))
    },
}
"""Our module of a co-attention: theirs. 1 is the text, 2 the vision stream."""

_UNUSED = re.compile(
    r"bert\.pooler\.dense\.(weight|bias)"
    r"|bert[._]embeddings\.(position_ids|token_type_ids)"
    r"|vision_embeddings\.LayerNorm\.(weight|bias)"
    r"|c_layers\.\d+\.cross_attention\.to_out_proj[12]\.0\.(weight|bias)"
    r"|(alignment_fc|mlm)\.(weight|bias)"
)
"""Known tensors that the forward pass to the heads does not read."""

_COPIES = {"bert_layers.": "bert.encoder.layer.", "bert_embeddings.": "bert.embeddings."}
"""Tensors that the file holds a second time."""


@dataclass(frozen=True)
class Imported:
    """A model's configuration, its weights by our names, and the tensors that were left out."""

    config: FusionConfig
    weights: dict[str, Tensor]
    left_out: tuple[str, ...]


def read_thesis(path: Path) -> Imported:
    """Read a checkpoint file of the thesis code. InputError says in one line what is wrong."""
    where = f"checkpoint {path}"
    found = read_archive(path, {"task.Task": _stand_in()})
    tensors, settings = _parts(found, where)
    config = config_of(tensors, settings, path.name, where)
    weights, left_out = _weights(tensors, config, where)
    return Imported(config, weights, left_out)


def _stand_in() -> type[enum.Enum]:
    """The one class that these files name, made afresh so that no file can leave a trace on it."""

    class Task(enum.Enum):
        ALIGNMENT_PREDICTION = 1
        MASKED_LM = 2
        MASKED_IM = 3
        PLACEHOLDER = -1

    return Task


def _parts(found: object, where: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors by name, without a compiled model's prefix, and the configuration."""
    names = ("model_state_dict", "config")
    if not isinstance(found, dict) or not all(isinstance(found.get(n), dict) for n in names):
        raise InputError(
            "does not hold the two dictionaries 'model_state_dict' and 'config'",
            where=where,
            hint="Is it of another format, or only a state dict?",
        )
    others = [str(key) for key in found if key not in names]
    if others:
        raise InputError(f"holds more than weights and config: {shown(others)}", where=where)
    state, settings = found["model_state_dict"], found["config"]
    odd = [str(key) for key, value in state.items() if not _is_named_tensor(key, value)]
    odd += [f"config {key}" for key, value in settings.items() if not _is_plain(value)]
    if odd:
        raise InputError(f"not tensors by name and plain settings: {shown(odd)}", where=where)
    if state and all(key.startswith(_COMPILED) for key in state):
        state = {key.removeprefix(_COMPILED): value for key, value in state.items()}
    return dict(state), dict(settings)


def _is_named_tensor(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, Tensor)


def _is_plain(value: object, deep: int = 0) -> bool:
    if deep > _DEEPEST:
        return False  # a list can be an item of itself
    if isinstance(value, list | tuple):
        return all(_is_plain(item, deep + 1) for item in value)
    if isinstance(value, dict):
        return all(
            isinstance(key, str) and _is_plain(item, deep + 1) for key, item in value.items()
        )
    return value is None or isinstance(value, bool | int | float | str | enum.Enum)


def _weights(
    tensors: dict[str, Tensor], config: FusionConfig, where: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors by our names in float32, checked against the model that they are for."""
    with torch.device("meta"):
        wanted = FusionModel(config).state_dict()
    names = {ours: _their_name(ours) for ours in wanted}
    copies = _copies(tensors, set(names.values()))
    known = {*names.values(), *copies}
    shapes = {theirs: tuple(wanted[ours].shape) for ours, theirs in names.items()}
    stored = {key: tuple(value.shape) for key, value in tensors.items()}
    Misfits(
        missing=[key for key in (*names.values(), *copies) if key not in tensors],
        unexpected=[key for key in tensors if key not in known and not _UNUSED.fullmatch(key)],
        shapes=other_shapes(stored, shapes),
        types=[
            f"{key} ({str(tensors[key].dtype).removeprefix('torch.')})"
            for key in shapes
            if key in tensors and not tensors[key].is_floating_point()
        ],
        not_finite=[
            key for key in shapes if key in tensors and not bool(torch.isfinite(tensors[key]).all())
        ],
    ).judge("model of the thesis", where, allow=None)
    differing = [key for key, same in copies.items() if not _equal(tensors[key], tensors[same])]
    if differing:
        first = differing[0]
        raise InputError(
            f"tensors that are stored twice differ: {shown(differing)}",
            where=where,
            hint=f"{first} must equal {copies[first]}.",
        )
    used = set(names.values())
    weights = {
        ours: tensors[theirs].detach().to(torch.float32).contiguous()
        for ours, theirs in names.items()
    }
    left_out = tuple(key for key in tensors if key not in used and key not in copies)
    return weights, left_out


def _their_name(ours: str) -> str:
    """The file's name of a tensor of ours."""
    if ours.startswith("text.model."):
        return f"bert.{ours.removeprefix('text.model.')}"
    if ours.startswith("vision.model."):
        return f"vit.{ours.removeprefix('vision.model.')}"
    top, which, rest = ours.split(".", 2)
    if top == "co_attention":
        module, _, leaf = rest.rpartition(".")
        return f"c_layers.{which}.{_CO_ATTENTION[module]}.{leaf}"
    (name,) = (name for name, head in HEADS.items() if head.task == which)
    return f"{name}.{rest}"


def _copies(tensors: Mapping[str, Tensor], used: set[str]) -> dict[str, str]:
    """{second name: first name} of the tensors that are stored twice, whole groups or none."""
    found: dict[str, str] = {}
    for second, first in _COPIES.items():
        if any(key.startswith(second) for key in tensors):
            found |= {
                second + key.removeprefix(first): key for key in used if key.startswith(first)
            }
    return dict(sorted(found.items()))


def _equal(a: Tensor, b: Tensor) -> bool:
    same_memory = a.data_ptr() == b.data_ptr() and a.stride() == b.stride()
    return a.shape == b.shape and a.dtype == b.dtype and (same_memory or torch.equal(a, b))
