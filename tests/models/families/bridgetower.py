"""A tiny BridgeTower: towers of four blocks, of which the last two feed three cross-modal ones."""

from __future__ import annotations

import torch
from transformers import (
    BridgeTowerConfig,
    BridgeTowerImageProcessor,
    BridgeTowerModel,
    BridgeTowerProcessor,
)

from backend.models.families.bridgetower import BridgeTower
from tests.models.families.common import BERT_SPECIALS, Case, enlarged, samples, word_tokenizer


def tiny(bridge: str = "add") -> Case:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)
    config = BridgeTowerConfig(
        vision_config={
            "hidden_size": 64,  # the tower has a head for every 64
            "num_hidden_layers": 4,
            "image_size": 24,
            "patch_size": 8,
        },
        text_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 32,
            "pad_token_id": tokenizer.pad_token_id,
        },
        hidden_size=16,
        num_attention_heads=2,
        num_hidden_layers=3,
        link_tower_type=bridge,
    )
    images = BridgeTowerImageProcessor(
        size={"shortest_edge": 24}, crop_size={"shortest_edge": 24}, size_divisor=8
    )
    model = enlarged(BridgeTowerModel(config))
    adapter = BridgeTower(model, BridgeTowerProcessor(images, tokenizer), "tiny-bridgetower")
    return Case(adapter, samples(), {"text": "hidden_states.0"})
