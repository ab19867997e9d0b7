"""What a hook records is what the layer put out, pooled as the design says; and hooks come off."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from backend.capture.recorder import Recorder
from backend.models.dual_stream import DualStream
from backend.types import LayerRef
from tests.tiny import tiny_batch, tiny_checkpoint


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> DualStream:
    return DualStream.load(str(tiny_checkpoint(tmp_path_factory.mktemp("model"))))


def hooks(adapter: DualStream) -> int:
    return sum(len(m._forward_hooks) for m in adapter.module.modules())


def test_every_layer_and_fusion_output_is_captured_in_stream_order(adapter: DualStream) -> None:
    with Recorder(adapter) as record:
        vectors, _ = record(tiny_batch())
    vision = [ref.label for ref, pooling in vectors if ref.stream == "vision" and pooling == "cls"]
    assert vision == ["0", "1", "2.fusion", "2", "3.fusion", "3", "4"]
    assert {v.shape for v in vectors.values()} == {(6, 16)}
    assert {v.dtype for v in vectors.values()} == {np.dtype("float32")}


def test_layer_k_is_the_output_of_block_k(adapter: DualStream) -> None:
    model, batch = adapter.model, tiny_batch()
    with Recorder(adapter) as record:
        vectors, logits = record(batch)
    with torch.inference_mode():
        text, vision = (
            model.text.embed(batch["input_ids"]),
            model.vision.embed(batch["pixel_values"]),
        )
        own = model.text.attention_mask(text, batch["attention_mask"])
        for k in (1, 2, 3, 4):
            if k in (2, 3):
                fused = model.co_attention[k - 2](text, vision, batch["attention_mask"].bool())
                text, vision = fused
                at = LayerRef("text", k, "fusion")
                assert np.array_equal(vectors[at, "cls"], text[:, 0].numpy())
            text, vision = model.text.block(k, text, own), model.vision.block(k, vision)
            for stream, tokens in (("text", text), ("vision", vision)):
                assert np.array_equal(vectors[LayerRef(stream, k), "cls"], tokens[:, 0].numpy())
        assert torch.equal(logits["irony"], model(**batch).logits["irony"])


def test_the_mean_counts_no_padding_and_no_cls(adapter: DualStream) -> None:
    model, batch = adapter.model, tiny_batch()
    with Recorder(adapter) as record:
        vectors, _ = record(batch)
    with torch.inference_mode():
        text = model.text.embed(batch["input_ids"]).numpy()
        vision = model.vision.embed(batch["pixel_values"]).numpy()
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        expected = text[row, 1:length].mean(axis=0)
        assert np.allclose(vectors[LayerRef("text", 0), "mean"][row], expected, atol=1e-6)
        expected = vision[row, 1:].mean(axis=0)
        assert np.allclose(vectors[LayerRef("vision", 0), "mean"][row], expected, atol=1e-6)


def test_padding_of_the_batch_does_not_change_a_sample(adapter: DualStream) -> None:
    batch = tiny_batch()
    short = {name: value[:1] for name, value in batch.items()}
    short = {**short, "input_ids": short["input_ids"][:, :3]}
    short["attention_mask"] = short["attention_mask"][:, :3]
    with Recorder(adapter) as record:
        padded, _ = record(batch)
        alone, _ = record(short)
    for key, value in alone.items():
        assert np.allclose(value[0], padded[key][0], atol=1e-5), key


def test_hooks_come_off_and_the_mode_comes_back_after_an_error(adapter: DualStream) -> None:
    adapter.module.train()
    with pytest.raises(KeyboardInterrupt), Recorder(adapter):
        assert hooks(adapter)
        assert not adapter.module.training
        raise KeyboardInterrupt
    assert hooks(adapter) == 0
    assert adapter.module.training
    adapter.module.eval()


def test_recording_leaves_no_gradient_and_no_trace(adapter: DualStream) -> None:
    before = {name: p.clone() for name, p in adapter.module.named_parameters()}
    with Recorder(adapter, ("cls",), "float16") as record:
        vectors, logits = record(tiny_batch())
    assert {v.dtype for v in vectors.values()} == {np.dtype("float16")}
    assert not logits["irony"].requires_grad
    assert all(torch.equal(p, before[name]) for name, p in adapter.module.named_parameters())


def test_a_layer_that_is_never_reached_is_a_fault(
    adapter: DualStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = adapter.points()
    spare = torch.nn.Identity()
    points[LayerRef("text", 1)] = type(points[LayerRef("text", 1)])(spare, lambda out: out)
    monkeypatch.setattr(adapter, "points", lambda: points)
    with Recorder(adapter) as record, pytest.raises(RuntimeError, match="did not reach"):
        record(tiny_batch())


def test_outside_its_block_a_recorder_refuses(adapter: DualStream, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="inside its with block"):
        Recorder(adapter)(tiny_batch())
