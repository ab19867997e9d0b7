"""A tiny BERT beside a tiny ViT, with nothing between them."""

from __future__ import annotations

import torch

from backend.models.dual_stream.preprocess import Preprocessor
from backend.models.families.encoder_pair import SideBySideConfig, SideBySideModel
from backend.models.families.side_by_side import SideBySide
from backend.models.texts import special_ids
from tests.models.families.common import BERT_SPECIALS, Case, samples, word_tokenizer
from tests.tiny import tiny_config


def tiny(*, text: bool = True, vision: bool = True) -> Case:
    """Both, or one of them alone."""
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    described = tiny_config(vision_depth=5, vision_width=24)
    torch.manual_seed(0)
    config = SideBySideConfig(
        text=described.text if text else None,
        vision=described.vision if vision else None,
        image=described.image,
        max_text_length=32,
        special_tokens=special_ids(tokenizer),
        named="tiny-side-by-side",
    )
    model = SideBySideModel(config)
    if text:
        torch.nn.init.normal_(model.text.embedding.weight, std=0.5)
    adapter = SideBySide(model, Preprocessor(tokenizer, config.image, 32), "tiny-side-by-side")
    return Case(adapter, samples(), whole_image=True)
