"""Our own fusion model, as capture sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from backend.errors import InputError
from backend.models.adapter import Adapter, HookPoint
from backend.models.encoders import PREFIX_TEXT, TextEncoder, VisionEncoder
from backend.models.fusion import FusionConfig, FusionModel
from backend.models.preprocess import Preprocessor, saved_tokenizer
from backend.types import LayerRef


class DualStream(Adapter):
    """A :class:`FusionModel` with its tokenizer and image transform."""

    family = FusionConfig.model_type

    def __init__(self, model: FusionModel, preprocessor: Preprocessor, name: str) -> None:
        self.model = model
        self.preprocessor = preprocessor
        self.name = name
        self.streams = model.streams
        self.placement = replace(model.placement, name=model.placement_name)
        self.seed = model.config.trained_on.get("seed")
        self.tasks = model.config.task_specs
        self.trained_on = str(model.config.trained_on.get("dataset", ""))

    @classmethod
    def load(cls, folder: str) -> DualStream:
        """Load a ``save_pretrained`` directory; InputError if it is not a whole one."""
        try:
            model = FusionModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise InputError(
                f"cannot be loaded ({reason})",
                where=f"checkpoint {folder}",
                hint="A checkpoint is a save_pretrained directory: config.json, model.safetensors.",
            ) from error
        config = model.config
        preprocessor = Preprocessor(saved_tokenizer(folder), config.image, config.max_text_length)
        name = config.trained_on.get("model") or Path(folder).name
        loaded = cls(model.eval(), preprocessor, name)
        loaded.digest = checkpoint_digest(Path(folder))
        return loaded

    @property
    def module(self) -> nn.Module:
        """The fusion model."""
        return self.model

    def points(self) -> dict[LayerRef, HookPoint]:
        """Embeddings, every block, and the co-attention's two outputs at each fusion layer."""
        model = self.model
        found: dict[LayerRef, HookPoint] = {}
        encoders: tuple[tuple[str, TextEncoder | VisionEncoder], ...] = (
            ("vision", model.vision),
            ("text", model.text),
        )
        for stream, encoder in encoders:
            found[LayerRef(stream, 0)] = HookPoint(encoder.embeddings, _whole)
            for k, block in enumerate(encoder.blocks, start=1):
                found[LayerRef(stream, k)] = HookPoint(block, _first)
        for fuse, (k_text, k_vision) in zip(model.co_attention, model.placement.pairs, strict=True):
            found[LayerRef("text", k_text, "fusion")] = HookPoint(fuse, _first)
            found[LayerRef("vision", k_vision, "fusion")] = HookPoint(fuse, _second)
        return {ref: found[ref] for stream in self.streams for ref in stream.sites}

    def batch(self, images: Sequence[Image.Image], texts: Sequence[str]) -> dict[str, Tensor]:
        """Token ids, attention mask, pixels."""
        return self.preprocessor.batch(images, texts)

    def counted(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor | int]:
        """Text: real tokens after the CLS. Vision: the patches."""
        mask = batch["attention_mask"].bool().clone()
        mask[:, :PREFIX_TEXT] = False
        return {"text": mask, "vision": self.model.vision.prefix}

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits of every task."""
        out = self.model(**batch)
        logits: dict[str, Tensor] = out.logits or {}
        return logits


def checkpoint_digest(folder: Path) -> str:
    """16 hex digits of a SHA-256 over a checkpoint's configuration and weights."""
    state = hashlib.sha256()
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        with path.open("rb") as file:
            state.update(hashlib.file_digest(file, "sha256").digest())
    return state.hexdigest()[:16]


def _whole(output: Any) -> Tensor:
    tokens: Tensor = output
    return tokens


def _first(output: Any) -> Tensor:
    tokens: Tensor = output[0] if isinstance(output, tuple) else output
    return tokens


def _second(output: Any) -> Tensor:
    tokens: Tensor = output[1]
    return tokens
