"""A tiny PaliGemma: a SigLIP tower and a Gemma with one head of keys for all of its queries."""

from __future__ import annotations

import torch
from transformers import (
    GemmaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

from backend.models.families.paligemma import PaliGemma
from tests.models.families.common import LM_SPECIALS, Case, enlarged, samples, word_tokenizer


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=LM_SPECIALS, extra=("<image>",), max_length=64)
    images = SiglipImageProcessor(size={"height": 24, "width": 24})
    images.image_seq_length = 9
    processor = PaliGemmaProcessor(images, tokenizer)
    torch.manual_seed(0)
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=24,
            patch_size=8,
            vision_use_head=False,
        ),
        text_config=GemmaConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            vocab_size=len(tokenizer),
            max_position_embeddings=64,
            pad_token_id=tokenizer.pad_token_id,
        ),
        projection_dim=16,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = enlarged(PaliGemmaForConditionalGeneration(config))
    adapter = PaliGemma(model, processor, "tiny-paligemma")
    states = {"image": "hidden_states", "text": "hidden_states"}
    return Case(adapter, samples(), states, whole_image=True)
