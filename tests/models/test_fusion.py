"""The fusion model: what reaches which layer, and that saving changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.capture.sinks import PooledSink, Vectors
from backend.capture.tap import Tap
from backend.errors import InputError
from backend.models.dual_stream.adapter import DualStream
from backend.models.dual_stream.model import FusionModel
from backend.models.dual_stream.preprocess import Preprocessor, train_tokenizer
from backend.types import LayerRef
from tests.tiny import tiny_batch, tiny_config, tiny_model


def layers_of(model: FusionModel, batch: dict[str, torch.Tensor]) -> Vectors:
    pre = Preprocessor(train_tokenizer(["a b c"], 64), model.config.image, 32)
    adapter, sink = DualStream(model, pre, "tiny"), PooledSink(("mean",))
    with Tap(adapter, sink) as tap:
        tap(adapter.inputs(batch))
    return sink.vectors()


def changed(a: Vectors, b: Vectors, stream: str) -> dict[str, bool]:
    return {
        ref.label: not (a[ref, pooling] == b[ref, pooling]).all()
        for ref, pooling in a
        if ref.stream == stream and pooling == "mean"
    }


def test_the_other_modality_enters_at_the_fusion_layer_and_not_before() -> None:
    model = tiny_model((3,), (2,))
    batch = tiny_batch()
    other = {**batch, "pixel_values": batch["pixel_values"] + 1}
    seen = changed(layers_of(model, batch), layers_of(model, other), "text")
    assert seen == {"0": False, "1": False, "2": False, "3.fusion": True, "3": True, "4": True}
    shorter = {**batch, "input_ids": torch.where(batch["input_ids"] > 0, 7, 0)}
    seen = changed(layers_of(model, batch), layers_of(model, shorter), "vision")
    assert seen == {
        "0": False,
        "1": False,
        "2.fusion": True,
        "2": True,
        "3": True,
        "4": True,
        "4.norm": True,
    }


def test_the_site_of_the_final_norm_is_what_timm_gives_pooled() -> None:
    model, batch = tiny_model(), tiny_batch()
    vectors = layers_of(model, batch)
    with torch.inference_mode():
        tokens = model.vision.model.forward_features(batch["pixel_values"])
    at = LayerRef("vision", 4, "norm")
    torch.testing.assert_close(torch.from_numpy(vectors[at, "mean"]), tokens[:, 1:].mean(dim=1))
    assert not np.allclose(vectors[at, "mean"], vectors[LayerRef("vision", 4), "mean"], atol=1e-2)
    vision, text = model.streams
    assert [ref.label for ref in vision.refs[-3:]] == ["3", "4", "4.norm"]
    assert vision.depth == 4 and not vision.note
    assert text.refs == text.layers and "after its own LayerNorm" in text.note


def test_the_site_of_the_final_norm_is_what_the_heads_read_after_a_fusion() -> None:
    model, batch = tiny_model((4,), (4,)), tiny_batch()
    vectors = layers_of(model, batch)
    with torch.inference_mode():
        read = model(**batch).vision
    mean = torch.from_numpy(vectors[LayerRef("vision", 4, "norm"), "mean"])
    torch.testing.assert_close(mean, read[:, 1:].mean(dim=1))


def test_heads_that_read_no_final_norm_are_said_to() -> None:
    config = tiny_config()
    config.head["final_norm"] = False
    vision, _ = FusionModel(config).eval().streams
    assert vision.refs[-1] == LayerRef("vision", 4, "norm")
    assert vision.note == "The heads read layer 4, before the final norm."


def test_without_fusion_the_streams_never_meet() -> None:
    model = tiny_model()
    batch = tiny_batch()
    other = {**batch, "pixel_values": batch["pixel_values"] + 1}
    assert not any(changed(layers_of(model, batch), layers_of(model, other), "text").values())


def test_block_k_reads_the_fusion_output_of_k() -> None:
    model = tiny_model((2,), (3,))
    entered: dict[str, torch.Tensor] = {}
    produced: dict[str, torch.Tensor] = {}
    model.text.blocks[1].register_forward_hook(lambda m, a, out: entered.update(text=a[0]))
    model.vision.blocks[2].register_forward_hook(lambda m, a, out: entered.update(vision=a[0]))
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
    torch.testing.assert_close(a.vision, b.vision, rtol=1e-5, atol=1e-6)
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(a.text[real], b.text[:, :9][real], rtol=1e-5, atol=1e-6)


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


def test_an_interrupted_pass_leaves_no_hooks_and_no_half_run_encoder() -> None:
    model, batch = tiny_model((2, 3), (2, 4)), tiny_batch()
    before = sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())
    handle = model.vision.blocks[2].register_forward_hook(_fail)
    with pytest.raises(ZeroDivisionError):
        model(**batch)
    handle.remove()
    after = sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())
    assert after == before
    torch.testing.assert_close(
        model(**batch).logits["irony"], tiny_model((2, 3), (2, 4))(**batch).logits["irony"]
    )


def _fail(*_: object) -> None:
    raise ZeroDivisionError


def test_gradients_flow_through_both_encoders_and_the_fusions() -> None:
    model = tiny_model((2,), (3,)).train()
    model(**tiny_batch()).logits["irony"].sum().backward()
    for part in (model.text.embedding, model.vision.embedding, model.co_attention[0].ff_text):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


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
