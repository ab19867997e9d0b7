"""A tiny Florence-2: three stages of blocks, maps of 12 to 3 cells a side."""

from __future__ import annotations

import torch
from transformers import (
    BartConfig,
    CLIPImageProcessor,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    Florence2VisionConfig,
    PreTrainedTokenizerFast,
)

from backend.models.families.florence2 import Florence2
from tests.models.families.common import LM_SPECIALS, Case, enlarged, samples, word_tokenizer


def tiny() -> Case:
    words = word_tokenizer(specials=LM_SPECIALS, template="<s> $A </s>", extra=("<image>",))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words.backend_tokenizer,
        model_max_length=64,
        extra_special_tokens={"image_token": "<image>"},
        **LM_SPECIALS,
    )
    images = CLIPImageProcessor(size={"height": 48, "width": 48}, do_center_crop=False)
    images.image_seq_length = 10
    torch.manual_seed(0)
    config = Florence2Config(
        vision_config=Florence2VisionConfig(
            depths=(1, 2, 1),
            patch_size=(7, 3, 3),
            patch_stride=(4, 2, 2),
            patch_padding=(3, 1, 1),
            patch_prenorm=(False, True, True),
            embed_dim=(8, 16, 24),
            num_heads=(2, 2, 2),
            num_groups=(2, 2, 2),
            window_size=3,
            projection_dim=16,
            max_temporal_embeddings=4,
            max_position_embeddings=8,
        ),
        text_config=BartConfig(
            d_model=16,
            encoder_layers=3,
            decoder_layers=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            vocab_size=len(tokenizer),
            max_position_embeddings=64,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.eos_token_id,
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = enlarged(Florence2ForConditionalGeneration(config))
    adapter = Florence2(model, Florence2Processor(images, tokenizer), "tiny-florence2")
    states = {"image": "encoder_hidden_states", "text": "encoder_hidden_states"}
    return Case(adapter, samples(), states, whole_image=True, learned=("answer",))
