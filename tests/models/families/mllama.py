"""A tiny Llama 3.2 Vision: blocks 2 and 4 of five are cross-attention, with open gates."""

from __future__ import annotations

import torch
from transformers import (
    MllamaConfig,
    MllamaForConditionalGeneration,
    MllamaImageProcessor,
    MllamaProcessor,
)

from backend.models.families.mllama import Mllama
from tests.models.families.common import LM_SPECIALS, Case, enlarged, samples, word_tokenizer
from tests.models.families.llava import CHAT


def tiny() -> Case:
    tokenizer = word_tokenizer(
        specials=LM_SPECIALS,
        template="<s> $A",
        side="left",
        extra=("<|python_tag|>", "<|image|>"),
        max_length=64,
    )
    torch.manual_seed(0)
    config = MllamaConfig(
        vision_config={
            "hidden_size": 24,
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_global_layers": 2,
            "attention_heads": 2,
            "image_size": 24,
            "patch_size": 8,
            "max_num_tiles": 4,
            "intermediate_layers_indices": [0, 2],
            "vision_output_dim": 72,
            "supported_aspect_ratios": [
                [1, 1],
                [1, 2],
                [1, 3],
                [1, 4],
                [2, 1],
                [2, 2],
                [3, 1],
                [4, 1],
            ],
        },
        text_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "cross_attention_layers": [1, 3],
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 64,
            "pad_token_id": tokenizer.pad_token_id,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
    )
    model = enlarged(MllamaForConditionalGeneration(config))
    for name, weight in model.named_parameters():
        if name.endswith("gate"):
            torch.nn.init.ones_(weight)
    images = MllamaImageProcessor(size={"height": 24, "width": 24}, max_image_tiles=4)
    processor = MllamaProcessor(
        images, tokenizer, chat_template=CHAT.replace("<image>", "<|image|>")
    )
    adapter = Mllama(model, processor, "tiny-mllama")
    return Case(adapter, samples(), {"text": "hidden_states"}, whole_image=True)
