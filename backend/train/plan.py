"""Whether a plan can be trained: its encoders, its placement, its data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.data.base import PairSource
from backend.data.labels import parse_kinds
from backend.data.splits import usual
from backend.errors import InputError
from backend.models.dual_stream.model import FusionConfig
from backend.models.loading import checkpoint_digest
from backend.models.placement import Placement, parse_placement
from backend.train.alignment import cka_layers
from backend.train.encoders import encoder_depths, frozen_layers
from backend.train.recipe import PretrainPlan, TrainPlan
from backend.types import Label, TaskSpec


def identity(plan: TrainPlan) -> str:
    """A digest of the plan and of the weights that it starts from, wherever these lie."""
    if not plan.pretrained:
        return plan.digest()
    start = checkpoint_digest(Path(plan.pretrained))
    own = replace(plan, pretrained="").digest()
    return hashlib.sha256(f"{own} {start}".encode()).hexdigest()[:16]


def chosen_tasks(plan: TrainPlan, source: PairSource) -> tuple[TaskSpec, ...]:
    """The tasks to train: those named, or all of the dataset's.

    A name may say of which kind its labels are: ``mood=multiclass``, ``mood=binary:sad``. Raises
    InputError where there is nothing to train on.
    """
    where = f"data {plan.data}"
    kinds = parse_kinds(plan.tasks)
    for name, (kind, positive) in kinds.items():
        if kind is not None:
            source.declare(name, kind, positive)
    for name in kinds or source.tasks or source.refused:
        if name in source.refused:
            problem = f"the labels of {name!r} cannot be trained: it {source.refused[name]}"
            raise InputError(problem, where=where, field="tasks")
    offered = source.tasks
    if not offered:
        raise InputError(
            "has no labels to train on",
            where=where,
            hint="In a folder, a task is a column named label or label_<task>.",
        )
    for name in kinds:
        if name not in offered:
            raise InputError(
                f"no task {name!r}",
                where=where,
                field="tasks",
                hint=f"It has: {', '.join(offered)}.",
            )
    _require_splits(source, where)
    return tuple(offered[name] for name in (kinds or offered))


def require_classes(task: TaskSpec, labels: Iterable[Label], split: str, where: str) -> None:
    """InputError for a split in which a task has no labels, or only one class."""
    present = {label for label in labels if label is not None}
    if not present:
        raise InputError(
            f"split {split!r} has no labels for task {task.name!r}",
            where=where,
            field="tasks",
            hint="Choose another task or check the label column.",
        )
    if len(present) == 1:
        (label,) = present
        several = label if isinstance(label, tuple) else (label,)
        shown = ", ".join(task.classes[index] for index in several) or "none of them"
        raise InputError(
            f"all labels for task {task.name!r} in split {split!r} are {shown!r}: nothing can be "
            "learned or scored",
            where=where,
            field="tasks",
            hint="Choose another task or another split of the samples.",
        )


def _require_splits(source: PairSource, where: str) -> None:
    """InputError for a data set without a split to train on or to choose the epoch by."""
    there = source.splits()
    for name in ("train", "dev"):
        if not any(usual(split) == name for split in there):
            raise InputError(
                f"cannot be trained: it has no {name} split, only {', '.join(there)}",
                where=where,
                hint="It can be captured with a checkpoint that is there already.",
            )


def check_plan(plan: TrainPlan) -> Placement:
    """The placement, if plan and encoders fit together as far as can be said without the data.

    InputError otherwise: for an unknown value, a placement, frozen layers or layers of the CKA loss
    that the encoders do not have, and encoders that are not there.
    """
    plan.check()
    sizes = FusionConfig()
    _check_numbers("co_attention", plan.co_attention, sizes.co_attention)
    _check_numbers("head", plan.head, sizes.head)
    text, vision = encoder_depths(plan)
    placement = parse_placement(plan.placement, text_depth=text, vision_depth=vision)
    frozen_layers(plan.freeze, text, vision)
    if plan.cka_loss:
        cka_layers(plan.cka_layers, placement, (text, vision))
    return placement


def check_pretraining(plan: PretrainPlan) -> Placement:
    """The placement, if plan and encoders fit together as far as can be said without the data."""
    plan.check()
    text, vision = encoder_depths(plan)
    frozen_layers(plan.freeze, text, vision)
    return parse_placement(plan.placement, text_depth=text, vision_depth=vision)


def _check_numbers(field: str, given: Mapping[str, Any], sizes: Mapping[str, Any]) -> None:
    """InputError for a size that the model does not have, or that is not of its kind."""
    for name, value in given.items():
        if name not in sizes:
            hint = f"There are: {', '.join(sizes)}."
            raise InputError(f"unknown key {name!r}", field=field, hint=hint)
        truth = isinstance(sizes[name], bool)
        if not isinstance(value, bool if truth else int | float) or isinstance(value, bool) > truth:
            kind = "true or false" if truth else "a number"
            raise InputError(f"{name}: {value!r} is not {kind}", field=field)
