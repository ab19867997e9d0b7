"""The model of a recipe: its encoders, its fresh parts from the seed, its preprocessing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch

from backend.data.base import PairSource
from backend.errors import InputError
from backend.models.dual_stream import pretrained
from backend.models.dual_stream.adapter import DualStream
from backend.models.dual_stream.encoders import TextEncoder, VisionEncoder
from backend.models.dual_stream.model import FusionConfig, FusionModel
from backend.models.dual_stream.preprocess import Preprocessor, load_tokenizer, train_tokenizer
from backend.models.placement import parse_placement
from backend.models.registry import open_model
from backend.models.texts import special_ids
from backend.train.encoders import frozen_layers, small_text, small_vision
from backend.train.plan import identity
from backend.train.recipe import Recipe, TrainPlan, kind_of
from backend.types import TaskSpec

_SMALL_RATIO = 2
_TEXTS_FOR_VOCABULARY = 50_000


def build(
    recipe: Recipe,
    source: PairSource,
    tasks: tuple[TaskSpec, ...],
    seed: int,
) -> tuple[FusionModel, Preprocessor]:
    """The model with its fresh parts initialised from ``seed``, and its preprocessing."""
    torch.manual_seed(seed)
    tokenizer, text = _text(recipe, source)
    vision, vision_config, normalisation = _vision(recipe)
    pretrained.require_room(tokenizer, text, recipe.max_text_length, recipe.text_encoder)
    facts = text.check(_text_name(recipe))
    vision.check(_vision_name(recipe))
    placement = parse_placement(
        recipe.placement, text_depth=len(text.blocks), vision_depth=len(vision.blocks)
    )
    small = "small" in (kind_of(recipe.text_encoder), kind_of(recipe.vision_encoder))
    inner = {"inner": max(text.width, vision.width), "heads": 4, "ff_ratio": 2.0} if small else {}
    config = FusionConfig(
        text=pretrained.describe_text(text.model.config),
        vision=vision_config,
        text_fusion_layers=placement.text,
        vision_fusion_layers=placement.vision,
        co_attention={**inner, "dropout": recipe.dropout, **recipe.co_attention},
        head={**({"width": 128} if small else {}), **recipe.head},
        tasks=[{"name": t.name, "kind": t.kind, "classes": list(t.classes)} for t in tasks],
        image={"size": recipe.pixels, **normalisation},
        max_text_length=recipe.max_text_length,
        text_summary=pretrained.text_summary(facts.causal, tokenizer),
        special_tokens=special_ids(tokenizer),
        pad_texts=facts.mixes_padding,
        trained_on={
            "model": _name_of(recipe),
            "dataset": source.name,
            "seed": seed,
            "plan": recipe.digest(),
            **({"from_scratch": True} if recipe.from_scratch else {}),
            **_noted(text.notes + vision.notes),
        },
    )
    model = FusionModel(config, text, vision)
    _freeze(recipe, model)
    return model, Preprocessor(
        tokenizer, config.image, recipe.max_text_length, pad=facts.mixes_padding
    )


def build_from(
    plan: TrainPlan, source: PairSource, tasks: tuple[TaskSpec, ...], seed: int
) -> tuple[FusionModel, Preprocessor]:
    """The model of ``plan.pretrained`` with fresh heads from ``seed``, and its preprocessing.

    InputError for a checkpoint of another placement: its co-attention was trained elsewhere.
    """
    start = open_model(plan.pretrained, allow_partial_weights=plan.allow_partial_weights)
    if not isinstance(start, DualStream):
        raise InputError(
            f"{plan.pretrained} is a {start.family} model, not one of ours", field="pretrained"
        )
    old = start.model
    depths = {"text_depth": len(old.text.blocks), "vision_depth": len(old.vision.blocks)}
    placement = parse_placement(plan.placement, **depths)
    if placement.pairs != old.placement.pairs:
        raise InputError(
            f"{plan.pretrained} has placement {old.placement_name}, not {placement.name}",
            field="pretrained",
            hint="Pretrain this placement, or train the checkpoint's own.",
        )
    before = old.config.trained_on
    settings = {
        **{name: getattr(old.config, name) for name in ("text", "vision", "image")},
        **{name: getattr(old.config, name) for name in ("co_attention", "max_text_length")},
        **{name: getattr(old.config, name) for name in ("text_summary", "special_tokens")},
        "pad_texts": old.config.pad_texts,
        "text_fusion_layers": old.config.text_fusion_layers,
        "vision_fusion_layers": old.config.vision_fusion_layers,
        "head": {**old.config.head, **plan.head},
        "tasks": [{"name": t.name, "kind": t.kind, "classes": list(t.classes)} for t in tasks],
        "trained_on": {
            "model": before.get("model", ""),
            "dataset": source.name,
            "seed": seed,
            "plan": identity(plan),
            "pretrained_on": before.get("dataset", ""),
            "pretrained_digest": start.digest,
            **({"from_scratch": True} if before.get("from_scratch") else {}),
            **_noted(start.notes),
        },
    }
    torch.manual_seed(seed)
    model = FusionModel(FusionConfig(**settings), old.text, old.vision)
    model.co_attention.load_state_dict(old.co_attention.state_dict())
    model.train()
    _freeze(plan, model)
    return model, start.preprocessor


def _text(recipe: Recipe, source: PairSource) -> tuple[Any, TextEncoder]:
    if kind_of(recipe.text_encoder) != "small":
        encoder = pretrained.load_text(
            recipe.text_encoder, allow_partial_weights=recipe.allow_partial_weights
        )
        return load_tokenizer(recipe.text_encoder), encoder
    size = small_text(recipe)
    tokenizer = train_tokenizer(_texts(source))
    config = {
        "model_type": "bert",
        "vocab_size": len(tokenizer),
        "hidden_size": size["width"],
        "num_hidden_layers": size["depth"],
        "num_attention_heads": size["heads"],
        "intermediate_size": _SMALL_RATIO * size["width"],
        "max_position_embeddings": recipe.max_text_length,
        "type_vocab_size": 1,
        "pad_token_id": tokenizer.pad_token_id,
        "hidden_dropout_prob": recipe.dropout,
        "attention_probs_dropout_prob": recipe.dropout,
    }
    return tokenizer, pretrained.build_text(config)


def _noted(notes: tuple[str, ...]) -> dict[str, list[str]]:
    """What was taken although it is not whole, as a checkpoint records it."""
    return {"notes": list(notes)} if notes else {}


def _texts(source: PairSource) -> Iterator[str]:
    for record in source.records("train", _TEXTS_FOR_VOCABULARY):
        yield record.text


def _vision(recipe: Recipe) -> tuple[VisionEncoder, dict[str, Any], dict[str, Any]]:
    name, _, weights = recipe.vision_encoder.partition(":")
    if name == "small":
        size = small_vision(recipe)
        options = {
            "img_size": recipe.pixels,
            "patch_size": size["patch"],
            "embed_dim": size["width"],
            "depth": size["depth"],
            "num_heads": size["heads"],
            "mlp_ratio": float(_SMALL_RATIO),
            "proj_drop_rate": recipe.dropout,
        }
        base = "vit_tiny_patch16_224"
        described = {"name": base, "options": options}
        return pretrained.build_vision(base, options), described, {}
    options = {"img_size": recipe.pixels}
    vision = pretrained.load_vision(
        name,
        options,
        Path(weights) if weights else None,
        allow_partial_weights=recipe.allow_partial_weights,
    )
    card = cast(dict[str, Any], vision.model.pretrained_cfg)
    normalisation = {"mean": list(card["mean"]), "std": list(card["std"])}
    return vision, {"name": name, "options": options}, normalisation


def _name_of(recipe: Recipe) -> str:
    return f"{_text_name(recipe)} + {_vision_name(recipe)}"


def _text_name(recipe: Recipe) -> str:
    """``bert-12x48``, ``minilm_l6``: an encoder for people, without its folders."""
    if kind_of(recipe.text_encoder) != "small":
        return Path(kind_of(recipe.text_encoder)).name
    size = small_text(recipe)
    return f"bert-{size['depth']}x{size['width']}"


def _vision_name(recipe: Recipe) -> str:
    if kind_of(recipe.vision_encoder) != "small":
        return Path(kind_of(recipe.vision_encoder)).name
    size = small_vision(recipe)
    return f"vit-{size['depth']}x{size['width']}"


def _freeze(recipe: Recipe, model: FusionModel) -> None:
    text, vision = frozen_layers(recipe.freeze, len(model.text.blocks), len(model.vision.blocks))
    if (text, vision) != (-1, -1):
        model.freeze(text, vision)
