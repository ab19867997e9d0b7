"""A tiny Qwen3-VL: layers 1 and 2 of the tower are added between blocks of the language model."""

from __future__ import annotations

from dataclasses import replace

from backend.models.families.qwen_vl import Qwen3VL
from tests.models.families.common import Case
from tests.models.families.qwen2_vl import qwen


def tiny() -> Case:
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "out_hidden_size": 16,
        "intermediate_size": 48,
        "num_heads": 2,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 1],
    }
    return replace(qwen("Qwen3VL", Qwen3VL, vision))
