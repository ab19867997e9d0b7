"""A tiny dual encoder of a timm tower, read at the mean of its patches, and CLIP's text tower."""

from __future__ import annotations

from transformers import CLIPTextConfig, TimmWrapperConfig
from transformers.models.timm_wrapper import TimmWrapperImageProcessor

from tests.models.families.common import CLIP_SPECIALS, Case, samples, word_tokenizer
from tests.models.families.vision_text_dual import SIZES, joined

TIMM = {
    "img_size": 24,
    "patch_size": 8,
    "depth": 4,
    "embed_dim": 24,
    "num_heads": 2,
    "reg_tokens": 2,
    "global_pool": "avg",
}


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=CLIP_SPECIALS, template="<start> $A <end>", max_length=16)
    vision = TimmWrapperConfig(
        architecture="vit_small_patch14_dinov2", model_args=TIMM, hidden_size=24
    )
    images = TimmWrapperImageProcessor({"input_size": (3, 24, 24), "crop_pct": 0.75})
    text = CLIPTextConfig(
        **SIZES,
        num_hidden_layers=3,
        hidden_size=16,
        vocab_size=len(tokenizer),
        max_position_embeddings=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Case(joined(vision, images, text, tokenizer), samples())
