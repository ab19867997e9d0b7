"""A tiny Gemma 4: squares of four patches, a window in every other block, keys of earlier ones."""

from __future__ import annotations

import torch
from transformers import (
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4ImageProcessor,
    Gemma4Processor,
    Gemma4TextConfig,
    Gemma4VideoProcessor,
    Gemma4VisionConfig,
    PreTrainedTokenizerFast,
)

from backend.models.families.gemma4 import Gemma4
from tests.models.families.common import LM_SPECIALS, Case, enlarged, word_tokenizer
from tests.models.families.llava import CHAT
from tests.models.families.llava_next import one_or_two

NAMED = {
    "boi_token": "<boi>",
    "eoi_token": "<eoi>",
    "image_token": "<soft>",
    "boa_token": "<boa>",
    "eoa_token": "<eoa>",
    "audio_token": "<sound>",
}


def tiny() -> Case:
    words = word_tokenizer(
        specials=LM_SPECIALS, template="<s> $A", side="left", extra=(*NAMED.values(), "<|video|>")
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words.backend_tokenizer,
        model_max_length=256,
        padding_side="left",
        extra_special_tokens=NAMED,
        **LM_SPECIALS,
    )
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in NAMED.items()}
    torch.manual_seed(0)
    config = Gemma4Config(
        vision_config=Gemma4VisionConfig(
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=12,
            patch_size=4,
            pooling_kernel_size=2,
            position_embedding_size=64,
        ),
        text_config=Gemma4TextConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            global_head_dim=8,
            vocab_size=len(tokenizer),
            vocab_size_per_layer_input=len(tokenizer),
            hidden_size_per_layer_input=8,
            num_kv_shared_layers=2,
            max_position_embeddings=256,
            sliding_window=24,
            layer_types=["sliding_attention", "full_attention"] * 2,
            use_bidirectional_attention="vision",
            final_logit_softcapping=5.0,
            pad_token_id=tokenizer.pad_token_id,
        ),
        boi_token_id=ids["boi_token"],
        eoi_token_id=ids["eoi_token"],
        image_token_id=ids["image_token"],
        audio_token_id=ids["audio_token"],
        boa_token_id=ids["boa_token"],
        eoa_token_index=ids["eoa_token"],
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
    )
    seen = {"patch_size": 4, "pooling_kernel_size": 2, "max_soft_tokens": 70}
    processor = Gemma4Processor(
        Gemma4AudioFeatureExtractor(),
        Gemma4ImageProcessor(**seen),
        tokenizer,
        Gemma4VideoProcessor(**seen),
        chat_template=CHAT.replace("<image>", "<soft>"),
    )
    model = enlarged(Gemma4ForConditionalGeneration(config))
    adapter = Gemma4(model, processor, "tiny-gemma4")
    states = {"image": "hidden_states", "text": "hidden_states"}
    return Case(adapter, one_or_two(), states, whole_image=True)
