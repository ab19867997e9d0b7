"""Small real models and inputs for tests: seconds to build, every part of the real thing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from backend.models.dual_stream.adapter import DualStream
from backend.models.dual_stream.model import FusionConfig, FusionModel
from backend.models.dual_stream.preprocess import Preprocessor, train_tokenizer

TASKS = (
    {"name": "irony", "kind": "binary", "classes": ["sincere", "ironic"]},
    {"name": "topics", "kind": "multilabel", "classes": ["a", "b", "c"]},
    {"name": "object", "kind": "multiclass", "classes": ["x", "y", "z", "w"]},
)


def tiny_config(
    text: Sequence[int] = (),
    vision: Sequence[int] = (),
    *,
    text_depth: int = 4,
    vision_depth: int = 4,
    text_width: int = 16,
    vision_width: int = 16,
) -> FusionConfig:
    return FusionConfig(
        text={
            "model_type": "bert",
            "vocab_size": 64,
            "hidden_size": text_width,
            "num_hidden_layers": text_depth,
            "num_attention_heads": 2,
            "intermediate_size": 2 * text_width,
            "max_position_embeddings": 32,
        },
        vision={
            "name": "vit_tiny_patch16_224",
            "options": {
                "img_size": 16,
                "patch_size": 8,
                "embed_dim": vision_width,
                "depth": vision_depth,
                "num_heads": 2,
                "mlp_ratio": 2.0,
            },
        },
        text_fusion_layers=text,
        vision_fusion_layers=vision,
        co_attention={"inner": 16, "heads": 2, "ff_ratio": 2.0},
        head={"width": 8},
        tasks=TASKS,
        image={"size": 16},
        max_text_length=32,
        trained_on={"seed": 0, "dataset": "macros", "model": "tiny"},
    )


def tiny_model(text: Sequence[int] = (), vision: Sequence[int] = (), **sizes: int) -> FusionModel:
    torch.manual_seed(0)
    return FusionModel(tiny_config(text, vision, **sizes)).eval()


def tiny_adapter(text: Sequence[int] = (), vision: Sequence[int] = ()) -> DualStream:
    """The tiny model with a tokenizer, as an adapter."""
    model = tiny_model(text, vision)
    tokenizer = train_tokenizer(["the cat and a dog on a red thing"], vocabulary=64)
    return DualStream(model, Preprocessor(tokenizer, model.config.image, 32), "tiny")


def tiny_batch(n: int = 6, length: int = 9) -> dict[str, torch.Tensor]:
    """Texts of different lengths, so that padding is always there."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(n, length, dtype=torch.long)
    for row in range(n):
        mask[row, 3 + row :] = 0
    ids = torch.randint(5, 60, (n, length), generator=generator) * mask
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "pixel_values": torch.randn(n, 3, 16, 16, generator=generator),
    }


def tiny_checkpoint(
    folder: Path, text: Sequence[int] = (2, 3), vision: Sequence[int] = (2, 3)
) -> Path:
    """A save_pretrained directory with a tokenizer, as training writes it."""
    model = tiny_model(text, vision)
    texts = ["best day ever me today the pizza and a cup", "i hate it the cat and a thing"]
    tokenizer = train_tokenizer(texts, vocabulary=64)
    model.save_pretrained(folder)
    Preprocessor(tokenizer, model.config.image, 32).save(folder)
    return folder
