"""What is trained: the options of `fusionscope train` and `pretrain`, said once.

Nothing here loads a model: :mod:`backend.train.encoders` and :mod:`backend.train.plan` do.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from backend.errors import InputError
from backend.models.dual_stream import OBJECTIVES
from backend.settings import check_settings, default_of, setting, settings_of
from backend.train.shared_options import of_training

FRESH_RATE, PRETRAINED_RATE = 1e-3, 4e-5

_NOT_OF_THE_RESULT = ("device", "cache_dir")


@dataclass(frozen=True)
class Said:
    """A command's settings: checked, written as the command line, and identified by a digest."""

    COMMAND: ClassVar[str]

    def check(self) -> None:
        """InputError for an option whose value cannot be used."""
        check_settings(self)

    def command(self, seed: int) -> str:
        """The command line that trains this, without ``--out``."""
        words = ["fusionscope", *self.COMMAND.split()]
        for item, option in settings_of(self):
            value = getattr(self, item.name)
            if item.name not in _NOT_OF_THE_RESULT and value != item.default:
                text = ",".join(value) if isinstance(value, tuple) else str(value)
                words += [f"--{option.flag or item.name.replace('_', '-')}", text]
        return shlex.join([*words, "--seeds", str(seed)])

    def digest(self) -> str:
        """Identifies the settings, so that a checkpoint of other ones is not resumed.

        Options at their default are left out: an option that is new does not change old digests.
        """
        required = [item.name for item, _ in settings_of(self) if item.default is MISSING]
        defaults = asdict(type(self)(**dict.fromkeys(required, "")))
        given = {
            name: value
            for name, value in asdict(self).items()
            if name not in _NOT_OF_THE_RESULT and value != defaults[name]
        }
        return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Recipe(Said):
    """One placement on one dataset; the seed is given apart, so all seeds share a recipe.

    Encoders: ``small`` (from scratch; ``small:depth=6,width=64,heads=4``), or for text a directory
    or hub id, for vision a timm name with an optional weights file (``name:file.safetensors``).
    ``freeze`` is ``none``, ``encoders`` or ``text=4;vision=6`` (embeddings and blocks up to there).
    ``accumulate`` batches make one step of the optimiser, so that its samples need not fit into
    memory together (the CKA loss and the exchange of texts stay within a batch).
    ``saved_precision`` is that of the saved weights. ``image_size`` and ``learning_rate`` of None
    are 48 px and 1e-3 for small encoders, 224 px and 4e-5 for pretrained ones.
    """

    data: str = of_training("data", MISSING)
    placement: str = setting(
        MISSING, "none, full, early, middle, late, ... or 'text=7,8;vision=4,6'."
    )
    text_encoder: str = setting("small", "small (from scratch), a directory, or a hub id.")
    vision_encoder: str = setting(
        "small", "small (from scratch), or TIMM_NAME[:WEIGHTS.safetensors]."
    )
    image_size: int | None = setting(None, "Pixels; default 48 (small) or 224.", at_least=8)
    max_text_length: int = setting(64, "Tokens.", at_least=4)
    epochs: int = of_training("epochs", 15)
    batch_size: int = of_training("batch_size", 64)
    accumulate: int = of_training("accumulate", 1)
    learning_rate: float | None = setting(None, "Default 1e-3 (small) or 4e-5.", at_least=0)
    weight_decay: float = of_training("weight_decay", 0.01)
    warmup: float = of_training("warmup", 0.1)
    final_rate: float = of_training("final_rate", 0.2)
    dropout: float = setting(0.1, "Share of what is dropped.", at_least=0, below=1)
    freeze: str = setting("none", "none, encoders, or layers up to: 'text=4;vision=6'.")
    limit: int | None = of_training("limit", None)
    precision: str = of_training("precision", "auto")
    saved_precision: str = of_training("saved_precision", "float32")
    device: str = of_training("device", "auto")
    allow_partial_weights: bool = of_training("allow_partial_weights", False)
    co_attention: dict[str, Any] = field(default_factory=dict)
    head: dict[str, Any] = field(default_factory=dict)

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


@dataclass(frozen=True)
class TrainPlan(Recipe):
    """Training on labels; the scores are of the weights as saved.

    ``cka_loss`` is the weight of alignment as an auxiliary loss (:mod:`backend.train.alignment`) at
    ``cka_layers`` (written like a placement; empty: the fusion layers). ``pretrained`` is the
    directory of a checkpoint with the same placement, such as `fusionscope pretrain` writes, to
    start from: encoders, co-attention, tokenizer, image size and text length are then its own, and
    only the heads are fresh.
    """

    COMMAND: ClassVar[str] = "train"

    tasks: tuple[str, ...] = setting(
        (),
        "Comma-separated tasks of the dataset; default: all. What its labels are: NAME=multiclass, "
        "NAME=multilabel, NAME=binary:POSITIVE_CLASS.",
        flag="task",
    )
    patience: int = setting(3, "Epochs without a better dev score.", at_least=1)
    class_weights: str = setting("balanced", "balanced or none.", choices=("balanced", "none"))
    cka_loss: float = setting(0.0, "Weight of 1 - CKA of the streams in the loss.", at_least=0)
    cka_layers: str = setting("", "Where: like a placement; default: the fusion layers.")
    pretrained: str = setting("", "Checkpoint to start from, such as of `fusionscope pretrain`.")

    @property
    def rate(self) -> float:
        """The peak learning rate; by default that of the checkpoint's encoders, if there is one."""
        if self.learning_rate is None and self.pretrained:
            return FRESH_RATE if _from_scratch(Path(self.pretrained)) else PRETRAINED_RATE
        return super().rate

    def check(self) -> None:
        """InputError for an option whose value cannot be used."""
        super().check()
        if self.cka_layers and not self.cka_loss:
            raise InputError("has no effect without `cka_loss`", field="cka_layers")
        if self.pretrained:
            if not (Path(self.pretrained) / "config.json").is_file():
                raise InputError(
                    f"{self.pretrained} is not a checkpoint (it has no config.json)",
                    field="pretrained",
                )
            for item in fields(self):
                if item.name in FROM_CHECKPOINT and getattr(self, item.name) != default_of(item):
                    raise InputError(
                        "is the checkpoint's own where training starts from one",
                        field=item.name,
                        hint="Leave it out, or leave out `pretrained`.",
                    )


@dataclass(frozen=True)
class PretrainPlan(Recipe):
    """Pretraining on pairs with some of the objectives, their losses added up.

    ``text_mask`` and ``image_mask`` are the shares of words and patches that are hidden.
    """

    COMMAND: ClassVar[str] = "pretrain"

    objectives: tuple[str, ...] = setting(
        OBJECTIVES, f"Some of {', '.join(OBJECTIVES)}, comma-separated.", choices=OBJECTIVES
    )
    text_mask: float = setting(0.15, "Share of the words to hide.", above=0, below=1)
    image_mask: float = setting(0.3, "Share of the patches to hide.", above=0, below=1)

    def digest(self) -> str:
        """As of any recipe, and never that of a training with the same options."""
        return hashlib.sha256(f"{self.COMMAND} {super().digest()}".encode()).hexdigest()[:16]

    def check(self) -> None:
        """InputError for an option whose value cannot be used."""
        super().check()
        if not self.objectives:
            raise InputError("there must be at least one", field="objectives")


FROM_CHECKPOINT = (
    *("text_encoder", "vision_encoder", "image_size", "max_text_length", "dropout"),
    "co_attention",
)
"""What a pretrained checkpoint brings along."""


def starting_from(plan: TrainPlan, checkpoint: str) -> TrainPlan:
    """The plan with a pretrained checkpoint, and without what that brings along."""
    own = {item.name: default_of(item) for item in fields(plan) if item.name in FROM_CHECKPOINT}
    return replace(plan, pretrained=checkpoint, learning_rate=plan.rate, **own)


def kind_of(encoder: str) -> str:
    """``small``, a timm name, or a text encoder's directory: what stands before the colon."""
    return encoder.partition(":")[0]


def _from_scratch(checkpoint: Path) -> bool:
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return bool(config.get("trained_on", {}).get("from_scratch"))
