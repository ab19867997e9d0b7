"""Tiny random models as checkpoint directories."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from backend.models.denoisers.adapter import Denoiser
from backend.models.denoisers.parts import diffusers_class
from tests.models.families.common import Case


def tiny(family: str) -> Case:
    """The tiny model of tests/models/families/<family>.py."""
    case: Case = import_module(f"tests.models.families.{family}").tiny()
    return case


def save_tiny(folder: Path, family: str = "clip", **saving: Any) -> Path:
    """Write its weights (``saving`` goes to save_pretrained) and its processor."""
    adapter: Any = tiny(family).adapter
    if isinstance(adapter, Denoiser):
        return save_pipeline(adapter, folder)
    adapter.model.save_pretrained(folder, **saving)
    if hasattr(adapter, "preprocessor"):
        adapter.preprocessor.save(folder)
    else:
        adapter.processor.save_pretrained(folder)
    return folder


def save_pipeline(adapter: Denoiser, folder: Path) -> Path:
    """As the pipeline's own class of diffusers writes it."""
    left = {name for pair in adapter.dispensable.items() for name in pair}
    parts: dict[str, Any] = {**dict.fromkeys(left), **dict(adapter.parts.items())}
    parts |= {**adapter.tokenizers, "scheduler": adapter.schedule}
    if adapter.part == "unet":
        parts |= {"safety_checker": None, "feature_extractor": None}
    pipeline = diffusers_class(adapter.family)(**parts)
    pipeline.save_pretrained(folder)
    return folder
