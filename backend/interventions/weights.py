"""A trained model with the weights that it had before: all of them, or its fusion's alone."""

from __future__ import annotations

import json
from typing import Any, cast

import torch

from backend.data.base import PairSource
from backend.errors import InputError
from backend.interventions.table import Weights
from backend.models.adapter import Adapter
from backend.models.dual_stream.adapter import DualStream
from backend.models.dual_stream.model import FusionConfig, FusionModel


def with_weights(adapter: Adapter, weights: Weights, source: PairSource) -> Adapter:
    """The model of ``adapter`` with these weights, in evaluation mode, on the same device.

    ``trained`` is the adapter itself. ``fresh fusion`` keeps the trained encoders and draws the
    co-attention anew from the run's seed. ``untrained`` is the model before the first step: where
    both encoders were trained from scratch, all of it is drawn from the seed in the order of
    training, which with the same version of torch gives the very weights; else the checkpoint's
    training.json says which pretrained encoders (or which checkpoint) it began with, and
    ``source`` gives the texts for a tokenizer made for the data. InputError for a model of another
    family, and where what it began with is not known or not to be had.
    """
    if weights == "trained":
        return adapter
    where = f"model {adapter.name}"
    if not isinstance(adapter, DualStream):
        raise InputError("its weights before training are not known", where=where)
    if adapter.seed is None:
        raise InputError("its checkpoint does not say which seed it was trained with", where=where)
    config = cast(FusionConfig, adapter.model.config)
    device = next(adapter.module.parameters()).device
    with torch.random.fork_rng():
        torch.manual_seed(adapter.seed)
        if weights == "fresh fusion":
            encoders = adapter.model.text, adapter.model.vision
            model = FusionModel(config, *encoders)
        elif config.trained_on.get("from_scratch") and not _began_with(adapter):
            model = FusionModel(config)
        else:
            model = _from_recipe(adapter, source)
    made = DualStream(model.eval(), adapter.preprocessor, adapter.name)
    made.digest = adapter.digest
    return made.to(device)


def _began_with(adapter: DualStream) -> str:
    """The digest of the checkpoint that training began with; empty where there was none."""
    return str(adapter.model.config.trained_on.get("pretrained_digest", ""))


def _from_recipe(adapter: DualStream, source: PairSource) -> FusionModel:
    from backend.train.build import build, build_from
    from backend.train.recipe import TrainPlan

    where = f"model {adapter.name}"
    path = adapter.folder / "training.json" if adapter.folder is not None else None
    if path is None or not path.is_file():
        raise InputError(
            "which weights it began with is not known (its checkpoint has no training.json)",
            where=where,
        )
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["plan"]
        plan = TrainPlan(**{**said, "tasks": tuple(said.get("tasks", ()))})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError("training.json is broken", where=where) from error
    make = build_from if plan.pretrained else build
    model, _ = make(plan, source, adapter.tasks, adapter.seed or 0)
    if model.config.text_fusion_layers != adapter.model.config.text_fusion_layers:
        raise InputError("training.json is of another model", where=where)
    return model
