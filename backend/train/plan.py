"""What is trained: the options of one `fusionscope train`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from backend.data.base import PairSource
from backend.errors import InputError
from backend.models.dual_stream.model import FusionConfig
from backend.models.loading import checkpoint_digest
from backend.models.placement import Placement, parse_placement
from backend.train.alignment import cka_layers
from backend.train.recipe import (
    FRESH_RATE,
    PRETRAINED_RATE,
    Recipe,
    encoder_depths,
    frozen_layers,
    require_one_of,
)
from backend.types import TaskSpec


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

    tasks: tuple[str, ...] = ()
    patience: int = 3
    class_weights: str = "balanced"
    cka_loss: float = 0.0
    cka_layers: str = ""
    pretrained: str = ""

    @property
    def rate(self) -> float:
        """The peak learning rate; by default that of the checkpoint's encoders, if there is one."""
        if self.learning_rate is None and self.pretrained:
            return FRESH_RATE if _from_scratch(Path(self.pretrained)) else PRETRAINED_RATE
        return super().rate

    def check(self) -> None:
        """InputError for an option whose value is not one of the known ones."""
        super().check()
        require_one_of("class-weights", self.class_weights, ("balanced", "none"))
        if self.cka_loss < 0:
            raise InputError("a negative weight would drive the streams apart", where="--cka-loss")
        if self.cka_layers and not self.cka_loss:
            raise InputError("has no effect without --cka-loss", where="--cka-layers")
        if self.pretrained:
            if not (Path(self.pretrained) / "config.json").is_file():
                raise InputError(
                    "is not a checkpoint (it has no config.json)",
                    where=f"--pretrained {self.pretrained}",
                )
            for item in fields(self):
                if item.name in FROM_CHECKPOINT and getattr(self, item.name) != _default(item):
                    raise InputError(
                        "is the checkpoint's own where training starts from one",
                        where=f"--{item.name.replace('_', '-')}",
                        hint="Leave it out, or leave out --pretrained.",
                    )


FROM_CHECKPOINT = (
    *("text_encoder", "vision_encoder", "image_size", "max_text_length", "dropout"),
    "co_attention",
)
"""What a pretrained checkpoint brings along."""


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def starting_from(plan: TrainPlan, checkpoint: str) -> TrainPlan:
    """The plan with a pretrained checkpoint, and without what that brings along."""
    own = {item.name: _default(item) for item in fields(plan) if item.name in FROM_CHECKPOINT}
    return replace(plan, pretrained=checkpoint, learning_rate=plan.rate, **own)


def _from_scratch(checkpoint: Path) -> bool:
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return bool(config.get("trained_on", {}).get("from_scratch"))


def identity(plan: TrainPlan) -> str:
    """A digest of the plan and of the weights that it starts from, wherever these lie."""
    if not plan.pretrained:
        return plan.digest()
    start = checkpoint_digest(Path(plan.pretrained))
    own = replace(plan, pretrained="").digest()
    return hashlib.sha256(f"{own} {start}".encode()).hexdigest()[:16]


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


def check_plan(plan: TrainPlan) -> Placement:
    """The placement, if plan and encoders fit together as far as can be said without the data.

    InputError otherwise: for an unknown value, a placement, frozen layers or layers of the CKA loss
    that the encoders do not have, and encoders that are not there.
    """
    plan.check()
    sizes = FusionConfig()
    _check_numbers("co-attention", plan.co_attention, sizes.co_attention)
    _check_numbers("head", plan.head, sizes.head)
    text, vision = encoder_depths(plan)
    placement = parse_placement(plan.placement, text_depth=text, vision_depth=vision)
    frozen_layers(plan.freeze, text, vision)
    if plan.cka_loss:
        cka_layers(plan.cka_layers, placement, (text, vision))
    return placement


def _check_numbers(option: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """InputError for a size that the model does not have, or that is not of its kind."""
    for name, value in given.items():
        if name not in known:
            hint = f"Known: {', '.join(known)}."
            raise InputError(f"unknown key {name!r}", where=f"--{option}", hint=hint)
        truth = isinstance(known[name], bool)
        if not isinstance(value, bool if truth else int | float) or isinstance(value, bool) > truth:
            kind = "true or false" if truth else "a number"
            raise InputError(f"{name}: {value!r} is not {kind}", where=f"--{option}")
