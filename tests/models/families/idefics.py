"""A tiny Idefics with a resampler, samples with one image or two."""

from __future__ import annotations

import torch
from transformers import (
    IdeficsConfig,
    IdeficsForVisionText2Text,
    IdeficsImageProcessor,
    IdeficsProcessor,
)

from backend.data.sample import Sample
from backend.models.families.idefics import Idefics
from tests.models.families.common import (
    LM_SPECIALS,
    Case,
    enlarged,
    pictures,
    texts,
    word_tokenizer,
)


def tiny(resampler: bool = True) -> Case:
    tokenizer = word_tokenizer(
        specials=LM_SPECIALS,
        side="left",
        extra=("<image>", "<fake_token_around_image>"),
        max_length=64,
    )
    torch.manual_seed(0)
    config = IdeficsConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        cross_layer_interval=2,
        alpha_initializer="ones",
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        use_resampler=resampler,
        vision_config={
            "embed_dim": 24,
            "image_size": 24,
            "patch_size": 8,
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
        },
        perceiver_config={
            "use_resampler": resampler,
            "resampler_n_latents": 4,
            "resampler_depth": 2,
            "resampler_n_heads": 2,
            "resampler_head_dim": 8,
        },
    )
    processor = IdeficsProcessor(IdeficsImageProcessor(image_size=24), tokenizer, image_size=24)
    model = enlarged(IdeficsForVisionText2Text(config))
    seen = pictures(6)
    samples = [Sample(text, tuple(seen[i : i + 1 + i % 2])) for i, text in enumerate(texts(4))]
    return Case(
        Idefics(model, processor, "tiny-idefics"),
        samples,
        whole_image=True,
        learned=("query",) if resampler else (),
    )
