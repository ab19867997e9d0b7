"""A tiny LLaVA that gets the text first: a SigLIP tower, letterboxed images and a Qwen 2."""

from __future__ import annotations

import torch
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessor,
    LlavaProcessor,
    Qwen2Config,
    SiglipVisionConfig,
)

from backend.models.families.llava import Llava
from tests.models.families.common import LM_SPECIALS, Case, enlarged, samples, word_tokenizer


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=LM_SPECIALS, extra=("<image>",), max_length=64)
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=24,
            patch_size=8,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=len(tokenizer),
            max_position_embeddings=64,
            pad_token_id=tokenizer.pad_token_id,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    images = LlavaImageProcessor(
        size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}, do_pad=True
    )
    processor = LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy="full"
    )
    model = enlarged(LlavaForConditionalGeneration(config))
    adapter = Llava(model, processor, "tiny-llava-text-first", template="{text} : {image}")
    states = {"image": "hidden_states", "text": "hidden_states"}
    return Case(adapter, samples(), states, whole_image=True, shifted=1e-6)
