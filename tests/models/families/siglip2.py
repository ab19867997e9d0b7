"""A tiny SigLIP 2: a letter a token; images keep their shape as grids of at most 12 patches."""

from __future__ import annotations

from string import ascii_lowercase

import torch
from transformers import (
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    Siglip2Processor,
    Siglip2Tokenizer,
)

from backend.models.families.siglip import Siglip2
from tests.models.families.common import Case, enlarged, samples
from tests.models.families.siglip import HIDDEN_STATES, TEXT, VISION


def tiny() -> Case:
    words = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *ascii_lowercase)
    tokenizer = Siglip2Tokenizer(
        vocab={word: at for at, word in enumerate(words)}, merges=[], add_eos_token=True
    )
    torch.manual_seed(0)
    config = Siglip2Config(
        text_config={
            **TEXT,
            "max_position_embeddings": 40,
            "vocab_size": len(tokenizer),
            "projection_size": 24,
        },
        vision_config={**VISION, "num_patches": 16},
    )
    images = Siglip2ImageProcessor(patch_size=8, max_num_patches=12)
    processor = Siglip2Processor(image_processor=images, tokenizer=tokenizer)
    adapter = Siglip2(enlarged(Siglip2Model(config)), processor, "tiny-siglip2")
    return Case(adapter, samples(), HIDDEN_STATES, whole_image=True)
