"""A tiny PixArt-alpha: latents of 8 by 8, sixteen patches."""

from __future__ import annotations

import torch
from transformers import T5Config, T5EncoderModel

from backend.models.denoisers.parts import diffusers_class
from backend.models.denoisers.transformer import PixArt
from tests.models.families.common import Case, enlarged, samples, word_tokenizer
from tests.models.families.stable_diffusion import NOISE, autoencoder

T5_SPECIALS = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>"}


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=T5_SPECIALS, template="$A </s>")
    torch.manual_seed(0)
    net = diffusers_class("PixArtTransformer2DModel")(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=16,
        sample_size=8,
        patch_size=2,
        caption_channels=12,
        norm_num_groups=4,
    )
    config = T5Config(
        d_model=12, d_kv=6, d_ff=24, num_layers=2, num_heads=2, vocab_size=len(tokenizer)
    )
    parts = {
        "text_encoder": enlarged(T5EncoderModel(config)),
        "vae": autoencoder(),
        "transformer": enlarged(net, 0.2),
    }
    adapter = PixArt(parts, {"tokenizer": tokenizer}, NOISE, "tiny-pixart")
    return Case(adapter, samples(), whole_image=True)
