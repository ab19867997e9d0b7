"""The configuration of a thesis checkpoint as ours: settings, and sizes that its tensors tell."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import timm
from torch import Tensor

from backend.errors import InputError
from backend.models.dual_stream.model import FusionConfig
from backend.types import TaskKind

VISION = "vit_base_patch16_224"
MODEL = "thesis bert + vit"

Size = Callable[[str, int, int], int]
"""(tensor's name, axis, what it usually is) -> the size that it has in the file."""

_LARGEST = 2**24  # no width or vocabulary is larger; a layer count is at most a thousand
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


def config_of(
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
    if image is None:
        raise RuntimeError(f"timm has no {VISION}")
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
            "scale_by": "stream",
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
    whole = [s for s in sides if isinstance(s, int) and not isinstance(s, bool) and s > 0]
    if len(whole) != len(sides) or len(set(whole)) != 1 or whole[0] > _LARGEST:
        raise InputError(
            f"{value!r} is not the size of a square image", where=f"{where}, config img_size"
        )
    return whole[0]


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
