"""What every training has in common: data, encoders, placement, and how the optimiser runs."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from backend.errors import InputError
from backend.models.dual_stream import pretrained

SMALL = {"depth": 12, "width": 48, "heads": 4}
SMALL_PATCH = 12
FRESH_RATE, PRETRAINED_RATE = 1e-3, 4e-5


@dataclass(frozen=True)
class Recipe:
    """One placement on one dataset; the seed is given apart, so all seeds share a recipe.

    Encoders: ``small`` (from scratch; ``small:depth=6,width=64,heads=4``), or for text a directory
    or hub id, for vision a timm name with an optional weights file (``name:file.safetensors``).
    ``freeze`` is ``none``, ``encoders`` or ``text=4;vision=6`` (embeddings and blocks up to there).
    ``accumulate`` batches make one step of the optimiser, so that its samples need not fit into
    memory together (the CKA loss and the exchange of texts stay within a batch).
    ``saved_precision`` is that of the saved weights. ``image_size`` and ``learning_rate`` of None
    are 48 px and 1e-3 for small encoders, 224 px and 4e-5 for pretrained ones.
    """

    COMMAND: ClassVar[str]

    data: str
    placement: str
    text_encoder: str = "small"
    vision_encoder: str = "small"
    image_size: int | None = None
    max_text_length: int = 64
    epochs: int = 15
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup: float = 0.1
    final_rate: float = 0.2
    dropout: float = 0.1
    freeze: str = "none"
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
        return self.image_size or (48 if kind_of(self.vision_encoder) == "small" else 224)

    @property
    def from_scratch(self) -> bool:
        """Whether neither encoder is pretrained."""
        return kind_of(self.vision_encoder) == kind_of(self.text_encoder) == "small"

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        default = FRESH_RATE if self.from_scratch else PRETRAINED_RATE
        return default if self.learning_rate is None else self.learning_rate

    def check(self) -> None:
        """InputError for an option whose value is not one of the known ones."""
        for option, value, known in (
            ("precision", self.precision, ("auto", "no", "bf16", "fp16")),
            ("saved-precision", self.saved_precision, ("float32", "float16")),
        ):
            require_one_of(option, value, known)

    def command(self, seed: int) -> str:
        """The command line that trains this, without ``--out``."""
        flags = {"tasks": "task"}
        given = ["fusionscope", self.COMMAND]
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in ("data", "placement") or value != item.default:
                if isinstance(value, dict) or item.name in ("device", "strict"):
                    continue
                text = ",".join(value) if isinstance(value, tuple) else str(value)
                given += [f"--{flags.get(item.name, item.name).replace('_', '-')}", text]
        return shlex.join([*given, "--seeds", str(seed)])

    def digest(self) -> str:
        """Identifies the recipe, so that a checkpoint of another one is not resumed.

        Options at their default are left out: an option that is new does not change old digests.
        """
        defaults = asdict(type(self)(data="", placement=""))
        ignored = ("device", "strict")
        plain = {k: v for k, v in asdict(self).items() if k not in ignored and v != defaults[k]}
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def require_one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    """InputError naming the option for a value that is not known."""
    if value not in known:
        raise InputError(f"{value!r} is not one of {', '.join(known)}", where=f"--{option}")


def kind_of(encoder: str) -> str:
    """``small``, a timm name, or a text encoder's directory: what stands before the colon."""
    return encoder.partition(":")[0]


def small_size(encoder: str, defaults: dict[str, int]) -> dict[str, int]:
    """``small:depth=6,width=64`` over ``defaults``; InputError for anything else."""
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


def small_vision(recipe: Recipe) -> dict[str, int]:
    """The sizes of a ViT from scratch; InputError also for an image that is not whole patches."""
    size = small_size(recipe.vision_encoder, {**SMALL, "patch": SMALL_PATCH})
    if recipe.pixels % size["patch"]:
        raise InputError(
            f"image size {recipe.pixels} is not a multiple of the patch size {size['patch']}",
            where="vision encoder",
        )
    return size


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


def encoder_depths(recipe: Recipe) -> tuple[int, int]:
    """(text, vision) number of blocks, without loading any weights."""
    if kind_of(recipe.text_encoder) == "small":
        text = small_size(recipe.text_encoder, SMALL)["depth"]
    else:
        text = pretrained.text_depth(recipe.text_encoder)
    name, _, weights = recipe.vision_encoder.partition(":")
    if name == "small":
        return text, small_vision(recipe)["depth"]
    if weights:
        pretrained.check_weights(Path(weights))
    return text, pretrained.vision_depth(name)
