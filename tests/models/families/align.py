"""A tiny ALIGN: five blocks of convolutions, maps of 32 to 2 cells a side."""

from __future__ import annotations

import torch
from transformers import (
    AlignConfig,
    AlignModel,
    AlignProcessor,
    EfficientNetImageProcessor,
)

from backend.models.families.align import Align
from tests.models.families.common import BERT_SPECIALS, Case, enlarged, samples, word_tokenizer


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)
    config = AlignConfig(
        vision_config={
            "image_size": 64,
            "width_coefficient": 1.0,
            "depth_coefficient": 1.0,
            "kernel_sizes": [3, 3, 5, 3],
            "in_channels": [32, 16, 16, 24],
            "out_channels": [16, 16, 24, 24],
            "strides": [2, 2, 2, 2],
            "num_block_repeats": [1, 2, 1, 1],
            "expand_ratios": [1, 2, 2, 2],
            "hidden_dim": 24,
        },
        text_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 32,
            "pad_token_id": tokenizer.pad_token_id,
        },
        projection_dim=24,
    )
    images = EfficientNetImageProcessor(size={"height": 64, "width": 64})
    model = enlarged(AlignModel(config))
    states = {"text": "text_model_output.hidden_states"}
    adapter = Align(model, AlignProcessor(images, tokenizer), "tiny-align")
    return Case(adapter, samples(), states, whole_image=True)
