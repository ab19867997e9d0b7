"""A tiny GIT."""

from __future__ import annotations

import torch
from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

from backend.models.families.git import Git
from tests.models.families.common import BERT_SPECIALS, Case, enlarged, samples, word_tokenizer
from tests.models.families.llava_next import SIZES


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)
    config = GitConfig(
        vision_config=SIZES,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=32,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
    )
    images = CLIPImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    adapter = Git(enlarged(GitForCausalLM(config)), GitProcessor(images, tokenizer), "tiny-git")
    states = {"image": "hidden_states", "text": "hidden_states"}
    return Case(adapter, samples(), states)
