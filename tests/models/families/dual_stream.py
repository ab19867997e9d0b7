"""Our own fusion model, with encoders of different depths and widths."""

from __future__ import annotations

import torch

from backend.models.dual_stream.adapter import DualStream
from backend.models.dual_stream.model import FusionModel
from backend.models.dual_stream.preprocess import Preprocessor
from tests.models.families.common import BERT_SPECIALS, Case, samples, word_tokenizer
from tests.tiny import tiny_config


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)
    config = tiny_config((2, 3), (1, 5), vision_depth=5, vision_width=24)
    model = FusionModel(config)
    torch.nn.init.normal_(model.text.embedding.weight, std=0.5)
    adapter = DualStream(model, Preprocessor(tokenizer, config.image, 32), "tiny")
    return Case(adapter, samples(), whole_image=True)
