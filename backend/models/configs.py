"""A checkpoint's JSON files: read within bounds, without what would lead elsewhere or run code.

Every number by which something is multiplied is bounded, by the weights that are there where they
say something about it: nothing is built, and nobody is asked, before that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backend.errors import InputError, first_line
from backend.models.weights import CONFIG, card_of, require_plain

MAX_CONFIG_BYTES = 16 * 2**20
MOST_PIXELS = 8192  # the side of an image that a model may ask for

_HOW_TO_RUN = frozenset(
    {
        "auto_map",
        "custom_pipelines",
        "custom_generate",
        "experts_implementation",
        "_experts_implementation",
        "_experts_implementation_internal",
        "fusion_config",
        "distributed_config",
        "transformers_weights",
        "trust_remote_code",
        "_attn_implementation_internal",
        "_attn_implementation_autoset",
        "name_or_path",
        "_name_or_path",
    }
)
"""Entries that say by whose code or from which files to run a model, not what it is: left out."""

_ATTENTION = ("attn_implementation", "_attn_implementation")
_ATTENTION_HERE = ("eager", "sdpa", None)  # any other name may be a kernel on the hub

_ELSEWHERE = ("checkpoint_path", "pretrained_cfg_overlay", "base_model_name_or_path")
"""Entries from which a part of the model would be read: timm's and those of adapters."""
_TIMM_NAMES = ("architecture", "backbone")
_TIMM_TYPES = ("timm_wrapper", "timm_backbone")
_BACKBONE = ("backbone", "use_timm_backbone", "use_pretrained_backbone", "backbone_kwargs")
"""Of other models, transformers asks the hub about these."""

_LAYER_COUNT = re.compile(r"(layers?|depths?|blocks|stages|experts)$")
_IMAGE_SIDE = re.compile(r"(^|_)(image|img|input|patch|window|crop)_size$")
_FEW = 1024  # more layers than this must have weights
_MOST_LABELS = 2**16


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """What config.json of a checkpoint directory says, or a pipeline's model_index.json.

    It has a ``model_type``, which of what diffusers writes is the name of the class.
    """
    where = f"model {name}"
    path = card_of(folder)
    if not path.is_file():
        raise InputError(
            f"is not a checkpoint directory (no {CONFIG} in it)",
            where=where,
            hint="Give a directory that `fusionscope train` or save_pretrained wrote, or a hub id.",
        )
    require_plain(folder, where)
    config = read_json(path, where)
    if "_class_name" in config:
        config.setdefault("model_type", config["_class_name"])
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{path.name} has no model_type", where=where)
    return config


def read_json(path: Path, where: str, most_bytes: int = MAX_CONFIG_BYTES) -> dict[str, Any]:
    """A mapping of at most ``most_bytes``; InputError for anything else."""
    try:
        if path.stat().st_size > most_bytes:
            raise InputError(f"{path.name} is larger than a configuration can be", where=where)
        read = json.loads(path.read_text(encoding="utf-8"))
    except InputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path.name} is broken ({first_line(error)})", where=where) from error
    if not isinstance(read, dict):
        raise InputError(f"{path.name} is broken (not a mapping)", where=where)
    return read


def without_execution(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what says how to run the model, in all its parts.

    Of attention implementations only those of torch and transformers themselves stay.
    """
    cleaned: dict[str, Any] = {}
    for key, value in config.items():
        if key in _HOW_TO_RUN or (key in _ATTENTION and not _is_here(value)):
            continue
        cleaned[key] = without_execution(value) if isinstance(value, dict) else value
    return cleaned


def check_config(config: Mapping[str, Any], tensors: int, where: str) -> None:
    """InputError for what is not opened, leads elsewhere, or asks for more than there can be.

    ``tensors`` is how many the weights hold.
    """
    for part in parts(config):
        for key, value in part.items():
            if key == "quantization_config" and value:
                raise InputError(
                    "quantized weights are not opened",
                    where=where,
                    hint="Take the model they were made from.",
                )
            if _leads_elsewhere(part, key, value):
                raise InputError(
                    f"{CONFIG} takes a part of the model from elsewhere ({key}: "
                    f"{str(value)[:80]!r})",
                    where=where,
                    hint="A model is opened from the files of its own directory only.",
                )
            _check_count(key, value, tensors, where)


def _is_here(value: object) -> bool:
    return value is None or (isinstance(value, str) and value in _ATTENTION_HERE)


def _leads_elsewhere(part: Mapping[str, Any], key: str, value: object) -> bool:
    if value is None or value is False:
        return False
    if key in _ELSEWHERE:
        return bool(value)
    timm = part.get("model_type") in _TIMM_TYPES
    if key in _BACKBONE and not timm and "model_type" in part:
        return True
    named = key in _TIMM_NAMES and isinstance(value, str)
    return named and (":" in str(value) or "/" in str(value))


def _check_count(key: str, value: object, tensors: int, where: str) -> None:
    """Every whole number by which modules, labels or pixels are multiplied."""
    if _LAYER_COUNT.search(key):
        most, instead = max(_FEW, tensors), f"the weights hold {tensors:,} tensors"
    elif _IMAGE_SIDE.search(key):
        most, instead = MOST_PIXELS, f"at most {MOST_PIXELS:,} are taken"
    elif key == "num_labels":
        most, instead = _MOST_LABELS, f"the weights hold {tensors:,} tensors"
    else:
        return
    values = list(value.values()) if isinstance(value, dict) else value
    for count in values if isinstance(values, list) else [values]:
        if isinstance(count, int | float) and count > most:
            asked = f"{int(min(count, 10**18)):,}"
            raise InputError(f"{CONFIG} asks for {key} = {asked}, {instead}", where=where)


def parts(config: Any) -> Iterator[Mapping[str, Any]]:
    """A configuration and every mapping inside it, however deep."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
