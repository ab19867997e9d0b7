"""A tiny BLIP-2 with a T5, whose encoder reads image and text both ways."""

from __future__ import annotations

from transformers import T5Config

from tests.models.families.blip2 import blip2
from tests.models.families.common import LM_SPECIALS, Case, samples, word_tokenizer


def tiny() -> Case:
    tokenizer = word_tokenizer(
        specials=LM_SPECIALS, template="$A </s>", extra=("<image>",), max_length=64
    )
    language = T5Config(
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=3,
        num_heads=2,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    adapter = blip2(tokenizer, language, "tiny-blip2-t5")
    states = "language_model_outputs.encoder_hidden_states"
    return Case(
        adapter,
        samples(),
        {"image": states, "text": states},
        whole_image=True,
        learned=("query", "answer"),
    )
