"""What is trained: the options of one `fusionscope train`, and the model they build."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import torch

from backend.data.base import PairSource
from backend.errors import InputError
from backend.models import encoders
from backend.models.encoders import TextEncoder, VisionEncoder
from backend.models.fusion import FusionConfig, FusionModel
from backend.models.placement import Placement, parse_placement
from backend.models.preprocess import Preprocessor, load_tokenizer, train_tokenizer
from backend.train.alignment import cka_layers
from backend.types import TaskSpec

SMALL = {"depth": 12, "width": 48, "heads": 4}
SMALL_PATCH = 12
_SMALL_RATIO = 2
_TEXTS_FOR_VOCABULARY = 50_000


@dataclass(frozen=True)
class TrainPlan:
    """One placement on one dataset; the seed is given apart, so all seeds share a plan.

    Encoders: ``small`` (from scratch; ``small:depth=6,width=64,heads=4``), or for text a directory
    or hub id, for vision a timm name with an optional weights file (``name:file.safetensors``).
    ``freeze`` is ``none``, ``encoders`` or ``text=4;vision=6`` (embeddings and blocks up to there).
    ``saved_precision`` is that of the saved weights; the scores are of the weights as saved.
    ``cka_loss`` is the weight of alignment as an auxiliary loss (:mod:`backend.train.alignment`) at
    ``cka_layers`` (written like a placement; empty: the fusion layers).
    ``image_size`` and ``learning_rate`` of None are 48 px and 1e-3 for small encoders, 224 px and
    4e-5 for pretrained ones.
    """

    data: str
    placement: str
    tasks: tuple[str, ...] = ()
    text_encoder: str = "small"
    vision_encoder: str = "small"
    image_size: int | None = None
    max_text_length: int = 64
    epochs: int = 15
    batch_size: int = 64
    learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    final_rate: float = 0.2
    patience: int = 3
    dropout: float = 0.1
    class_weights: str = "balanced"
    freeze: str = "none"
    cka_loss: float = 0.0
    cka_layers: str = ""
    limit: int | None = None
    precision: str = "auto"
    saved_precision: str = "float32"
    device: str = "auto"
    co_attention: dict[str, Any] = field(default_factory=dict)
    head: dict[str, Any] = field(default_factory=dict)
    strict: bool = False

    @property
    def pixels(self) -> int:
        """The side of the images that the model sees."""
        return self.image_size or (48 if _kind(self.vision_encoder) == "small" else 224)

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        small = _kind(self.vision_encoder) == _kind(self.text_encoder) == "small"
        return (1e-3 if small else 4e-5) if self.learning_rate is None else self.learning_rate

    def check(self) -> None:
        """InputError for an option whose value is not one of the known ones."""
        for option, value, known in (
            ("class-weights", self.class_weights, ("balanced", "none")),
            ("precision", self.precision, ("auto", "no", "bf16", "fp16")),
            ("saved-precision", self.saved_precision, ("float32", "float16")),
        ):
            if value not in known:
                raise InputError(f"{value!r} is not one of {', '.join(known)}", where=f"--{option}")
        if self.cka_loss < 0:
            raise InputError("a negative weight would drive the streams apart", where="--cka-loss")
        if self.cka_layers and not self.cka_loss:
            raise InputError("has no effect without --cka-loss", where="--cka-layers")

    def command(self, seed: int) -> str:
        """The ``fusionscope train`` command line that trains this plan, without ``--out``."""
        flags = {"tasks": "task"}
        given = ["fusionscope", "train"]
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in ("data", "placement") or value != item.default:
                if isinstance(value, dict) or item.name in ("device", "strict"):
                    continue
                text = ",".join(value) if isinstance(value, tuple) else str(value)
                given += [f"--{flags.get(item.name, item.name).replace('_', '-')}", text]
        return shlex.join([*given, "--seeds", str(seed)])

    def digest(self) -> str:
        """Identifies the plan, so that a checkpoint of another plan is not resumed.

        Options at their default are left out: an option that is new does not change old plans.
        """
        defaults = asdict(TrainPlan(data="", placement=""))
        ignored = ("device", "strict")
        plain = {k: v for k, v in asdict(self).items() if k not in ignored and v != defaults[k]}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def chosen_tasks(plan: TrainPlan, source: PairSource) -> tuple[TaskSpec, ...]:
    """The tasks to train: those named, or all of the dataset's."""
    known = source.tasks
    if not known:
        raise InputError(
            "has no labels to train on",
            where=f"data {plan.data}",
            hint="In a folder, a task is a column named label or label_<task>.",
        )
    for name in plan.tasks:
        if name not in known:
            raise InputError(
                f"no task {name!r}", where=f"data {plan.data}", hint=f"It has: {', '.join(known)}."
            )
    return tuple(known[name] for name in (plan.tasks or known))


def build(
    plan: TrainPlan, source: PairSource, tasks: tuple[TaskSpec, ...], seed: int
) -> tuple[FusionModel, Preprocessor]:
    """The model with its fresh parts initialised from ``seed``, and its preprocessing."""
    torch.manual_seed(seed)
    tokenizer, text = _text(plan, source)
    vision, vision_config, normalisation = _vision(plan)
    placement = parse_placement(
        plan.placement, text_depth=len(text.blocks), vision_depth=len(vision.blocks)
    )
    small = "small" in (_kind(plan.text_encoder), _kind(plan.vision_encoder))
    inner = {"inner": max(text.width, vision.width), "heads": 4, "ff_ratio": 2.0} if small else {}
    config = FusionConfig(
        text=encoders.describe_text(text.model.config),
        vision=vision_config,
        text_fusion_layers=placement.text,
        vision_fusion_layers=placement.vision,
        co_attention={**inner, "dropout": plan.dropout, **plan.co_attention},
        head={**({"width": 128} if small else {}), **plan.head},
        tasks=[{"name": t.name, "kind": t.kind, "classes": list(t.classes)} for t in tasks],
        image={"size": plan.pixels, **normalisation},
        max_text_length=plan.max_text_length,
        trained_on={
            "model": f"{_shown(plan.text_encoder, 'bert')} + {_shown(plan.vision_encoder, 'vit')}",
            "dataset": source.name,
            "seed": seed,
            "plan": plan.digest(),
        },
    )
    model = FusionModel(config, text, vision)
    _freeze(plan, model)
    return model, Preprocessor(tokenizer, config.image, plan.max_text_length)


def _text(plan: TrainPlan, source: PairSource) -> tuple[Any, TextEncoder]:
    if _kind(plan.text_encoder) != "small":
        return load_tokenizer(plan.text_encoder), encoders.load_text(plan.text_encoder)
    size = _small(plan.text_encoder, SMALL)
    tokenizer = train_tokenizer(_texts(source))
    config = {
        "model_type": "bert",
        "vocab_size": len(tokenizer),
        "hidden_size": size["width"],
        "num_hidden_layers": size["depth"],
        "num_attention_heads": size["heads"],
        "intermediate_size": _SMALL_RATIO * size["width"],
        "max_position_embeddings": plan.max_text_length,
        "type_vocab_size": 1,
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_dropout_prob": plan.dropout,
        "attention_probs_dropout_prob": plan.dropout,
    }
    return tokenizer, encoders.build_text(config)


def _texts(source: PairSource) -> Iterator[str]:
    for record in source.records("train", _TEXTS_FOR_VOCABULARY):
        yield record.text


def _vision(plan: TrainPlan) -> tuple[VisionEncoder, dict[str, Any], dict[str, Any]]:
    name, _, weights = plan.vision_encoder.partition(":")
    if name == "small":
        size = _small(plan.vision_encoder, {**SMALL, "patch": SMALL_PATCH})
        options = {
            "img_size": plan.pixels,
            "patch_size": size["patch"],
            "embed_dim": size["width"],
            "depth": size["depth"],
            "num_heads": size["heads"],
            "mlp_ratio": float(_SMALL_RATIO),
            "proj_drop_rate": plan.dropout,
        }
        if plan.pixels % size["patch"]:
            raise InputError(
                f"image size {plan.pixels} is not a multiple of the patch size {size['patch']}",
                where="vision encoder",
            )
        base = "vit_tiny_patch16_224"
        described = {"name": base, "options": options}
        return encoders.build_vision(base, options), described, {}
    options = {"img_size": plan.pixels}
    vision = encoders.load_vision(name, options, Path(weights) if weights else None)
    pretrained = cast(dict[str, Any], vision.model.pretrained_cfg)
    normalisation = {"mean": list(pretrained["mean"]), "std": list(pretrained["std"])}
    return vision, {"name": name, "options": options}, normalisation


def _kind(encoder: str) -> str:
    return encoder.partition(":")[0]


def _shown(encoder: str, kind: str) -> str:
    """``bert-12x48``, ``minilm_l6``: an encoder for people, without its folders."""
    if _kind(encoder) != "small":
        return Path(_kind(encoder)).name
    size = _small(encoder, {**SMALL, "patch": SMALL_PATCH})
    return f"{kind}-{size['depth']}x{size['width']}"


def _small(encoder: str, defaults: dict[str, int]) -> dict[str, int]:
    """``small:depth=6,width=64`` over ``defaults``."""
    size = dict(defaults)
    for part in filter(None, encoder.partition(":")[2].split(",")):
        key, _, value = part.partition("=")
        if key not in size or not value.isdecimal() or not int(value):
            raise InputError(
                f"{part!r} is not one of {', '.join(f'{k}=N' for k in size)}",
                where=f"encoder {encoder!r}",
            )
        size[key] = int(value)
    if size["width"] % size["heads"]:
        raise InputError(
            f"width {size['width']} is not a multiple of {size['heads']} heads",
            where=f"encoder {encoder!r}",
        )
    return size


def _freeze(plan: TrainPlan, model: FusionModel) -> None:
    text, vision = frozen_layers(plan.freeze, len(model.text.blocks), len(model.vision.blocks))
    if (text, vision) != (-1, -1):
        model.freeze(text, vision)


def frozen_layers(freeze: str, text_depth: int, vision_depth: int) -> tuple[int, int]:
    """(text, vision) layers up to which ``freeze`` freezes, -1 for nothing; InputError if none."""
    depths = {"text": text_depth, "vision": vision_depth}
    upto = {"text": -1, "vision": -1}
    if freeze == "encoders":
        upto = depths
    elif freeze != "none":
        for part in freeze.split(";"):
            stream, _, value = (p.strip() for p in part.partition("="))
            if stream not in upto or not value.isdecimal() or int(value) > depths[stream]:
                raise InputError(
                    f"{part!r} does not name a layer of a stream",
                    where=f"freeze {freeze!r}",
                    hint="Use none, encoders, or e.g. 'text=4;vision=6'.",
                )
            upto[stream] = int(value)
    return upto["text"], upto["vision"]


def encoder_depths(plan: TrainPlan) -> tuple[int, int]:
    """(text, vision) number of blocks, without loading any weights."""
    if _kind(plan.text_encoder) == "small":
        text = _small(plan.text_encoder, SMALL)["depth"]
    else:
        text = encoders.text_depth(plan.text_encoder)
    name, _, weights = plan.vision_encoder.partition(":")
    if name == "small":
        return text, _small(plan.vision_encoder, {**SMALL, "patch": SMALL_PATCH})["depth"]
    if weights and not Path(weights).is_file():
        raise InputError("no such file", where=f"vision weights {weights}")
    return text, encoders.vision_depth(name)


def check_plan(plan: TrainPlan) -> Placement:
    """The placement, if plan and encoders fit together as far as can be said without the data.

    InputError otherwise: for an unknown value, a placement, frozen layers or layers of the CKA loss
    that the encoders do not have, and encoders that are not there.
    """
    plan.check()
    text, vision = encoder_depths(plan)
    placement = parse_placement(plan.placement, text_depth=text, vision_depth=vision)
    frozen_layers(plan.freeze, text, vision)
    if plan.cka_loss:
        cka_layers(plan.cka_layers, placement, (text, vision))
    return placement
