"""A tiny Chinese CLIP."""

from __future__ import annotations

import torch
from transformers import (
    ChineseCLIPConfig,
    ChineseCLIPImageProcessor,
    ChineseCLIPModel,
    ChineseCLIPProcessor,
)

from backend.models.families.chinese_clip import ChineseClip
from tests.models.families.common import BERT_SPECIALS, Case, enlarged, samples, word_tokenizer


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "intermediate_size": 32}
    config = ChineseCLIPConfig(
        text_config={
            **sizes,
            "num_hidden_layers": 3,
            "hidden_size": 16,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 16,
        },
        vision_config={
            **sizes,
            "num_hidden_layers": 4,
            "hidden_size": 24,
            "image_size": 24,
            "patch_size": 8,
        },
        projection_dim=12,
    )
    images = ChineseCLIPImageProcessor(
        size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}
    )
    processor = ChineseCLIPProcessor(image_processor=images, tokenizer=tokenizer)
    adapter = ChineseClip(enlarged(ChineseCLIPModel(config)), processor, "tiny-chinese-clip")
    return Case(
        adapter,
        samples(),
        {"vision": "vision_model_output.hidden_states", "text": "text_model_output.hidden_states"},
    )
