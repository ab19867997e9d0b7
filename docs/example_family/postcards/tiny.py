"""A tiny random model for the conformance suite, which is in Fusionscope's repository."""

from __future__ import annotations

import torch
from transformers import VisionTextDualEncoderProcessor, ViTImageProcessor

from postcards.family import Postcards
from postcards.model import PostcardConfig, PostcardModel
from tests.models.families.common import BERT_SPECIALS, Case, enlarged, samples, word_tokenizer


def tiny() -> Case:
    """Weights large enough for every layer to matter, and a gate that is open."""
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)
    model = enlarged(PostcardModel(PostcardConfig(vocab_size=len(tokenizer))))
    torch.nn.init.constant_(model.bridge.gate, 0.5)
    images = ViTImageProcessor(size={"height": 24, "width": 24})
    processor = VisionTextDualEncoderProcessor(image_processor=images, tokenizer=tokenizer)
    return Case(Postcards(model, processor, "tiny-postcards"), samples(), whole_image=True)
