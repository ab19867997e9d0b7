"""A tiny LLaVA-OneVision: grids of more than 9 patches are shrunk; of two images no tiles."""

from __future__ import annotations

import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    SiglipVisionConfig,
)

from backend.models.families.llava_next import LlavaOnevision
from tests.models.families.common import Case, enlarged
from tests.models.families.llava import CHAT
from tests.models.families.llava_next import LAYOUTS, SIZES, language, one_or_two, words


def tiny() -> Case:
    tokenizer = words()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<video>"]})
    torch.manual_seed(0)
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**SIZES, vision_use_head=False),
        text_config=language(tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=LAYOUTS,
        vision_aspect_ratio="anyres_max_2",
    )
    images = LlavaOnevisionImageProcessor(
        size={"height": 24, "width": 24}, image_grid_pinpoints=LAYOUTS
    )
    processor = LlavaOnevisionProcessor(
        images,
        tokenizer,
        LlavaOnevisionVideoProcessor(size={"height": 24, "width": 24}),
        num_image_tokens=9,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_2",
        chat_template=CHAT,
    )
    model = enlarged(LlavaOnevisionForConditionalGeneration(config))
    adapter = LlavaOnevision(model, processor, "tiny-llava-onevision")
    states = {"image": "hidden_states", "text": "hidden_states"}
    return Case(adapter, one_or_two(), states, tiles=False)
