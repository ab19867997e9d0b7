"""A tiny VisualBERT."""

from __future__ import annotations

import torch
from transformers import VisualBertConfig, VisualBertModel

from backend.models.families.visual_bert import VisualBert
from tests.models.families.common import BERT_SPECIALS, Case, enlarged, word_tokenizer
from tests.models.families.lxmert import with_regions


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)
    config = VisualBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        visual_embedding_dim=12,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
    )
    adapter = VisualBert(enlarged(VisualBertModel(config)), tokenizer, "tiny-visual-bert")
    states = {"text": "hidden_states", "vision": "hidden_states"}
    return Case(adapter, with_regions(), states, tiles=False)
