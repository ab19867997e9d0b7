"""A tiny Stable Diffusion: latents of 8 by 8, a U-Net of two resolutions."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from backend.models.denoisers.parts import diffusers_class
from backend.models.denoisers.unet import StableDiffusion
from tests.models.families.common import CLIP_SPECIALS, Case, enlarged, samples, word_tokenizer

NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}

pytest.importorskip("diffusers")  # an optional extra


def autoencoder(**settings: float) -> torch.nn.Module:
    return diffusers_class("AutoencoderKL")(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=16,
        **settings,
    )


def clip_config(tokenizer: PreTrainedTokenizerFast, width: int = 16, **more: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=16,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **more,
    )


def tiny() -> Case:
    tokenizer = word_tokenizer(specials=CLIP_SPECIALS, template="<start> $A <end>", max_length=16)
    torch.manual_seed(0)
    net = diffusers_class("UNet2DConditionModel")(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    parts = {
        "text_encoder": enlarged(CLIPTextModel(clip_config(tokenizer))),
        "vae": autoencoder(),
        "unet": enlarged(net, 0.1),
    }
    adapter = StableDiffusion(parts, {"tokenizer": tokenizer}, NOISE, "tiny-sd")
    return Case(adapter, samples(), whole_image=True)
