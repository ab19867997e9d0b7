"""A tiny Stable Diffusion 3: latents of 8 by 8, sixteen patches, two CLIPs and a T5."""

from __future__ import annotations

import torch
from transformers import CLIPTextModelWithProjection, T5Config, T5EncoderModel

from backend.models.denoisers.joint import StableDiffusion3
from backend.models.denoisers.parts import diffusers_class
from tests.models.families.common import CLIP_SPECIALS, Case, enlarged, samples, word_tokenizer
from tests.models.families.pixart import T5_SPECIALS
from tests.models.families.stable_diffusion import autoencoder, clip_config

NOISE = {"num_train_timesteps": 1000}
FILLED_BY_A_WORD = {**CLIP_SPECIALS, "pad_token": "pizza"}  # as the second CLIP's is by "!"


def without_t5() -> StableDiffusion3:
    """As many keep it: the largest of the encoders is left out."""
    whole = tiny().adapter
    assert isinstance(whole, StableDiffusion3)
    parts = {name: part for name, part in whole.parts.items() if name != "text_encoder_3"}
    tokenizers = {n: each for n, each in whole.tokenizers.items() if n != "tokenizer_3"}
    return StableDiffusion3(parts, tokenizers, NOISE, "tiny-sd3-without-t5")


def tiny() -> Case:
    first, second = (
        word_tokenizer(specials=specials, template="<start> $A <end>", max_length=16)
        for specials in (CLIP_SPECIALS, FILLED_BY_A_WORD)
    )
    third = word_tokenizer(specials=T5_SPECIALS, template="$A </s>")
    torch.manual_seed(0)
    net = diffusers_class("SD3Transformer2DModel")(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=20,
        pos_embed_max_size=8,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    config = T5Config(d_model=32, d_kv=6, d_ff=24, num_layers=2, num_heads=2, vocab_size=len(third))
    clips = (clip_config(first, 8, projection_dim=8), clip_config(second, 16, projection_dim=12))
    parts = {
        "text_encoder": enlarged(CLIPTextModelWithProjection(clips[0])),
        "text_encoder_2": enlarged(CLIPTextModelWithProjection(clips[1])),
        "text_encoder_3": enlarged(T5EncoderModel(config)),
        "vae": autoencoder(shift_factor=0.1),
        "transformer": enlarged(net, 0.2),
    }
    tokenizers = {"tokenizer": first, "tokenizer_2": second, "tokenizer_3": third}
    adapter = StableDiffusion3(parts, tokenizers, NOISE, "tiny-sd3")
    return Case(
        adapter, samples(), whole_image=True, readings=dict.fromkeys(adapter.texts.values(), 2)
    )
