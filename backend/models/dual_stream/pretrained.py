"""The encoders of a fusion model by name: a directory, hub id, timm name or configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from backend.errors import InputError
from backend.models.configs import read_config, without_execution
from backend.models.dual_stream.encoders import Summary, TextEncoder, VisionEncoder
from backend.models.dual_stream.vision_weights import hub_weights, made_vision, read_vision
from backend.models.hub import hub_folder
from backend.models.loading import guarded, open_checkpoint


def build_text(config: Mapping[str, Any]) -> TextEncoder:
    """A text encoder with fresh weights from a ``transformers`` configuration."""
    settings = {k: v for k, v in config.items() if k != "model_type"}
    return TextEncoder(
        AutoModel.from_config(AutoConfig.for_model(config["model_type"], **settings))
    )


_HEADS = (
    r"(^|\.)pooler\.",
    r"^(cls|lm_head|classifier|pre_classifier|qa_outputs|score|head|mlm_head|heads?)\.",
    r"^(predictions|discriminator_predictions|generator_predictions|generator_lm_head)\.",
    r"^vocab_(transform|layer_norm|projector)\.",
    r"^decoder\.(weight|bias)$",
    r"position_ids$",
)
"""Tensors beside an encoder that are no part of any layer: poolers, and heads of other tasks."""


def load_text(name: str, *, allow_partial_weights: bool = False) -> TextEncoder:
    """A pretrained text encoder from a directory or the hub, in float32 whatever is stored.

    InputError names weights that are missing, of another shape, broken or cut short;
    ``allow_partial_weights`` takes them all the same and says so in the encoder's ``notes``.
    """
    try:
        checkpoint = open_checkpoint(name, allow_partial_weights=allow_partial_weights)
        model_class = _encoder_class(checkpoint.model_type)
        encoder = TextEncoder(checkpoint.weights(model_class, ignored_keys=_HEADS))
    except InputError as error:
        raise error.within(f"text encoder {name}") from error
    encoder.notes = tuple(f"Text encoder: {note}" for note in checkpoint.notes)
    return encoder


def _encoder_class(model_type: str) -> type[PreTrainedModel]:
    """The class of transformers that AutoModel takes for a model type."""
    try:
        made: Any = MODEL_MAPPING[type(AutoConfig.for_model(model_type))]
    except (ValueError, KeyError) as error:
        raise InputError(f"transformers has no encoder of type {model_type!r}") from error
    first: type[PreTrainedModel] = made[0] if isinstance(made, tuple) else made
    return first


def text_depth(name: str) -> int:
    """The number of blocks of a pretrained text encoder, from its configuration alone."""
    where = f"text encoder {name}"
    folder = Path(name) if Path(name).is_dir() else hub_folder("text encoder", name)
    config = read_config(folder, name)

    def depth() -> int:
        return int(AutoConfig.for_model(**without_execution(config)).num_hidden_layers)

    return int(guarded(where, "config.json does not describe a text encoder", depth))


def vision_depth(name: str) -> int:
    """The number of blocks of timm's ViT; nothing is allocated or loaded."""
    with torch.device("meta"):
        return len(build_vision(name, {}).blocks)


def build_vision(name: str, options: Mapping[str, Any]) -> VisionEncoder:
    """A ViT with fresh weights: a timm name and its constructor's options."""
    return VisionEncoder(made_vision(name, options), name)


def load_vision(
    name: str,
    options: Mapping[str, Any],
    weights: Path | None,
    *,
    allow_partial_weights: bool = False,
) -> VisionEncoder:
    """A pretrained ViT: weights from a safetensors file, or from the hub when ``weights`` is None.

    Position embeddings are resampled by timm when ``img_size`` differs from the weights'.
    InputError names weights that are not those of this model; ``allow_partial_weights`` takes them
    all the same and says so in the encoder's ``notes``.
    """
    vision_depth(name)  # refuses what is no ViT before anything is loaded
    file = weights or hub_weights(name)
    where = f"vision weights {file}"
    model, notes = read_vision(name, options, file, where, allow=allow_partial_weights)
    encoder = VisionEncoder(model, name)
    encoder.notes = tuple(f"Vision encoder: {note}" for note in notes)
    return encoder


def text_summary(causal: bool, tokenizer: PreTrainedTokenizerBase) -> Summary:
    """By which token texts are read: the last of a causal encoder, else CLS if there is one."""
    if causal:
        return "last"
    return "mean" if tokenizer.cls_token_id is None else "first"


def require_room(
    tokenizer: PreTrainedTokenizerBase, encoder: TextEncoder, length: int, name: str
) -> None:
    """InputError where the encoder has no vector for a token, or for a position below ``length``.

    ``name`` is what to call the encoder.
    """
    where = f"text encoder {name}"
    words = int(encoder.model.config.vocab_size)
    if len(tokenizer) > words:
        raise InputError(
            f"its tokenizer has {len(tokenizer):,} tokens, its weights know {words:,}",
            where=where,
            hint="Use the tokenizer that the weights were trained with.",
        )
    positions = text_positions(encoder)
    if positions and length > positions:
        raise InputError(
            f"texts of {length} tokens are more than the {positions} that it takes",
            where=where,
            field="max_text_length",
            hint=f"Use {positions}.",
        )


def text_positions(encoder: TextEncoder) -> int | None:
    """The most tokens that an encoder has positions for; None where it has no such limit.

    RoBERTa and its kin leave out those up to the padding's.
    """
    positions = getattr(encoder.model.config, "max_position_embeddings", None)
    if not positions:
        return None
    table = getattr(getattr(encoder.model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return int(positions) - (0 if padding is None else padding + 1)


def describe_text(config: PreTrainedConfig) -> dict[str, Any]:
    """The configuration as plain values, enough to build the same encoder again."""
    plain = config.to_dict()
    for transient in ("_name_or_path", "transformers_version", "architectures", "dtype"):
        plain.pop(transient, None)
    return {**plain, "model_type": config.model_type}
