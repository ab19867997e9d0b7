"""A tiny Kosmos-2: four latents before a text."""

from __future__ import annotations

import torch
from transformers import (
    CLIPImageProcessor,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
    Kosmos2Processor,
)

from backend.models.families.kosmos2 import Kosmos2
from tests.models.families.common import LM_SPECIALS, Case, enlarged, samples, word_tokenizer
from tests.models.families.llava_next import SIZES

SPECIALS = {name: LM_SPECIALS[name] for name in ("bos_token", "pad_token", "eos_token")}


def tiny() -> Case:
    # the ids after that of an unknown word stand for an image's tokens
    specials = {**SPECIALS, "unk_token": LM_SPECIALS["unk_token"]}
    tokenizer = word_tokenizer(specials=specials, side="left", max_length=64)
    images = CLIPImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    processor = Kosmos2Processor(images, tokenizer, num_patch_index_tokens=4)
    torch.manual_seed(0)
    config = Kosmos2Config(
        vision_config=SIZES,
        text_config={
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 64,
            "embed_dim": 16,
            "layers": 3,
            "ffn_dim": 32,
            "attention_heads": 2,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        latent_query_num=4,
    )
    model = enlarged(Kosmos2ForConditionalGeneration(config))
    states = {"image": "hidden_states", "text": "hidden_states"}
    adapter = Kosmos2(model, processor, "tiny-kosmos2")
    return Case(adapter, samples(), states, learned=("query",), default_numbers=True)
