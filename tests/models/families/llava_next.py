"""A tiny LLaVA-NeXT: tiles of 24 pixels in one of four layouts, samples with one image or two."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    PreTrainedTokenizerFast,
)

from backend.data.sample import Sample
from backend.models.families.llava_next import LlavaNext
from tests.models.families.common import (
    LM_SPECIALS,
    Case,
    enlarged,
    pictures,
    texts,
    word_tokenizer,
)
from tests.models.families.llava import CHAT

LAYOUTS = [[24, 48], [48, 24], [48, 48], [24, 72]]
SIZES: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 24,
    "patch_size": 8,
}


def language(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Two heads of keys for four of queries."""
    return LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


def words() -> PreTrainedTokenizerFast:
    """Padded on the left, as for generating."""
    return word_tokenizer(
        specials=LM_SPECIALS, template="<s> $A", side="left", extra=("<image>",), max_length=256
    )


def one_or_two() -> list[Sample]:
    """Samples with one image or two."""
    seen = pictures(6)
    return [Sample(text, tuple(seen[i : i + 1 + i % 2])) for i, text in enumerate(texts(4))]


def tiny() -> Case:
    tokenizer = words()
    torch.manual_seed(0)
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**SIZES, projection_dim=12),
        text_config=language(tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=LAYOUTS,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    images = LlavaNextImageProcessor(
        size={"shortest_edge": 24},
        crop_size={"height": 24, "width": 24},
        image_grid_pinpoints=LAYOUTS,
    )
    processor = LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    model = enlarged(LlavaNextForConditionalGeneration(config))
    adapter = LlavaNext(model, processor, "tiny-llava-next")
    states = {"image": "hidden_states", "text": "hidden_states"}
    return Case(adapter, one_or_two(), states, tiles=False)
