"""A tiny language model on disk, as its own program would have saved it."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from tests.models.families.common import LM_SPECIALS, word_tokenizer

CHAT = (
    "{% for message in messages %}user : {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)


def save_language(
    folder: Path, *, tied: bool = True, chat: bool = False, spare: int = 0, capped: bool = False
) -> Path:
    """Two blocks over words. ``spare`` rows of its embeddings are of no word.

    ``capped``: a model that bends its logits after the output layer.
    """
    tokenizer = word_tokenizer(specials=LM_SPECIALS, side="left", max_length=128)
    if chat:
        tokenizer.chat_template = CHAT
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer) + spare,
        "max_position_embeddings": 256,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": tied,
    }
    model = (
        Gemma2ForCausalLM(Gemma2Config(head_dim=4, final_logit_softcapping=0.01, **sizes))
        if capped
        else LlamaForCausalLM(LlamaConfig(initializer_range=0.2, **sizes))
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
