"""A tiny Gemma 3: squares of four patches as one token, every other block sees 12 tokens back."""

from __future__ import annotations

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma3TextConfig,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)

from backend.models.families.gemma3 import Gemma3
from tests.models.families.common import LM_SPECIALS, Case, enlarged, word_tokenizer
from tests.models.families.llava import CHAT
from tests.models.families.llava_next import SIZES, one_or_two

NAMED = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<soft>"}


def tiny() -> Case:
    words = word_tokenizer(
        specials=LM_SPECIALS, template="<s> $A", side="left", extra=tuple(NAMED.values())
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words.backend_tokenizer,
        model_max_length=96,
        padding_side="left",
        extra_special_tokens=NAMED,
        **LM_SPECIALS,
    )
    torch.manual_seed(0)
    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**{**SIZES, "image_size": 32}, vision_use_head=False),
        text_config=Gemma3TextConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            vocab_size=len(tokenizer),
            max_position_embeddings=96,
            sliding_window=12,
            layer_types=["sliding_attention", "full_attention"] * 2,
            pad_token_id=tokenizer.pad_token_id,
        ),
        mm_tokens_per_image=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<soft>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
    )
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        tokenizer,
        image_seq_length=4,
        chat_template=CHAT.replace("<image>", "<start_of_image>"),
    )
    model = enlarged(Gemma3ForConditionalGeneration(config))
    adapter = Gemma3(model, processor, "tiny-gemma3")
    states = {"image": "hidden_states", "text": "hidden_states"}
    return Case(adapter, one_or_two(), states, whole_image=True)
