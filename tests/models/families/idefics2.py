"""A tiny Idefics 2: images of their own shapes, four latents each, samples with one or two."""

from __future__ import annotations

import torch
from transformers import (
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics2ImageProcessor,
    Idefics2Processor,
)

from backend.models.families.idefics2 import Idefics2
from tests.models.families.common import LM_SPECIALS, Case, enlarged, word_tokenizer
from tests.models.families.llava import CHAT
from tests.models.families.llava_next import SIZES, language, one_or_two

MARKS = ("<image>", "<fake_token_around_image>", "<end_of_utterance>")


def tiny(split: bool = False) -> Case:
    tokenizer = word_tokenizer(
        specials=LM_SPECIALS, template="<s> $A", side="left", extra=MARKS, max_length=256
    )
    torch.manual_seed(0)
    config = Idefics2Config(
        vision_config={**SIZES, "image_size": 48},
        perceiver_config={
            "hidden_size": 16,
            "resampler_n_latents": 4,
            "resampler_depth": 2,
            "resampler_n_heads": 2,
            "resampler_head_dim": 8,
            "num_key_value_heads": 1,
        },
        text_config={**language(tokenizer).to_dict(), "model_type": "mistral"},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    processor = Idefics2Processor(
        Idefics2ImageProcessor(
            size={"shortest_edge": 18, "longest_edge": 48}, do_image_splitting=split
        ),
        tokenizer,
        image_seq_len=4,
        chat_template=CHAT.replace("<image> ", "<image>"),
    )
    model = enlarged(Idefics2ForConditionalGeneration(config))
    states = {"image": "hidden_states", "text": "hidden_states"}
    return Case(
        Idefics2(model, processor, "tiny-idefics2"),
        one_or_two(),
        states,
        tiles=not split,
        learned=("query",),
    )
