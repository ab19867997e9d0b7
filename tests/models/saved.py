"""Tiny random models as checkpoint directories."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from tests.models.families.common import Case


def tiny(family: str) -> Case:
    """The tiny model of tests/models/families/<family>.py."""
    case: Case = import_module(f"tests.models.families.{family}").tiny()
    return case


def save_tiny(folder: Path, family: str = "clip", **saving: Any) -> Path:
    """Write its weights (``saving`` goes to save_pretrained) and its processor."""
    adapter: Any = tiny(family).adapter
    adapter.model.save_pretrained(folder, **saving)
    if hasattr(adapter, "preprocessor"):
        adapter.preprocessor.save(folder)
    else:
        adapter.processor.save_pretrained(folder)
    return folder
