"""Encoders of our fusion model: run as they run themselves, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, BertForMaskedLM

from backend.data.registry import open_source
from backend.errors import InputError
from backend.models.dual_stream.encoders import TextEncoder, VisionEncoder
from backend.models.dual_stream.model import FusionConfig, FusionModel
from backend.models.dual_stream.preprocess import train_tokenizer
from backend.models.dual_stream.pretrained import (
    build_text,
    build_vision,
    load_text,
    load_vision,
)
from backend.models.roles import Role
from backend.train.build import build
from backend.train.recipe import TrainPlan
from tests.tiny import tiny_batch, tiny_config

SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 9}
TEXT: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"pad_token_id": 1},
    "distilbert": {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32},
    "mobilebert": {"embedding_size": 16, "true_hidden_size": 16, "intra_bottleneck_size": 16},
    "electra": {"embedding_size": 8},
    "mpnet": {"pad_token_id": 1},
    "deberta": RELATIVE,
    "deberta-v2": RELATIVE,
    "roformer": {"embedding_size": 16},
    "megatron-bert": {},
    "roberta-prelayernorm": {"pad_token_id": 1},
    "xlm-roberta-xl": {"pad_token_id": 1},
    "convbert": {"embedding_size": 8},
    "rembert": {"input_embedding_size": 8},
    "luke": {"pad_token_id": 1, "entity_vocab_size": 5, "entity_emb_size": 8},
    "fnet": {},
    "modernbert": {"pad_token_id": 0},
    "t5": {"d_model": 16, "num_layers": 3, "num_heads": 2, "d_kv": 8, "d_ff": 32},
    "gpt2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 40},
    "llama": {"num_key_value_heads": 1},
}
VISION = {
    "vit_tiny_patch16_224": {"embed_dim": 24, "num_heads": 2},
    "vit_base_patch16_siglip_224": {"embed_dim": 24, "num_heads": 2},
    "vit_small_patch14_reg4_dinov2": {"embed_dim": 24, "num_heads": 2, "img_size": 28},
    "vit_small_patch16_dinov3": {"embed_dim": 24, "num_heads": 2, "img_size": 32},
    "eva02_tiny_patch14_224": {"embed_dim": 24, "num_heads": 2, "img_size": 28},
    "beit_base_patch16_224": {"embed_dim": 24, "num_heads": 2, "img_size": 32},
}


def text_encoder(family: str) -> TextEncoder:
    torch.manual_seed(0)
    encoder = build_text({"model_type": family, **SIZES, **TEXT[family]})
    for name, values in encoder.named_parameters():
        if values.ndim > 1 and "embed" not in name:
            nn.init.normal_(values, std=0.3)
    return encoder.eval()


def words() -> dict[str, Tensor]:
    batch = tiny_batch()
    return {
        "input_ids": batch["input_ids"].clamp(min=2),
        "attention_mask": torch.ones_like(batch["attention_mask"]),
    }


def blocks_of(encoder: TextEncoder | VisionEncoder, **inputs: Tensor) -> list[Tensor]:
    """What enters the first block and what every block gives, stepped through block by block."""
    given = []
    hook = lambda module, args, out: given.append(out[0] if isinstance(out, tuple) else out)  # noqa: E731
    handles = [block.register_forward_hook(hook) for block in encoder.blocks]
    depth = len(encoder.blocks)
    with torch.no_grad(), encoder.stepped(range(1, depth + 1), inputs) as steps:
        entered = []
        for _ in range(depth):
            entered.append(steps.advance())
            steps.enter(entered[-1])
        end = steps.finish()
    for handle in handles:
        handle.remove()
    return [entered[0], *given, end]


@pytest.mark.parametrize("family", TEXT)
def test_stepped_through_a_text_encoder_gives_its_own_hidden_states(family: str) -> None:
    encoder, inputs = text_encoder(family), words()
    assert encoder.check(family)
    layers = blocks_of(encoder, **inputs)
    with torch.no_grad():
        own = encoder.model(**encoder.accepted(inputs), output_hidden_states=True)
    for layer, state in zip(layers[:3], own.hidden_states, strict=False):
        torch.testing.assert_close(layer, state)
    torch.testing.assert_close(layers[-1], own[0])


@pytest.mark.parametrize("name", VISION)
def test_stepped_through_a_vision_encoder_gives_its_own_layers(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_vision(name, {"depth": 3, **VISION[name]}).eval()
    assert encoder.check(name)
    height, width = encoder.embedding.img_size
    pixels = torch.randn(2, 3, height, width)
    layers = blocks_of(encoder, pixel_values=pixels)
    with torch.no_grad():
        torch.testing.assert_close(layers[-1], encoder.model.forward_features(pixels))
        torch.testing.assert_close(encoder.model.norm(layers[3]), layers[-1])


PRE_NORM = {
    *("megatron-bert", "roberta-prelayernorm", "xlm-roberta-xl", "modernbert", "t5"),
    *("gpt2", "llama"),
}


@pytest.mark.parametrize("family", TEXT)
def test_a_look_tells_a_final_norm_from_norms_at_the_end_of_every_block(family: str) -> None:
    encoder = text_encoder(family)
    facts = encoder.check(family)
    assert (facts.final_norm is not None) == (family in PRE_NORM)
    assert facts.normed == (family not in {*PRE_NORM, "mobilebert"})
    if facts.final_norm is not None:
        *_, last, end = blocks_of(encoder, **words())
        with torch.no_grad():
            torch.testing.assert_close(facts.final_norm(last), end)
        assert not torch.allclose(last, end, atol=1e-2)


@pytest.mark.parametrize("name", VISION)
def test_the_final_norm_of_a_vision_encoder_is_timms_where_it_has_one(name: str) -> None:
    encoder = build_vision(name, {"depth": 2, **VISION[name]}).eval()
    has_none = isinstance(encoder.model.norm, nn.Identity)
    assert has_none == name.startswith(("eva02", "beit"))
    assert encoder.facts.final_norm is (None if has_none else encoder.model.norm)
    assert not encoder.facts.normed


@pytest.mark.parametrize("family", ["mpnet", "deberta", "roformer", "electra", "fnet", "llama"])
def test_an_encoder_that_is_fused_sees_the_other_stream_and_without_fusion_is_itself(
    family: str,
) -> None:
    encoder = text_encoder(family)
    config = tiny_config((2,), (2,))
    config.text = {"model_type": family, **SIZES, **TEXT[family]}
    config.text_summary = "last" if encoder.check(family).causal else "first"
    vision = build_vision(config.vision["name"], config.vision["options"])
    inputs = {**words(), "pixel_values": tiny_batch()["pixel_values"]}
    fused = FusionModel(config, encoder, vision).eval()
    config.text_fusion_layers = config.vision_fusion_layers = []
    alone = FusionModel(config, encoder, vision).eval()
    with torch.no_grad():
        own = encoder.run(**words())
        torch.testing.assert_close(alone(**inputs).text, own)
        assert not torch.allclose(fused(**inputs).text, own, atol=1e-3)


@pytest.mark.parametrize(
    ("family", "causal", "mixes"),
    [
        ("bert", False, False),
        ("gpt2", True, False),
        ("llama", True, False),
        ("fnet", False, True),
        ("convbert", False, True),
    ],
)
def test_a_look_tells_causal_encoders_and_those_that_mix_padding_in(
    family: str, causal: bool, mixes: bool
) -> None:
    facts = text_encoder(family).check(family)
    assert (facts.causal, facts.mixes_padding) == (causal, mixes)


def test_prefix_tokens_say_what_they_are() -> None:
    of = {name: build_vision(name, {"depth": 1, **VISION[name]}).prefix for name in VISION}
    assert of["vit_tiny_patch16_224"] == (Role.SUMMARY,)
    assert of["vit_base_patch16_siglip_224"] == ()
    assert of["vit_small_patch16_dinov3"] == (Role.SUMMARY, *[Role.SPECIAL] * 4)
    assert build_vision("vit_base_patch16_siglip_224", {"depth": 1}).summary == "mean"


def test_an_encoder_that_does_something_between_its_blocks_is_refused_by_name() -> None:
    encoder = text_encoder("bert")
    second = encoder.blocks[1]
    between = encoder.model.encoder.forward

    def doubled(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        handle = second.register_forward_pre_hook(lambda m, a: (a[0] * 1.5, *a[1:]))
        try:
            return between(hidden, *args, **kwargs)
        finally:
            handle.remove()

    encoder.model.encoder.forward = doubled
    with pytest.raises(InputError, match=r"text encoder odd: .*between its blocks 1 and 2"):
        encoder.check("odd")


@pytest.mark.parametrize(
    ("family", "sizes", "words"),
    [
        ("albert", {"embedding_size": 8}, "albert model is not a list of blocks"),
        ("xlm", {"emb_dim": 16, "n_layers": 3, "n_heads": 2}, "is not what it calls layer 0"),
        ("longformer", {"attention_window": 4, "pad_token_id": 1}, "not what it calls layer 0"),
    ],
)
def test_an_encoder_that_is_no_list_of_its_layers_is_refused_by_name(
    family: str, sizes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as error:
        build_text({"model_type": family, **SIZES, **sizes}).check(family)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["swin_tiny_patch4_window7_224", "resnet18", "xcit_nano_12_p16_224"]
)
def test_a_vision_model_that_is_no_vit_is_refused_by_name(name: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=f"{name} is not a Vision Transf"):
        build_vision(name, {})


def test_half_precision_weights_are_trained_in_single_precision(tmp_path: Path) -> None:
    encoder = build_text(tiny_config().text)
    encoder.model.half().save_pretrained(tmp_path)
    assert {p.dtype for p in load_text(str(tmp_path)).parameters()} == {torch.float32}


def test_a_fusion_model_of_any_encoder_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    config = FusionConfig(
        text={"model_type": "deberta-v2", **SIZES, **TEXT["deberta-v2"]},
        vision={
            "name": "vit_base_patch16_siglip_224",
            "options": {"depth": 3, "embed_dim": 24, "num_heads": 2, "img_size": 32},
        },
        text_fusion_layers=[2],
        vision_fusion_layers=[3],
        co_attention={"inner": 16, "heads": 2},
        tasks=[{"name": "irony", "kind": "binary", "classes": ["no", "yes"]}],
        image={"size": 32},
    )
    torch.manual_seed(0)
    model = FusionModel(config).eval()
    model.save_pretrained(tmp_path)
    again = FusionModel.from_pretrained(tmp_path).eval()
    inputs = {**words(), "pixel_values": torch.randn(6, 3, 32, 32)}
    written, read = model.state_dict(), again.state_dict()
    assert written.keys() == read.keys()
    assert all(torch.equal(value, read[name]) for name, value in written.items())
    with torch.no_grad():  # where weights lie in memory decides how a product is rounded
        torch.testing.assert_close(
            model(**inputs).logits["irony"], again(**inputs).logits["irony"], rtol=0, atol=1e-6
        )
    assert [spec.poolings for spec in model.streams] == [("mean",), ("cls", "mean")]


def test_minilm_says_what_transformers_says(shared_dir: Path) -> None:
    folder = str(shared_dir / "weights" / "minilm_l6")
    encoder = load_text(folder).eval()
    assert not encoder.check("minilm_l6").causal
    ids = torch.tensor([[101, 1996, 4937, 102, 0], [101, 3899, 102, 0, 0]])
    mask = (ids > 0).long()
    layers = blocks_of(encoder, input_ids=ids, attention_mask=mask)
    with torch.inference_mode():
        model = AutoModel.from_pretrained(folder, dtype=torch.float32)
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state
    assert len(encoder.blocks) == 6
    torch.testing.assert_close(layers[6][:, 0], expected[:, 0], rtol=1e-4, atol=1e-5)


def test_vit_s14_says_what_timm_says(shared_dir: Path) -> None:
    weights = shared_dir / "weights" / "vit_small_patch14" / "model.safetensors"
    encoder = load_vision("vit_small_patch14_dinov2", {"img_size": 112}, weights).eval()
    encoder.check("vit_small_patch14")
    pixels = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    layers = blocks_of(encoder, pixel_values=pixels)
    assert layers[0].shape == (2, 65, 384)
    with torch.no_grad():
        torch.testing.assert_close(layers[-1], encoder.model.forward_features(pixels))


def saved_bert(folder: Path) -> Path:
    torch.manual_seed(0)
    build_text({"model_type": "bert", **SIZES}).model.save_pretrained(folder)
    return folder


def test_weights_with_a_head_and_without_a_pooler_are_opened(tmp_path: Path) -> None:
    config = AutoConfig.for_model("bert", **SIZES)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    assert load_text(str(tmp_path)).check("bert")


@pytest.mark.parametrize(
    ("tokens", "length", "words"),
    [(65, 32, "its tokenizer has 65 tokens, its weights know 64"), (64, 41, "more than the 40")],
)
def test_a_token_or_a_position_that_the_encoder_does_not_know_is_refused(
    tmp_path: Path, tokens: int, length: int, words: str
) -> None:
    folder = saved_bert(tmp_path)
    texts = [" ".join(f"{a}{b}" for a in "abcdefgh" for b in "ijklmnop")]
    train_tokenizer(texts, tokens).save_pretrained(folder)
    plan = TrainPlan("macros:n=40", "none", text_encoder=str(folder), max_text_length=length)
    with pytest.raises(InputError, match=words):
        build(plan, open_source(plan.data), (), 0)
