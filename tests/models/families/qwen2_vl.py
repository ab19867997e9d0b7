"""Tiny Qwen-VL models: towers of patches of 8 pixels, squares of four of them as one token."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from transformers import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

from backend.data.sample import Sample
from backend.models.families.qwen_vl import Qwen2VL
from tests.models.families.common import (
    LM_SPECIALS,
    Case,
    enlarged,
    pictures,
    texts,
    word_tokenizer,
)

CHAT = (
    "{% for message in messages %}user : {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|> <|image_pad|> <|vision_end|> "
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %} assistant :{% endfor %}"
)
MARKS = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
TOWER = {"in_channels": 3, "patch_size": 8, "temporal_patch_size": 2, "spatial_merge_size": 2}


def tiny() -> Case:
    vision = {"depth": 3, "embed_dim": 32, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 2}
    return qwen("Qwen2VL", Qwen2VL, vision)


def qwen(
    kind: str, family: Any, vision: dict[str, Any], language: dict[str, Any] | None = None
) -> Case:
    """A model of ``kind`` with two streams of one head of keys for two of queries."""
    tokenizer = word_tokenizer(specials=LM_SPECIALS, side="left", extra=MARKS, max_length=96)
    ids = {mark.strip("<|>"): tokenizer.convert_tokens_to_ids(mark) for mark in MARKS}
    torch.manual_seed(0)
    config_class = getattr(transformers, f"{kind}Config")
    config = config_class(
        vision_config={**TOWER, **vision},
        text_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 96,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [1, 1, 2],
            },
            **(language or {}),
        },
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    sizes = {
        "patch_size": 8,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 16 * 16, "longest_edge": 48 * 48},
    }
    processor_class = getattr(transformers, f"{kind}Processor")
    processor = processor_class(
        Qwen2VLImageProcessor(**sizes),
        tokenizer,
        Qwen2VLVideoProcessor(**sizes),
        chat_template=CHAT,
    )
    model = enlarged(getattr(transformers, f"{kind}ForConditionalGeneration")(config))
    adapter = family(model, processor, f"tiny-{kind.lower()}")
    seen = pictures(6)
    samples = [Sample(text, tuple(seen[i : i + 1 + i % 2])) for i, text in enumerate(texts(4))]
    states = {"image": "hidden_states", "text": "hidden_states"}
    return Case(adapter, samples, states, whole_image=True)
