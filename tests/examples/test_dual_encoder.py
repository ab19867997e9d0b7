"""The example that trains a dual encoder: what it saves is what it trained, and opens anywhere."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoProcessor,
    BertModel,
    ViTImageProcessor,
    ViTModel,
)

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.data.registry import open_source
from backend.models.registry import open_model
from backend.types import LayerRef
from examples import dual_encoder
from examples.dual_encoder import Pooled, image_text_contrastive_loss, similarity
from tests.models.families.common import enlarged
from tests.models.families.vision_text_dual import bert, bert_tokenizer, vit

DATA = "macros:n=24,dev=12,test=6"


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The command line's directories of a tiny BERT and a tiny ViT."""
    folder = tmp_path_factory.mktemp("encoders")
    tokenizer = bert_tokenizer()
    torch.manual_seed(0)
    enlarged(BertModel(bert(tokenizer))).save_pretrained(folder / "text")
    tokenizer.save_pretrained(folder / "text")
    enlarged(ViTModel(vit())).save_pretrained(folder / "vision")
    ViTImageProcessor(size={"height": 24, "width": 24}).save_pretrained(folder / "vision")
    return {
        "--text-encoder": str(folder / "text"),
        "--vision-encoder": str(folder / "vision"),
        "--data": DATA,
    }


def trained(asked: dict[str, str], out: Path, **changed: str) -> int:
    given = {**asked, "--width": "8", "--epochs": "6", "--batch-size": "8", "--out": str(out)}
    given |= {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    return dual_encoder.main([word for option in given.items() for word in option])


@pytest.fixture(scope="module")
def out(encoders: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert trained(encoders, folder) == 0
    return folder


@pytest.mark.parametrize("state", ["untrained", "trained"])
def test_the_saved_model_has_the_shared_space_that_transformers_computes(
    out: Path, state: str
) -> None:
    pairs = list(open_source(DATA).pairs("test"))
    adapter = open_model(str(out / state))
    refs = [LayerRef(spec.name, spec.depth, "projected") for spec in adapter.streams]
    sink = TokenSink(refs)
    with Tap(adapter, sink) as tap:
        tap(adapter.encode([pair.sample for pair in pairs]))

    model = AutoModel.from_pretrained(out / state)
    processor = AutoProcessor.from_pretrained(out / state)
    inputs = processor(
        text=[pair.record.text for pair in pairs],
        images=[pair.sample.images[0] for pair in pairs],
        padding=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        expected = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            pixel_values=inputs["pixel_values"],
        )
    for ref, theirs in zip(refs, (expected.image_embeds, expected.text_embeds), strict=True):
        ours = torch.nn.functional.normalize(sink.tokens[ref][:, 0], dim=-1)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_only_the_projections_and_the_temperature_are_learned(out: Path) -> None:
    before, after = (
        load_file(out / state / "model.safetensors") for state in ("untrained", "trained")
    )
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"logit_scale", "text_projection.weight", "visual_projection.weight"}


def test_the_model_that_is_kept_is_that_of_the_epoch_with_the_least_dev_loss(out: Path) -> None:
    adapter = open_model(str(out / "untrained"))
    widths = [adapter.stream(name).width for name in ("vision", "text")]
    rows = torch.Generator().manual_seed(0)
    train, dev = (
        Pooled(*(torch.randn(n, width, generator=rows) for width in widths), np.zeros(n))
        for n in (16, 64)
    )
    recipe = dual_encoder.Recipe(40, 16, 0.02, 0.0, seed=0)
    history = dual_encoder.train_projections(adapter.model, train, dev, recipe)
    losses = [row.dev_loss for row in history]
    assert [row.epoch for row in history] == list(range(41))
    assert history[-1].train_loss < 0.5 * history[0].train_loss
    assert losses[-1] > 1.02 * min(losses), "the last epoch must not be the best for this to tell"
    assert dual_encoder.loss_of(adapter.model, dev) == pytest.approx(min(losses), rel=1e-6)


def test_what_came_of_every_epoch_is_written_down(out: Path) -> None:
    history = json.loads((out / "history.json").read_text())
    assert [row["epoch"] for row in history] == list(range(7))
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_the_loss_on_kept_outputs_is_the_one_that_the_model_computes_itself(out: Path) -> None:
    adapter = open_model(str(out / "trained"))
    source = open_source(DATA)
    inputs = adapter.encode([pair.sample for pair in source.pairs("dev")])
    kept = dual_encoder.pooled(adapter, source, "dev", None)
    with torch.inference_mode():
        expected = adapter.model(**inputs.tensors, return_loss=True)
        ours = similarity(adapter.model, kept.images, kept.texts)
    torch.testing.assert_close(ours, expected.logits_per_text, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(image_text_contrastive_loss(ours), expected.loss)


def test_kept_outputs_serve_another_seed_and_not_other_pairs(
    encoders: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []
    pooled = dual_encoder.pooled

    def counted(adapter: object, source: object, split: str, limit: int | None) -> Pooled:
        runs.append(split)
        return pooled(adapter, source, split, limit)

    monkeypatch.setattr(dual_encoder, "pooled", counted)
    assert trained(encoders, tmp_path) == 0
    first = load_file(tmp_path / "untrained" / "model.safetensors")
    assert trained(encoders, tmp_path, seed="1") == 0
    second = load_file(tmp_path / "untrained" / "model.safetensors")
    assert runs == ["train", "dev"]
    assert not torch.equal(first["text_projection.weight"], second["text_projection.weight"])
    assert trained(encoders, tmp_path, data="macros:n=24,dev=12,test=6,seed=5") == 0
    assert runs == ["train", "dev"] * 2


def tiny_timm(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    options = {"img_size": 28, "patch_size": 14, "embed_dim": 12, "depth": 2, "num_heads": 2}
    return enlarged(timm.create_model(name, num_classes=0, **options)).eval()


def test_a_vision_encoder_of_timm_gives_the_same_tokens_as_a_class_of_transformers() -> None:
    vit = tiny_timm("vit_small_patch14_dinov2")
    for block in vit.blocks:
        torch.nn.init.normal_(block.ls1.gamma)
        torch.nn.init.normal_(block.ls2.gamma)
    made = dual_encoder.as_dinov2(vit, "tiny")
    pixels = torch.randn(2, 3, 28, 28)
    with torch.inference_mode():
        tokens = made(pixels)
        expected = vit.forward_features(pixels)
    torch.testing.assert_close(tokens.last_hidden_state, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tokens.pooler_output, expected[:, 0], rtol=1e-4, atol=1e-4)


def test_weights_in_timms_format_are_trained_on_from_their_file(
    encoders: dict[str, str], tmp_path: Path
) -> None:
    vit = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=28)
    save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    name = f"vit_small_patch14_dinov2:{tmp_path / 'vit.safetensors'}"
    asked = {**encoders, "--vision-encoder": name}
    assert trained(asked, tmp_path / "out", image_size="28", limit="6", epochs="1") == 0
    adapter = open_model(str(tmp_path / "out" / "trained"))
    assert adapter.stream("vision").depth == 12
    assert adapter.model.config.vision_config.model_type == "dinov2"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"text_encoder": "no/such"}, "no/such"),
        ({"vision_encoder": "resnet18"}, "not a Vision Transformer"),
        ({"image_size": "32"}, "takes images of 24 pixels, not 32"),
        ({"data": "macros:n=0"}, ""),
    ],
    ids=["text", "vision", "size", "data"],
)
def test_bad_input_is_one_line(
    encoders: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str],
    said: str,
) -> None:
    assert trained(encoders, tmp_path, **changed) == 2
    line = capsys.readouterr().err
    assert line.startswith("dual_encoder: ") and said in line and line.count("\n") == 1


def test_an_encoder_that_is_built_otherwise_is_not_taken_for_dinov2() -> None:
    with pytest.raises(dual_encoder.InputError, match="is not built as DINOv2"):
        dual_encoder.as_dinov2(tiny_timm("vit_small_patch14_reg4_dinov2"), "tiny")


def test_chance_is_the_loss_of_scores_that_are_all_the_same() -> None:
    assert float(image_text_contrastive_loss(torch.zeros(7, 7))) == pytest.approx(math.log(7))
