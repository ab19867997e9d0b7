"""A random model of every kind, of the real class, as large as two cores run in a fraction of a
second a batch: what a forward pass costs does not depend on the weights.

Widths, depths and lengths stand in the published models' proportions: towers of 8 to 12 blocks, 50
to 86 image tokens, texts of 6 to 20 words. Vocabularies are small, which makes the bare pass
cheaper than a real one, never dearer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from backend.data.sample import Audio, Regions, Sample
from backend.models.adapter import Adapter
from backend.models.families.blip2 import Blip2
from backend.models.families.clip import Clip
from backend.models.families.idefics import Idefics
from backend.models.families.llava import Llava
from backend.models.families.lxmert import Lxmert
from backend.models.families.siglip import Siglip
from backend.models.families.vilt import Vilt
from backend.models.families.vision_text_dual import VisionTextDual
from backend.models.families.whisper import Whisper

SIDE, PATCH = 112, 14
WORDS = tuple(f"word{i}" for i in range(1000))
BERT = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
LANGUAGE = {"unk_token": "<unk>", "bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
SQUARE = {"height": SIDE, "width": SIDE}


@dataclass(frozen=True)
class Kind:
    """A model and one batch for it."""

    adapter: Adapter
    samples: list[Sample]


def sizes(width: int, depth: int, **more: Any) -> dict[str, Any]:
    """How most configurations call these; heads of 64, as the published models have them."""
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": depth,
        "num_attention_heads": width // 64,
        **more,
    }


def vision(depth: int) -> dict[str, Any]:
    """A tower of ViT-S's width."""
    return sizes(384, depth, image_size=SIDE, patch_size=PATCH)


def samples(batch: int) -> list[Sample]:
    """Photo-shaped noise with texts of 6 to 20 words."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(batch):
        pixels = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
        words = rng.choice(WORDS, size=rng.integers(6, 21))
        made.append(Sample(" ".join(words), (Image.fromarray(pixels),)))
    return made


def words(
    specials: dict[str, str],
    template: str = "$A",
    *,
    side: str = "right",
    extra: Sequence[str] = (),
    longest: int = 256,
) -> PreTrainedTokenizerFast:
    """A token a word; ``template`` says which special tokens stand around a text."""
    ids = {token: at for at, token in enumerate([*specials.values(), *extra, *WORDS])}
    inner = Tokenizer(models.WordLevel(ids, unk_token=specials["unk_token"]))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(t, ids[t]) for t in template.split() if t != "$A"]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_max_length=longest,
        padding_side=side,
        additional_special_tokens=list(extra),
        **specials,
    )


def named(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """What a configuration says of a vocabulary."""
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def clip(batch: int) -> Kind:
    """Towers of 12 and 6 blocks."""
    tokenizer = words(LANGUAGE, "<s> $A </s>", longest=77)
    config = transformers.CLIPConfig(
        text_config=sizes(256, 6, max_position_embeddings=77, **named(tokenizer)),
        vision_config=vision(12),
        projection_dim=256,
    )
    images = transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SQUARE)
    processor = transformers.CLIPProcessor(image_processor=images, tokenizer=tokenizer)
    return Kind(Clip(transformers.CLIPModel(config), processor, "clip"), samples(batch))


def siglip(batch: int) -> Kind:
    """Towers of 12 and 6 blocks; every text is 32 tokens long."""
    tokenizer = words(LANGUAGE, "$A </s>", longest=32)
    config = transformers.SiglipConfig(
        text_config=sizes(
            256, 6, max_position_embeddings=32, projection_size=384, **named(tokenizer)
        ),
        vision_config=vision(12),
    )
    images = transformers.SiglipImageProcessor(size=SQUARE)
    processor = transformers.SiglipProcessor(image_processor=images, tokenizer=tokenizer)
    return Kind(Siglip(transformers.SiglipModel(config), processor, "siglip"), samples(batch))


def vision_text_dual_encoder(batch: int) -> Kind:
    """A ViT of 12 blocks and a BERT of 6."""
    tokenizer = words(BERT, "[CLS] $A [SEP]")
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.ViTConfig(**vision(12)),
        transformers.BertConfig(**sizes(256, 6, vocab_size=len(tokenizer))),
        projection_dim=256,
    )
    processor = transformers.VisionTextDualEncoderProcessor(
        image_processor=transformers.ViTImageProcessor(size=SQUARE), tokenizer=tokenizer
    )
    model = transformers.VisionTextDualEncoderModel(config)
    return Kind(VisionTextDual(model, processor, "dual"), samples(batch))


def lxmert(batch: int) -> Kind:
    """36 regions of 2048 features, as the published model has them."""
    tokenizer = words(BERT, "[CLS] $A [SEP]")
    config = transformers.LxmertConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        intermediate_size=1536,
        num_attention_heads=6,
        l_layers=6,
        r_layers=3,
        x_layers=4,
    )
    rng = np.random.default_rng(1)
    made = []
    for sample in samples(batch):
        features = rng.normal(size=(36, config.visual_feat_dim)).astype(np.float32)
        corners = np.sort(rng.uniform(0, 120, (36, 2, 2)), axis=1).reshape(36, 4)
        regions = Regions(features, corners.astype(np.float32))
        made.append(Sample(sample.text, sample.images, regions=regions))
    return Kind(Lxmert(transformers.LxmertModel(config), tokenizer, "lxmert"), made)


def vilt(batch: int) -> Kind:
    """12 blocks over words and patches together."""
    tokenizer = words(BERT, "[CLS] $A [SEP]")
    config = transformers.ViltConfig(
        vocab_size=len(tokenizer), max_position_embeddings=40, **vision(12)
    )
    images = transformers.ViltImageProcessor(size={"shortest_edge": SIDE}, size_divisor=PATCH)
    processor = transformers.ViltProcessor(image_processor=images, tokenizer=tokenizer)
    return Kind(Vilt(transformers.ViltModel(config), processor, "vilt"), samples(batch))


def idefics(batch: int) -> Kind:
    """A gated block before every fourth of 8, behind a resampler of 3 blocks."""
    tokenizer = words(LANGUAGE, side="left", extra=("<image>", "<fake_token_around_image>"))
    config = transformers.IdeficsConfig(
        **sizes(384, 8, **named(tokenizer)),
        cross_layer_interval=4,
        alpha_initializer="ones",
        max_position_embeddings=256,
        use_resampler=True,
        vision_config={**vision(8), "embed_dim": 384},
        perceiver_config={
            "use_resampler": True,
            "resampler_n_latents": 32,
            "resampler_depth": 3,
            "resampler_n_heads": 4,
            "resampler_head_dim": 64,
        },
    )
    processor = transformers.IdeficsProcessor(
        transformers.IdeficsImageProcessor(image_size=SIDE), tokenizer, image_size=SIDE
    )
    model = transformers.IdeficsForVisionText2Text(config)
    return Kind(Idefics(model, processor, "idefics"), samples(batch))


def blip2(batch: int) -> Kind:
    """A tower of 8 blocks, a Q-Former of 6 with 32 queries, an OPT of 6."""
    tokenizer = words(LANGUAGE, "<s> $A", extra=("<image>",))
    language = transformers.OPTConfig(
        hidden_size=384,
        word_embed_proj_dim=384,
        ffn_dim=1536,
        num_hidden_layers=6,
        num_attention_heads=6,
        max_position_embeddings=256,
        **named(tokenizer),
    )
    config = transformers.Blip2Config(
        vision_config=vision(8),
        qformer_config=sizes(256, 6, encoder_hidden_size=384, cross_attention_frequency=2),
        text_config=language.to_dict(),
        num_query_tokens=32,
        image_text_hidden_size=256,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = transformers.BlipImageProcessor(size=SQUARE)
    processor = transformers.Blip2Processor(images, tokenizer, num_query_tokens=32)
    model = transformers.Blip2ForConditionalGeneration(config)
    return Kind(Blip2(model, processor, "blip-2"), samples(batch))


def llava(batch: int) -> Kind:
    """A CLIP tower of 8 blocks, a Llama of 8."""
    tokenizer = words(LANGUAGE, "<s> $A", side="left", extra=("<image>",))
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**vision(8)),
        text_config=transformers.LlamaConfig(
            **sizes(384, 8, num_key_value_heads=2, **named(tokenizer)), max_position_embeddings=256
        ),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SQUARE),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    model = transformers.LlavaForConditionalGeneration(config)
    return Kind(Llava(model, processor, "llava"), samples(batch))


def whisper(batch: int) -> Kind:
    """6 blocks a side over 10 seconds: 500 tokens to hear, a token a letter; half the batch."""
    batch = max(1, batch // 2)
    letters = [*map(chr, range(33, 127)), "Ġ"]
    starts = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>", "<|transcribe|>"]
    tokenizer = transformers.WhisperTokenizer(
        vocab={token: at for at, token in enumerate([*letters, *starts])},
        merges=[],
        pad_token=starts[0],
        additional_special_tokens=starts[1:],
    )
    tokenizer.set_prefix_tokens(predict_timestamps=False)
    config = transformers.WhisperConfig(
        d_model=256,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=1024,
        decoder_ffn_dim=1024,
        max_source_positions=500,
        max_target_positions=256,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids(starts[1]),
        **named(tokenizer),
    )
    processor = transformers.WhisperProcessor(
        transformers.WhisperFeatureExtractor(chunk_length=10), tokenizer
    )
    rng = np.random.default_rng(2)
    heard = [
        Sample(sample.text, audio=Audio(rng.normal(0, 0.1, size).astype(np.float32), 16000))
        for sample, size in zip(samples(batch), rng.integers(48000, 160000, batch), strict=True)
    ]
    model = transformers.WhisperForConditionalGeneration(config)
    return Kind(Whisper(model, processor, "whisper"), heard)


KINDS: dict[str, Callable[[int], Kind]] = {
    "clip": clip,
    "siglip": siglip,
    "vision-text-dual-encoder": vision_text_dual_encoder,
    "lxmert": lxmert,
    "vilt": vilt,
    "idefics": idefics,
    "blip-2": blip2,
    "llava": llava,
    "whisper": whisper,
}
"""By the ``model_type`` of config.json."""


def build(name: str, batch: int) -> Kind:
    """The model of a kind with ``batch`` samples, the same on every call."""
    torch.manual_seed(0)
    return KINDS[name](batch)
