"""A tiny Qwen2.5-VL: windows of two squares, full attention in the last block of the tower."""

from __future__ import annotations

from backend.models.families.qwen_vl import Qwen25VL
from tests.models.families.common import Case
from tests.models.families.qwen2_vl import qwen


def tiny() -> Case:
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "out_hidden_size": 16,
        "intermediate_size": 48,
        "num_heads": 2,
        "window_size": 32,
        "fullatt_block_indexes": [2],
    }
    return qwen("Qwen2_5_VL", Qwen25VL, vision)
