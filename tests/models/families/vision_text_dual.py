"""A tiny dual encoder of a ViT and a BERT."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    BertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
    ViTConfig,
    ViTImageProcessor,
)

from backend.models.families.vision_text_dual import VisionTextDual
from tests.models.families.common import BERT_SPECIALS, Case, enlarged, samples, word_tokenizer

SIZES = {"num_attention_heads": 2, "intermediate_size": 32}


def bert_tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")


def bert(tokenizer: PreTrainedTokenizerFast) -> BertConfig:
    return BertConfig(
        **SIZES,
        num_hidden_layers=3,
        hidden_size=16,
        vocab_size=len(tokenizer),
        max_position_embeddings=16,
    )


def vit() -> ViTConfig:
    return ViTConfig(**SIZES, num_hidden_layers=4, hidden_size=24, image_size=24, patch_size=8)


def joined(
    vision: PreTrainedConfig,
    images: Any,
    text: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerFast,
) -> VisionTextDual:
    torch.manual_seed(0)
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=12)
    processor = VisionTextDualEncoderProcessor(image_processor=images, tokenizer=tokenizer)
    return VisionTextDual(enlarged(VisionTextDualEncoderModel(config)), processor, "tiny-dual")


def tiny() -> Case:
    tokenizer = bert_tokenizer()
    images = ViTImageProcessor(size={"height": 24, "width": 24})
    return Case(
        joined(vit(), images, bert(tokenizer), tokenizer),
        samples(),
        {"vision": "vision_model_output.hidden_states", "text": "text_model_output.hidden_states"},
        whole_image=True,
    )
