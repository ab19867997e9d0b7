"""A tiny ViLT: images of several shapes in one batch."""

from __future__ import annotations

import torch
from transformers import ViltConfig, ViltImageProcessor, ViltModel, ViltProcessor

from backend.models.families.vilt import Vilt
from tests.models.families.common import BERT_SPECIALS, Case, enlarged, samples, word_tokenizer


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)
    config = ViltConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        image_size=24,
        patch_size=8,
    )
    images = ViltImageProcessor(size={"shortest_edge": 24}, size_divisor=8)
    processor = ViltProcessor(image_processor=images, tokenizer=tokenizer)
    adapter = Vilt(enlarged(ViltModel(config)), processor, "tiny-vilt")
    return Case(adapter, samples(), {"text": "hidden_states"}, whole_image=True)
