"""Which encoders a dual encoder may be made of, and what is found out about them."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    CLIPTextConfig,
    CLIPVisionConfig,
    Dinov2WithRegistersConfig,
    DistilBertConfig,
    PreTrainedConfig,
    RobertaConfig,
    SiglipVisionConfig,
    SwinConfig,
    ViTConfig,
    ViTImageProcessor,
)

from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.families.probing import is_chain
from backend.models.families.vision_text_dual import VisionTextDual
from backend.models.roles import Role
from backend.types import LayerRef
from tests.models.families import vision_text_dual_timm
from tests.models.families.common import pictures
from tests.models.families.vision_text_dual import SIZES, bert, bert_tokenizer, joined, vit

IMAGE = {"image_size": 24, "patch_size": 8}
TOWER = {**SIZES, **IMAGE, "num_hidden_layers": 2, "hidden_size": 24}


def with_vision(config: PreTrainedConfig) -> VisionTextDual:
    tokenizer = bert_tokenizer()
    images = ViTImageProcessor(size={"height": 24, "width": 24})
    return joined(config, images, bert(tokenizer), tokenizer)


def with_text(config: PreTrainedConfig) -> VisionTextDual:
    return joined(
        vit(), ViTImageProcessor(size={"height": 24, "width": 24}), config, bert_tokenizer()
    )


@pytest.mark.parametrize(
    ("config", "prefix", "poolings"),
    [
        (CLIPVisionConfig(**TOWER), (Role.SUMMARY,), ("cls", "mean")),
        (
            Dinov2WithRegistersConfig(**TOWER, num_register_tokens=2),
            (Role.SUMMARY, Role.SPECIAL, Role.SPECIAL),
            ("cls", "mean"),
        ),
        (SiglipVisionConfig(**TOWER), (), ("mean",)),
    ],
    ids=["clip", "registers", "attention-pooled"],
)
def test_the_token_by_which_a_tower_is_read_is_its_summary(
    config: PreTrainedConfig, prefix: tuple[Role, ...], poolings: tuple[str, ...]
) -> None:
    adapter = with_vision(config)
    assert adapter.prefix == prefix
    assert adapter.stream("vision").poolings == poolings
    assert adapter.stream("vision").depth == 2


def test_registers_of_a_tower_that_is_averaged_are_special_and_nothing_sums_up() -> None:
    adapter = vision_text_dual_timm.tiny().adapter
    roles = adapter.encode([Sample("a cat", tuple(pictures(1)))]).roles["vision"][0].tolist()
    assert roles == [Role.SPECIAL] * 3 + [Role.CONTENT] * 9
    assert adapter.stream("vision").poolings == ("mean",)


def test_a_text_tower_is_read_at_its_first_or_at_its_last_token() -> None:
    timm = vision_text_dual_timm.tiny().adapter
    assert timm.summary == "last"
    assert with_text(bert(bert_tokenizer())).summary == "first"


def test_roberta_takes_as_many_tokens_as_it_has_positions_after_those_it_leaves_out() -> None:
    config = RobertaConfig(
        **SIZES,
        num_hidden_layers=2,
        hidden_size=16,
        vocab_size=60,
        max_position_embeddings=18,
        pad_token_id=1,
    )
    adapter = with_text(config)
    assert adapter.max_tokens == 16
    inputs = adapter.encode([Sample(" ".join(["cat"] * 20), tuple(pictures(1)))])
    assert inputs.tensors["input_ids"].shape[1] == 16
    assert inputs.cut["text"].tolist() == [6]
    adapter.forward(inputs)


def test_a_timm_tower_shows_its_maps_though_it_usually_computes_none() -> None:
    adapter = vision_text_dual_timm.tiny().adapter
    layers = {key.ref.layer for key in adapter.attention() if key.ref.stream == "vision"}
    assert layers == {1, 2, 3, 4}
    assert "attention" not in adapter.unsupported


def test_modules_that_all_take_the_same_tokens_are_not_blocks() -> None:
    torch.manual_seed(0)
    tokens, first, second = torch.randn(3, 1, 4, 8)
    assert is_chain([[(tokens, first)], [(first, second)]])
    assert not is_chain([[(tokens, first)], [(tokens, second)]])
    assert not is_chain([[(tokens, first), (first, second)]])
    assert not is_chain([[(tokens, first)], [(first, second[:, :2])]])


def test_the_model_attends_as_before_once_its_towers_are_described() -> None:
    adapter = vision_text_dual_timm.tiny().adapter
    assert all(block.attn.fused_attn for block in adapter.module.vision_model.timm_model.blocks)
    assert adapter.module.text_model.config._attn_implementation == "sdpa"


def test_encoders_that_do_not_fit_are_refused_by_name() -> None:
    stages = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "window_size": 2}
    swin = SwinConfig(image_size=24, patch_size=2, **stages)
    with pytest.raises(InputError, match="the blocks of a swin model cannot be found"):
        with_vision(swin)
    sizes = {"n_layers": 2, "n_heads": 2, "dim": 16, "hidden_dim": 32}
    with pytest.raises(InputError, match="a distilbert model gives no pooled vector"):
        with_text(DistilBertConfig(**sizes, vocab_size=60))
    with pytest.raises(InputError, match=r"cannot take what its processor gives: .*size"):
        with_vision(ViTConfig(**{**TOWER, "image_size": 32}))
    at_padding = CLIPTextConfig(
        **SIZES,
        num_hidden_layers=2,
        hidden_size=16,
        vocab_size=60,
        max_position_embeddings=16,
        bos_token_id=2,
        eos_token_id=0,
    )
    with pytest.raises(InputError, match="a clip_text_model model is read at padding"):
        with_text(at_padding)


def test_the_norm_after_the_last_block_is_a_site_where_it_is_of_all_tokens() -> None:
    towers = {
        "vit": with_vision(ViTConfig(**TOWER)),
        "clip": with_vision(CLIPVisionConfig(**TOWER)),  # norms its summary alone: that is `pooled`
        "siglip": with_vision(SiglipVisionConfig(**TOWER)),
    }
    after = {
        name: [ref.label for ref in adapter.stream("vision").refs[3:]]
        for name, adapter in towers.items()
    }
    assert after == {
        "vit": ["2.norm", "2.pooled", "2.projected"],
        "clip": ["2.pooled", "2.projected"],
        "siglip": ["2.norm", "2.pooled", "2.projected"],
    }
    points = towers["vit"].points()
    norm = towers["vit"].model.vision_model.layernorm
    assert points[LayerRef("vision", 2, "norm")].module is norm
    text = with_text(bert(bert_tokenizer())).stream("text")
    assert [ref.label for ref in text.refs[-2:]] == [
        f"{text.depth}.pooled",
        f"{text.depth}.projected",
    ]
