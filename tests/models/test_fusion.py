"""The fusion model: what reaches which layer, and that saving changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backend.capture.recorder import Recorder, Vectors
from backend.errors import InputError
from backend.models.dual_stream import DualStream
from backend.models.fusion import FusionModel
from backend.models.preprocess import Preprocessor, train_tokenizer
from backend.types import LayerRef
from tests.tiny import tiny_batch, tiny_config, tiny_model


def layers_of(model: FusionModel, batch: dict[str, torch.Tensor]) -> Vectors:
    pre = Preprocessor(train_tokenizer(["a b c"], 64), model.config.image, 32)
    with Recorder(DualStream(model, pre, "tiny")) as record:
        return record(batch)[0]


def changed(a: Vectors, b: Vectors, stream: str) -> dict[str, bool]:
    return {
        ref.label: not (a[ref, pooling] == b[ref, pooling]).all()
        for ref, pooling in a
        if ref.stream == stream and pooling == "mean"
    }


@pytest.mark.parametrize(("text", "vision"), [((2, 3), (2, 3)), ((1, 4), (3, 4)), ((4,), (1,))])
def test_cutting_the_fusion_changes_nothing_before_layer_k_and_everything_from_it_on(
    text: tuple[int, ...], vision: tuple[int, ...]
) -> None:
    batch = tiny_batch()
    fused, cut = tiny_model(text, vision), tiny_model(text, vision)
    for block in cut.co_attention:
        block.text_from_vision.project.weight.data.zero_()
        block.vision_from_text.project.weight.data.zero_()
    whole, without = layers_of(fused, batch), layers_of(cut, batch)
    for stream, first in (("text", text[0]), ("vision", vision[0])):
        for label, differs in changed(whole, without, stream).items():
            position = LayerRef.parse(stream, label).position
            assert differs == (position >= first - 0.5), (stream, label)


def test_the_other_modality_enters_at_the_fusion_layer_and_not_before() -> None:
    model = tiny_model((3,), (2,))
    batch = tiny_batch()
    other = {**batch, "pixel_values": batch["pixel_values"] + 1}
    seen = changed(layers_of(model, batch), layers_of(model, other), "text")
    assert seen == {"0": False, "1": False, "2": False, "3.fusion": True, "3": True, "4": True}
    shorter = {**batch, "input_ids": torch.where(batch["input_ids"] > 0, 7, 0)}
    seen = changed(layers_of(model, batch), layers_of(model, shorter), "vision")
    assert seen == {"0": False, "1": False, "2.fusion": True, "2": True, "3": True, "4": True}


def test_without_fusion_the_streams_never_meet() -> None:
    model = tiny_model()
    batch = tiny_batch()
    other = {**batch, "pixel_values": batch["pixel_values"] + 1}
    assert not any(changed(layers_of(model, batch), layers_of(model, other), "text").values())


def test_block_k_reads_the_fusion_output_of_k() -> None:
    model = tiny_model((2,), (3,))
    entered: dict[str, torch.Tensor] = {}
    produced: dict[str, torch.Tensor] = {}
    model.text.blocks[1].register_forward_pre_hook(lambda m, a: entered.update(text=a[0]))
    model.vision.blocks[2].register_forward_pre_hook(lambda m, a: entered.update(vision=a[0]))
    model.co_attention[0].register_forward_hook(
        lambda m, a, out: produced.update(text=out[0], vision=out[1])
    )
    model(**tiny_batch())
    assert torch.equal(entered["text"], produced["text"])
    assert torch.equal(entered["vision"], produced["vision"])


def test_padding_reaches_nothing() -> None:
    model = tiny_model((1, 4), (2, 4))
    batch = tiny_batch()
    longer = {
        "input_ids": torch.cat([batch["input_ids"], torch.full((6, 3), 9)], dim=1),
        "attention_mask": torch.cat([batch["attention_mask"], torch.zeros(6, 3).long()], dim=1),
        "pixel_values": batch["pixel_values"],
    }
    with torch.inference_mode():
        a, b = model(**batch), model(**longer)
    torch.testing.assert_close(a.vision_cls, b.vision_cls, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(a.text_cls, b.text_cls, rtol=1e-5, atol=1e-6)


def test_streams_of_different_depth_and_width() -> None:
    model = tiny_model((2, 3), (4, 6), text_depth=3, vision_depth=6, text_width=16, vision_width=24)
    vision, text = model.streams
    assert (text.depth, text.width, text.fusion_layers) == (3, 16, (2, 3))
    assert (vision.depth, vision.width, vision.fusion_layers) == (6, 24, (4, 6))
    assert model(**tiny_batch()).logits["object"].shape == (6, 4)


def test_a_head_for_each_kind_of_task() -> None:
    logits = tiny_model((2,), (2,))(**tiny_batch()).logits
    assert {name: tuple(x.shape) for name, x in logits.items()} == {
        "irony": (6, 1),
        "topics": (6, 3),
        "object": (6, 4),
    }


def test_saving_and_loading_gives_the_same_bits(tmp_path: Path) -> None:
    model = tiny_model((2, 3), (1, 4))
    model.save_pretrained(tmp_path)
    again = FusionModel.from_pretrained(tmp_path).eval()
    ours, theirs = dict(model.state_dict()), dict(again.state_dict())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(
        torch.equal(a, b)
        for (_, a), (_, b) in zip(model.named_buffers(), again.named_buffers(), strict=True)
    )
    with torch.inference_mode():
        a, b = model(**tiny_batch()).logits, again(**tiny_batch()).logits
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert again.placement.pairs == ((2, 1), (3, 4))


def test_a_layer_outside_the_encoder_is_refused() -> None:
    with pytest.raises(InputError, match=r"fusion layer 5 is outside the vision encoder"):
        FusionModel(tiny_config((4,), (5,)))


@pytest.mark.parametrize("family", ["roberta", "electra", "distilbert"])
def test_other_bert_like_encoders_serve_as_text_stream(family: str) -> None:
    sizes = {"vocab_size": 64, "hidden_size": 16, "num_attention_heads": 2, "pad_token_id": 0}
    text = (
        {"dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "vocab_size": 64}
        if family == "distilbert"
        else {**sizes, "num_hidden_layers": 3, "intermediate_size": 32, "embedding_size": 16}
    )
    config = tiny_config((2,), (2,))
    config.text = {"model_type": family, "max_position_embeddings": 64, **text}
    torch.manual_seed(0)
    model = FusionModel(config).eval()
    batch = tiny_batch()
    assert model.streams[1].depth == 3
    with torch.inference_mode():
        alone = FusionModel(tiny_config()).eval().vision.model
        assert alone is not None
        hidden = model.text.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state
        config.text_fusion_layers = config.vision_fusion_layers = []
        unfused = FusionModel(config, model.text, model.vision).eval()
        assert torch.allclose(unfused(**batch).text_cls, hidden[:, 0], atol=1e-5)


def test_freezing_stops_at_the_named_layer() -> None:
    model = tiny_model((3,), (3,))
    model.freeze(text=2, vision=0)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert not any(n.startswith("text.model.embeddings") for n in trained)
    assert not any(".encoder.layer.1." in n for n in trained)
    assert any(".encoder.layer.2." in n for n in trained)
    assert not any("patch_embed" in n or "pos_embed" in n or "cls_token" in n for n in trained)
    assert any("vision.model.blocks.0." in n for n in trained)
    assert any(n.startswith("co_attention") for n in trained)
