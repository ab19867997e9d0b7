"""A tiny LXMERT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from transformers import LxmertConfig, LxmertModel

from backend.data.sample import Regions, Sample
from backend.models.families.lxmert import Lxmert
from tests.models.families.common import BERT_SPECIALS, Case, samples, word_tokenizer


def tiny(vision_layers: int = 2) -> Case:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)
    config = LxmertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        l_layers=3,
        r_layers=vision_layers,
        x_layers=2,
        visual_feat_dim=12,
        initializer_range=0.5,
    )
    adapter = Lxmert(LxmertModel(config), tokenizer, "tiny-lxmert")
    return Case(
        adapter,
        with_regions(),
        {"text": "language_hidden_states", "vision": "vision_hidden_states"},
        first_state=1,
        tiles=False,
    )


def with_regions() -> list[Sample]:
    """Image-text pairs with three to five regions of 12 features."""
    rng = np.random.default_rng(2)
    made = []
    for row, sample in enumerate(samples()):
        width, height = sample.images[0].size
        corners = np.sort(rng.uniform(0, 1, (3 + row % 3, 2, 2)), axis=1).reshape(-1, 4)
        features = rng.normal(size=(len(corners), 12)).astype(np.float32)
        boxes = (corners * [width, height, width, height]).astype(np.float32)
        made.append(replace(sample, regions=Regions(features, boxes)))
    return made
