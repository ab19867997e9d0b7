"""A tiny InstructBLIP with an OPT; the Q-Former has a tokenizer of its own."""

from __future__ import annotations

import torch
from transformers import (
    BlipImageProcessor,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipProcessor,
    OPTConfig,
)

from backend.models.families.instructblip import InstructBlip
from tests.models.families.blip2 import LM_OUTPUT
from tests.models.families.common import (
    BERT_SPECIALS,
    LM_SPECIALS,
    Case,
    enlarged,
    samples,
    word_tokenizer,
)


def tiny() -> Case:
    tokenizer = word_tokenizer(
        specials=LM_SPECIALS, template="<s> $A", extra=("<image>",), max_length=64
    )
    asked = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    language = OPTConfig(
        hidden_size=16,
        word_embed_proj_dim=16,
        ffn_dim=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config = InstructBlipConfig(
        vision_config={**sizes, "hidden_size": 24, "image_size": 24, "patch_size": 8},
        qformer_config={
            **sizes,
            "hidden_size": 20,
            "encoder_hidden_size": 24,
            "cross_attention_frequency": 2,
            "vocab_size": len(asked),
            "max_position_embeddings": 32,
            "pad_token_id": asked.pad_token_id,
        },
        text_config=language.to_dict(),
        num_query_tokens=5,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    processor = InstructBlipProcessor(
        BlipImageProcessor(size={"height": 24, "width": 24}), tokenizer, asked, num_query_tokens=5
    )
    model = enlarged(InstructBlipForConditionalGeneration(config))
    adapter = InstructBlip(model, processor, "tiny-instructblip")
    states = {"image": LM_OUTPUT, "text": LM_OUTPUT}
    return Case(adapter, samples(), states, whole_image=True, learned=("query",))
