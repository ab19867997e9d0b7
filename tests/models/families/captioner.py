"""A tiny show-attend-and-tell: four residual blocks of other widths, a grid of two by two."""

from __future__ import annotations

import torch

from backend.models.captioner.adapter import ShowAttendTell
from backend.models.captioner.model import Captioner, CaptionerConfig
from backend.types import LayerRef
from tests.models.families.common import BERT_SPECIALS, Case, samples, word_tokenizer

ENCODER = {"name": "resnet18", "options": {"layers": [1, 1, 1, 1], "channels": [8, 12, 16, 20]}}


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "attention_size": 12, "image_size": 64, "max_text_length": 32}
    model = Captioner(CaptionerConfig(ENCODER, len(tokenizer), **sizes))
    for part in (model.start, model.look, model.recurrence, model.telling, model.output):
        for weight in part.parameters():
            torch.nn.init.normal_(weight, std=0.5)
    adapter = ShowAttendTell(model, tokenizer, "tiny-captioner")
    begun = (LayerRef("text", 1, "start"),)
    return Case(adapter, samples(), whole_image=True, foreign=begun)
