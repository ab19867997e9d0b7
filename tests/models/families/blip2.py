"""A tiny BLIP-2 with an OPT."""

from __future__ import annotations

import torch
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessor,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from backend.models.families.blip2 import Blip2
from tests.models.families.common import LM_SPECIALS, Case, enlarged, samples, word_tokenizer

LM_OUTPUT = "language_model_outputs.hidden_states"


def tiny() -> Case:
    tokenizer = word_tokenizer(
        specials=LM_SPECIALS, template="<s> $A", extra=("<image>",), max_length=64
    )
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
    adapter = blip2(tokenizer, language, "tiny-blip2")
    states = {"image": LM_OUTPUT, "text": LM_OUTPUT}
    return Case(adapter, samples(), states, whole_image=True, learned=("query",))


def blip2(tokenizer: PreTrainedTokenizerFast, language: PreTrainedConfig, name: str) -> Blip2:
    """The model around a language model."""
    images = BlipImageProcessor(size={"height": 24, "width": 24})
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    config = Blip2Config(
        vision_config={**sizes, "hidden_size": 24, "image_size": 24, "patch_size": 8},
        qformer_config={
            **sizes,
            "hidden_size": 20,
            "encoder_hidden_size": 24,
            "cross_attention_frequency": 2,
        },
        text_config=language.to_dict(),
        num_query_tokens=5,
        image_text_hidden_size=16,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = enlarged(Blip2ForConditionalGeneration(config))
    return Blip2(model, Blip2Processor(images, tokenizer, num_query_tokens=5), name)
