"""A tiny BLIP, for matching or for captions."""

from __future__ import annotations

import torch
import transformers
from transformers import BlipConfig, BlipImageProcessor, BlipProcessor

from backend.models.families.blip import Blip
from tests.models.families.common import (
    BERT_SPECIALS,
    Case,
    enlarged,
    samples,
    word_tokenizer,
)
from tests.models.families.llava_next import SIZES


def tiny(kind: str = "BlipForImageTextRetrieval") -> Case:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)
    config = BlipConfig(
        vision_config=SIZES,
        text_config={
            "hidden_size": 16,
            "encoder_hidden_size": SIZES["hidden_size"],
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "vocab_size": len(tokenizer) + 1,
            "max_position_embeddings": 32,
            "bos_token_id": len(tokenizer),  # as released: the tokenizer does not know it
            "sep_token_id": tokenizer.sep_token_id,
            "eos_token_id": tokenizer.sep_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        projection_dim=12,
        image_text_hidden_size=12,
    )
    config.architectures = [kind]
    images = BlipImageProcessor(size={"height": 24, "width": 24})
    model = enlarged(getattr(transformers, kind)(config))
    adapter = Blip(model, BlipProcessor(images, tokenizer), f"tiny-{kind.lower()}")
    return Case(adapter, samples(), whole_image=True)
