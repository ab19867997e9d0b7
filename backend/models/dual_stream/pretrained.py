"""The encoders of a fusion model by name: a directory, hub id, timm name or configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from backend.errors import InputError
from backend.models.dual_stream.encoders import TextEncoder, VisionEncoder
from backend.models.hub import require_hub
from backend.models.loading import open_checkpoint


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


def load_text(name: str) -> TextEncoder:
    """A pretrained text encoder from a directory or the hub, in float32 whatever is stored.

    InputError names weights that are missing, of another shape, broken or cut short.
    """
    try:
        checkpoint = open_checkpoint(name)
        model_class = _encoder_class(checkpoint.model_type)
        return TextEncoder(checkpoint.weights(model_class, ignored_keys=_HEADS))
    except InputError as error:
        raise error.within(f"text encoder {name}") from error


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
    if not Path(name).is_dir():
        require_hub("text encoder", name, "config.json")
    try:
        return int(AutoConfig.from_pretrained(name, trust_remote_code=False).num_hidden_layers)
    except (OSError, ValueError, AttributeError) as error:
        raise unreachable("text encoder", name, error) from error


def vision_depth(name: str) -> int:
    """The number of blocks of timm's ViT; nothing is allocated or loaded."""
    with torch.device("meta"):
        return len(_vision(name, {}, pretrained=False, file=None).blocks)


def build_vision(name: str, options: Mapping[str, Any]) -> VisionEncoder:
    """A ViT with fresh weights: a timm name and its constructor's options."""
    return _vision(name, dict(options), pretrained=False, file=None)


def load_vision(name: str, options: Mapping[str, Any], weights: Path | None) -> VisionEncoder:
    """A pretrained ViT: weights from a safetensors file, or from the hub when ``weights`` is None.

    Position embeddings are resampled by timm when ``img_size`` differs from the weights'.
    """
    vision_depth(name)  # refuses what is no ViT before anything is loaded
    if weights is None:
        known = timm.get_pretrained_cfg(name)
        repository = (known and known.hf_hub_id) or name
        require_hub("vision encoder", repository, "model.safetensors")
    else:
        check_weights(weights)
    return _vision(name, dict(options), pretrained=True, file=weights)


def check_weights(file: Path) -> None:
    """InputError unless it is a safetensors file; its tensors are not read."""
    where = f"vision weights {file}"
    if not file.is_file():
        raise InputError("no such file", where=where)
    if file.suffix != ".safetensors":
        raise InputError("weights are read from safetensors files only", where=where)
    try:
        with safe_open(file, "pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot be read ({error})", where=where) from error


def _vision(
    name: str, options: dict[str, Any], *, pretrained: bool, file: Path | None
) -> VisionEncoder:
    if not timm.is_model(name.split(".")[0]):
        raise InputError(
            f"timm has no model {name!r}",
            where="vision encoder",
            hint="`python -c \"import timm; print(timm.list_models('vit*'))\"` lists them.",
        )
    overlay = {"file": str(file)} if file is not None else None
    try:
        model = timm.create_model(
            name,
            pretrained=pretrained,
            pretrained_cfg_overlay=overlay,
            num_classes=0,
            **options,
        )
    except (OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise unreachable("vision encoder", name if file is None else str(file), error) from error
    return VisionEncoder(model, name)


def unreachable(what: str, name: str, error: Exception) -> InputError:
    """One line for an encoder that cannot be had: a dead hub, a wrong folder, wrong weights."""
    reason = (
        str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    )
    return InputError(
        f"cannot be loaded ({reason})",
        where=f"{what} {name}",
        hint="Give a local directory or file, or check that the model hub can be reached.",
    )


def describe_text(config: PreTrainedConfig) -> dict[str, Any]:
    """The configuration as plain values, enough to build the same encoder again."""
    plain = config.to_dict()
    for transient in ("_name_or_path", "transformers_version", "architectures", "dtype"):
        plain.pop(transient, None)
    return {**plain, "model_type": config.model_type}
