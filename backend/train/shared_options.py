"""Options that every training has, whatever it trains: their words and ranges, said once."""

from __future__ import annotations

from typing import Any

from backend.settings import setting
from backend.words import DATA_SPEC

_SHARE = {"at_least": 0, "at_most": 1}
_PRECISIONS = ("auto", "no", "bf16", "fp16")
_SAVED = ("float32", "float16")
_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "data": (DATA_SPEC, {}),
    "epochs": ("Times through the training samples.", {"at_least": 1}),
    "batch_size": ("Samples a batch.", {"at_least": 1}),
    "accumulate": ("Batches for one optimiser step.", {"at_least": 1}),
    "weight_decay": ("Of AdamW.", {"at_least": 0}),
    "warmup": ("Share of the steps in which the rate rises.", _SHARE),
    "final_rate": ("Share of the rate that is left at the end.", _SHARE),
    "limit": ("Training samples.", {"at_least": 1}),
    "precision": ("auto, no, bf16 or fp16.", {"choices": _PRECISIONS}),
    "saved_precision": (
        "Of the checkpoint's weights: float32 or float16.",
        {"choices": _SAVED},
    ),
    "device": ("auto, cuda, mps or cpu.", {}),
    "allow_partial_weights": (
        "Take models whose weights are not whole: what is missing is random.",
        {},
    ),
}


def of_training(name: str, default: Any) -> Any:
    """The field of the option ``name``; only its default is a training's own."""
    help, rules = _OPTIONS[name]
    return setting(default, help, **rules)
