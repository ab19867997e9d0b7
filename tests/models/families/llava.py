"""A tiny LLaVA: a CLIP tower and a Llama, samples with one image or two."""

from __future__ import annotations

import torch
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from backend.data.sample import Sample
from backend.models.families.llava import Llava
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
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %} assistant :{% endfor %}"
)


def tiny() -> Case:
    tokenizer = word_tokenizer(
        specials=LM_SPECIALS, template="<s> $A", side="left", extra=("<image>",), max_length=64
    )
    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=24,
            patch_size=8,
            projection_dim=12,
        ),
        text_config=LlamaConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=len(tokenizer),
            max_position_embeddings=64,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    images = CLIPImageProcessor(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    adapter = Llava(enlarged(LlavaForConditionalGeneration(config)), processor, "tiny-llava")
    seen = pictures(6)
    samples = [Sample(text, tuple(seen[i : i + 1 + i % 2])) for i, text in enumerate(texts(4))]
    return Case(adapter, samples, {"image": "hidden_states", "text": "hidden_states"})
