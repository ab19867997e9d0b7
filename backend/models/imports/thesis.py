"""The checkpoints of the thesis code: ``torch.save({"model_state_dict": ..., "config": ...})``.

BERT and a ViT of one width and depth with co-attention before chosen blocks, which the file counts
from 0 and we from 1. Its forward pass is :class:`FusionModel`'s, with the head on the last block's
CLS rather than on the ViT's normed one. Of each tensor that this pass reads, name, shape and
number type must be right; the tensors that the file is known to hold besides are left out, and a
tensor of any other name is refused.

Heads become tasks named as in our loaders: ``fc`` is ``hateful``, ``fc_imdb`` ``genres``,
``fc_upmc`` ``dish``, ``fc_vqa`` ``answer``. The file does not say which output is which class, so
the classes of all but the first are numbered from 0 in the order of the outputs. Neither does it
say how images were normalised: as timm's ``vit_base_patch16_224`` expects them.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from backend.errors import InputError
from backend.models.fusion import FusionConfig, FusionModel
from backend.models.imports.archive import read_archive, shown
from backend.types import TaskKind

VISION = "vit_base_patch16_224"
MODEL = "thesis bert + vit"

Size = Callable[[str, int, int], int]
"""(tensor's name, axis, what it usually is) -> the size that it has in the file."""

_LARGEST = 2**24  # no width or vocabulary is larger; a layer count is at most a thousand
_COMPILED = "_orig_mod."
_SIZES = (
    *("embedding_dim", "vocab_size", "num_hidden_layers"),
    *("num_attention_heads", "num_bi_attention_heads"),
)


@dataclass(frozen=True)
class Head:
    """What a classifier of the file predicts; ``classes`` where the format says what they are."""

    task: str
    kind: TaskKind
    noun: str
    classes: tuple[str, ...] = ()


HEADS: dict[str, Head] = {
    "fc": Head("hateful", "binary", "", ("not hateful", "hateful")),
    "fc_imdb": Head("genres", "multilabel", "genre"),
    "fc_vqa": Head("answer", "multiclass", "answer"),
    "fc_upmc": Head("dish", "multiclass", "dish"),
}

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
    config = _config(tensors, settings, path.name, where)
    weights, left_out = _weights(tensors, config, where)
    return Imported(config, weights, left_out)


def _stand_in() -> type[enum.Enum]:
    """The one class that these files name, made afresh so that no file can leave a trace on it."""
    return enum.Enum(
        "Task",
        {"ALIGNMENT_PREDICTION": 1, "MASKED_LM": 2, "MASKED_IM": 3, "PLACEHOLDER": -1},
        module="task",
    )


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


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str | enum.Enum)


def _config(
    tensors: Mapping[str, Tensor], settings: Mapping[str, Any], file: str, where: str
) -> FusionConfig:
    """Our configuration: what the file's says, and the sizes that only its tensors tell."""
    width, vocabulary, depth, heads, co_heads = (_whole(settings, key, where) for key in _SIZES)
    text, vision = (_layers(settings, stream, depth, where) for stream in ("text", "vision"))
    if len(text) != len(vision):
        raise InputError(
            f"{len(text)} text and {len(vision)} vision cross-attention layers: they pair up in "
            "order and must be equally many",
            where=f"{where}, config",
        )

    def size(key: str, axis: int, usual: int) -> int:
        """Of a tensor that may be missing; that is said later, together with all others."""
        shape = tensors[key].shape if key in tensors else ()
        return int(shape[axis]) if len(shape) > axis and shape[axis] else usual

    inner = size("c_layers.0.cross_attention.query1.weight", 0, 1024)
    for what, whole, parts in (
        ("embedding_dim", width, heads),
        ("the co-attention's inner width", inner, co_heads),
    ):
        if whole % parts:
            raise InputError(f"{what} {whole} cannot be split over {parts} heads", where=where)
    tasks, head_width = _tasks(tensors, size, where)
    dropout = _share(settings, where)
    image = timm.get_pretrained_cfg(VISION)
    return FusionConfig(
        text={
            "model_type": "bert",
            "vocab_size": vocabulary,
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "intermediate_size": size(
                "bert.encoder.layer.0.intermediate.dense.weight", 0, 4 * width
            ),
            "max_position_embeddings": size("bert.embeddings.position_embeddings.weight", 0, 512),
            "type_vocab_size": size("bert.embeddings.token_type_embeddings.weight", 0, 2),
        },
        vision={
            "name": VISION,
            "options": {
                "img_size": _image_size(settings, where),
                "patch_size": size("vit.patch_embed.proj.weight", 3, 16),
                "embed_dim": width,
                "depth": depth,
                "num_heads": heads,
                "mlp_ratio": _ratio(size("vit.blocks.0.mlp.fc1.weight", 0, 4 * width), width),
            },
        },
        text_fusion_layers=text,
        vision_fusion_layers=vision,
        co_attention={
            "inner": inner,
            "heads": co_heads,
            "ff_ratio": _ratio(size("c_layers.0.ff_text.net.0.weight", 0, 4 * width), width),
            "dropout": dropout,
        },
        head={"width": head_width, "dropout": dropout, "final_norm": False},
        tasks=tasks,
        image={
            "size": _image_size(settings, where),
            "mean": list(image.mean),
            "std": list(image.std),
        },
        max_text_length=min(512, size("bert.embeddings.position_embeddings.weight", 0, 512)),
        trained_on=_origin(settings, file),
    )


def _whole(settings: Mapping[str, Any], key: str, where: str) -> int:
    value = settings.get(key)
    most = 1000 if key == "num_hidden_layers" else _LARGEST
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        problem = f"{value!r} is not a size" if key in settings else "is missing"
        raise InputError(problem, where=f"{where}, config {key}")
    return value


def _ratio(inner: int, width: int) -> float:
    """A ratio from which ``int(width * ratio)`` is ``inner`` again, whatever is rounded."""
    ratio = inner / width
    return ratio if int(width * ratio) == inner else (inner + 0.5) / width


def _share(settings: Mapping[str, Any], where: str) -> float:
    value = settings.get("dropout_prob", 0.1)
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise InputError(f"{value!r} is not from 0 to 1", where=f"{where}, config dropout_prob")
    return float(value)


def _image_size(settings: Mapping[str, Any], where: str) -> int:
    value = settings.get("img_size")
    sides = list(value) if isinstance(value, list | tuple) else [value]
    side = sides[-1]
    whole = isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= _LARGEST
    if not whole or any(other != side for other in sides):
        raise InputError(
            f"{value!r} is not the size of a square image", where=f"{where}, config img_size"
        )
    return int(side)


def _layers(settings: Mapping[str, Any], stream: str, depth: int, where: str) -> list[int]:
    """Our 1-based fusion layers from the file's 0-based ids."""
    key = f"{stream}_cross_attention_layers"
    ids = settings.get(key)
    if not isinstance(ids, list | tuple) or not all(
        isinstance(i, int) and not isinstance(i, bool) for i in ids
    ):
        problem = f"{ids!r} is not a list of ids" if key in settings else "is missing"
        raise InputError(problem, where=f"{where}, config {key}")
    outside = [i for i in ids if not 0 <= i < depth]
    if outside:
        raise InputError(
            f"id {outside[0]} is outside 0..{depth - 1}", where=f"{where}, config {key}"
        )
    if any(a >= b for a, b in pairwise(ids)):
        raise InputError(
            f"ids {list(ids)} must increase, without repeats", where=f"{where}, config {key}"
        )
    return [i + 1 for i in ids]


def _tasks(
    tensors: Mapping[str, Tensor], size: Size, where: str
) -> tuple[list[dict[str, Any]], int]:
    """The tasks of the heads that are there, and the width of their hidden layer."""
    tasks: list[dict[str, Any]] = []
    widths = []
    for name, head in HEADS.items():
        if not any(key.startswith(f"{name}.") for key in tensors):
            continue
        outputs = size(f"{name}.3.weight", 0, 2)
        if head.kind != "binary" and outputs < 2:
            raise InputError(f"head {name} has no outputs to choose from", where=where)
        classes = head.classes or tuple(f"{head.noun} {i}" for i in range(outputs))
        tasks.append({"name": head.task, "kind": head.kind, "classes": list(classes)})
        widths.append(size(f"{name}.0.weight", 0, 512))
    return tasks, widths[0] if widths else 512


def _origin(settings: Mapping[str, Any], file: str) -> dict[str, Any]:
    """What the file says of its training, for whoever asks where a model is from."""
    tasks = settings.get("pretraining_tasks")
    kept = {
        key: settings[key]
        for key in ("epochs", "learning_rate", "batch_size", "depth")
        if isinstance(settings.get(key), int | float | str)
    }
    seed = settings.get("seed")
    return {
        "model": MODEL,
        **({"seed": seed} if isinstance(seed, int) and not isinstance(seed, bool) else {}),
        "imported": {
            "format": "thesis",
            "file": file,
            "pretraining_tasks": [
                task.name if isinstance(task, enum.Enum) else str(task)
                for task in (tasks if isinstance(tasks, list | tuple) else ())
            ],
            **kept,
        },
    }


def _weights(
    tensors: dict[str, Tensor], config: FusionConfig, where: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors by our names in float32, checked against the model that they are for."""
    with torch.device("meta"):
        wanted = FusionModel(config).state_dict()
    names = {ours: _their_name(ours) for ours in wanted}
    copies = _copies(tensors, set(names.values()))
    known = {*names.values(), *copies}
    strange = [key for key in tensors if key not in known and not _UNUSED.fullmatch(key)]
    missing = [key for key in (*names.values(), *copies) if key not in tensors]
    for what, keys in (("unexpected", strange), ("missing", missing)):
        if keys:
            raise InputError(f"{len(keys):,} {what} tensors: {shown(keys)}", where=where)
    shapes = {theirs: tuple(wanted[ours].shape) for ours, theirs in names.items()}
    wrong = [
        f"{key} {tuple(tensors[key].shape)} instead of {shape}"
        for key, shape in shapes.items()
        if tuple(tensors[key].shape) != shape
    ]
    if wrong:
        raise InputError(f"{len(wrong):,} tensors of a wrong shape: {shown(wrong)}", where=where)
    unreal = [
        key
        for key in shapes
        if not tensors[key].is_floating_point() or not torch.isfinite(tensors[key]).all()
    ]
    if unreal:
        raise InputError(
            f"{len(unreal):,} tensors of other than finite real numbers: {shown(unreal)}",
            where=where,
        )
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
    found = {}
    for second, first in _COPIES.items():
        if any(key.startswith(second) for key in tensors):
            found |= {
                second + key.removeprefix(first): key for key in used if key.startswith(first)
            }
    return dict(sorted(found.items()))


def _equal(a: Tensor, b: Tensor) -> bool:
    same_memory = a.data_ptr() == b.data_ptr() and a.stride() == b.stride()
    return a.shape == b.shape and a.dtype == b.dtype and (same_memory or torch.equal(a, b))
