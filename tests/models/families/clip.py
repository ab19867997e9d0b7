"""A tiny CLIP."""

from __future__ import annotations

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from backend.models.families.clip import Clip
from tests.models.families.common import CLIP_SPECIALS, Case, samples, word_tokenizer


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=CLIP_SPECIALS, template="<start> $A <end>", max_length=16)
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **sizes,
            "hidden_size": 16,
            "intermediate_size": 32,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 16,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            **sizes,
            "num_hidden_layers": 4,
            "hidden_size": 24,
            "intermediate_size": 32,
            "image_size": 24,
            "patch_size": 8,
        },
        projection_dim=12,
        initializer_factor=5.0,
    )
    images = CLIPImageProcessor(
        size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}, do_convert_rgb=True
    )
    processor = CLIPProcessor(image_processor=images, tokenizer=tokenizer)
    adapter = Clip(CLIPModel(config), processor, "tiny-clip")
    return Case(
        adapter,
        samples(),
        {"vision": "vision_model_output.hidden_states", "text": "text_model_output.hidden_states"},
    )
