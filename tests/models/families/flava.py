"""A tiny FLAVA: three encoders of different depths."""

from __future__ import annotations

from typing import Any

import torch
from transformers import FlavaConfig, FlavaImageProcessor, FlavaModel, FlavaProcessor

from backend.models.families.flava import Flava
from tests.models.families.common import BERT_SPECIALS, Case, enlarged, samples, word_tokenizer


def tiny(own_token: bool = True) -> Case:
    tokenizer = word_tokenizer(specials=BERT_SPECIALS, template="[CLS] $A [SEP]")
    torch.manual_seed(0)

    def encoder(width: int, depth: int) -> dict[str, Any]:
        heads, inner = {"num_attention_heads": 2}, {"intermediate_size": 32}
        return {"hidden_size": width, "num_hidden_layers": depth, **heads, **inner}

    config = FlavaConfig(
        image_config={**encoder(24, 3), "image_size": 24, "patch_size": 8},
        text_config={
            **encoder(16, 4),
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 32,
            "pad_token_id": tokenizer.pad_token_id,
        },
        multimodal_config={**encoder(20, 2), "use_cls_token": own_token},
        projection_dim=12,
        init_codebook=False,
    )
    model = enlarged(FlavaModel(config))
    sizes = {"size": {"height": 24, "width": 24}, "crop_size": {"height": 24, "width": 24}}
    processor = FlavaProcessor(FlavaImageProcessor(**sizes), tokenizer)
    states = {"vision": "image_output.hidden_states", "text": "text_output.hidden_states"}
    return Case(
        Flava(model, processor, "tiny-flava"),
        samples(),
        states,
        whole_image=True,
        learned=("multimodal",) if own_token else (),
    )
