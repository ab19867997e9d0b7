"""Tiny released encoders on disk: a text encoder's directory, a vision encoder's weights."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

from tests.models.families.common import BERT_SPECIALS, word_tokenizer

VISION = "test_vit"
PIXELS = 32


def save_text(folder: Path) -> Path:
    """A BERT of three layers with its tokenizer."""
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    tokenizer.model_max_length = 512
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_vision(file: Path) -> str:
    """What ``--vision-encoder`` takes for timm's smallest ViT with weights of our own."""
    torch.manual_seed(0)
    model = timm.create_model(VISION, pretrained=False, num_classes=0)
    save_file(model.state_dict(), file)
    return f"{VISION}:{file}"
