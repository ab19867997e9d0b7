"""A tiny InternVL: one to four tiles of 32 pixels, and a thumbnail where there are several."""

from __future__ import annotations

import torch
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    PreTrainedTokenizerFast,
)

from backend.models.families.shuffled import InternVL
from tests.models.families.common import LM_SPECIALS, Case, enlarged, word_tokenizer
from tests.models.families.llava import CHAT
from tests.models.families.llava_next import SIZES, language, one_or_two

NAMED = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}


def tiny() -> Case:
    words = word_tokenizer(
        specials=LM_SPECIALS,
        template="<s> $A",
        side="left",
        extra=tuple(NAMED.values()),
        max_length=256,
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words.backend_tokenizer,
        model_max_length=256,
        padding_side="left",
        extra_special_tokens=NAMED,
        **LM_SPECIALS,
    )
    torch.manual_seed(0)
    config = InternVLConfig(
        vision_config={**SIZES, "image_size": [32, 32], "patch_size": [8, 8]},
        text_config=language(tokenizer).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    images = GotOcr2ImageProcessor(
        size={"height": 32, "width": 32}, crop_to_patches=True, min_patches=1, max_patches=4
    )
    processor = InternVLProcessor(
        images,
        tokenizer,
        InternVLVideoProcessor(size={"height": 32, "width": 32}),
        image_seq_length=4,
        chat_template=CHAT.replace("<image>", "<IMG_CONTEXT>"),
    )
    model = enlarged(InternVLForConditionalGeneration(config))
    adapter = InternVL(model, processor, "tiny-internvl")
    states = {"image": "hidden_states", "text": "hidden_states"}
    return Case(adapter, one_or_two(), states, tiles=False)
