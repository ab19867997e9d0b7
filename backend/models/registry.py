"""Which family a checkpoint is of, and who loads it: one line a family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from backend.errors import InputError
from backend.models.adapter import Adapter
from backend.models.dual_stream import DualStream
from backend.models.fusion import FusionConfig

FAMILIES: dict[str, Callable[[str], Adapter]] = {
    FusionConfig.model_type: DualStream.load,
}


def load_model(name: str) -> Adapter:
    """Load a checkpoint directory by the ``model_type`` in its config.json.

    Raises InputError when there is none, it is not readable, or its family is not known.
    """
    where = f"model {name}"
    config = Path(name) / "config.json"
    if not config.is_file():
        raise InputError(
            "is not a checkpoint directory (no config.json in it)",
            where=where,
            hint="Give a directory that `fusionscope train` or save_pretrained wrote.",
        )
    try:
        family = json.loads(config.read_text(encoding="utf-8"))["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("config.json is broken or has no model_type", where=where) from error
    if family not in FAMILIES:
        raise InputError(
            f"models of type {family!r} are not supported",
            where=where,
            hint=f"Supported: {', '.join(FAMILIES)}.",
        )
    return FAMILIES[family](name)
