"""A tiny SigLIP: texts are filled up to one length, and the last position is read."""

from __future__ import annotations

import torch
from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor

from backend.models.families.siglip import Siglip
from tests.models.families.common import Case, enlarged, samples, word_tokenizer

SPECIALS = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>"}
TEXT = {
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
    "max_position_embeddings": 12,
}
VISION = {
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "hidden_size": 24,
    "intermediate_size": 32,
    "patch_size": 8,
}
HIDDEN_STATES = {
    "vision": "vision_model_output.hidden_states",
    "text": "text_model_output.hidden_states",
}


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=SPECIALS, template="$A </s>", max_length=12)
    torch.manual_seed(0)
    config = SiglipConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "projection_size": 24},
        vision_config={**VISION, "image_size": 24},
    )
    images = SiglipImageProcessor(size={"height": 24, "width": 24})
    processor = SiglipProcessor(image_processor=images, tokenizer=tokenizer)
    adapter = Siglip(enlarged(SiglipModel(config)), processor, "tiny-siglip")
    return Case(adapter, samples(), HIDDEN_STATES, whole_image=True)
