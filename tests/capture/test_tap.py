"""A tap reads what the design says, changes what it is told to, and leaves nothing behind.

What holds for every family is in tests/models/test_conformance.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backend.capture.sinks import PooledSink, TokenSink, Vectors
from backend.capture.tap import Tap
from backend.errors import InputError
from backend.models import edits
from backend.models.adapter import Adapter, AttentionKey, Inputs
from backend.models.dual_stream.adapter import DualStream
from backend.models.points import Point
from backend.models.roles import Role
from backend.types import LayerRef, StreamSpec
from tests.tiny import tiny_adapter, tiny_batch


@pytest.fixture(scope="module")
def adapter() -> DualStream:
    return tiny_adapter((2, 3), (2, 3))


def batch_of(adapter: DualStream) -> dict[str, Tensor]:
    """Texts that begin with CLS and end with SEP."""
    batch, tokenizer = tiny_batch(), adapter.preprocessor.tokenizer
    batch["input_ids"][:, 0] = tokenizer.cls_token_id
    lengths = batch["attention_mask"].sum(1)
    batch["input_ids"][torch.arange(6), lengths - 1] = tokenizer.sep_token_id
    return batch


def pooled(adapter: Adapter, inputs: Inputs, *changes: edits.Edit | edits.Cut) -> Vectors:
    sink = PooledSink(("cls", "mean"))
    with Tap(adapter, sink, changes) as tap:
        tap(inputs)
    return sink.vectors()


def test_every_site_is_captured_in_stream_order(adapter: DualStream) -> None:
    vectors = pooled(adapter, adapter.inputs(tiny_batch()))
    labels = [ref.label for ref in adapter.points() if ref.stream == "vision"]
    assert labels == ["0", "1", "2.fusion", "2", "3.fusion", "3", "4", "4.norm"]
    assert {(LayerRef.parse("vision", label), "cls") for label in labels} < set(vectors)
    assert {v.shape for v in vectors.values()} == {(6, 16)}
    assert {v.dtype for v in vectors.values()} == {np.dtype("float32")}


def test_the_mean_counts_content_alone(adapter: DualStream) -> None:
    batch = batch_of(adapter)
    lengths = batch["attention_mask"].sum(1)
    sink = TokenSink([LayerRef("text", 0), LayerRef("vision", 0)])
    pool = PooledSink(("mean",))
    with Tap(adapter, [sink, pool]) as tap:
        tap(adapter.inputs(batch))
    text, vision = (sink.tokens[LayerRef(name, 0)].numpy() for name in ("text", "vision"))
    vectors = pool.vectors()
    for row, length in enumerate(lengths.tolist()):
        expected = text[row, 1 : length - 1].mean(axis=0)  # neither CLS, nor SEP, nor padding
        assert np.allclose(vectors[LayerRef("text", 0), "mean"][row], expected, atol=1e-6)
        expected = vision[row, 1:].mean(axis=0)
        assert np.allclose(vectors[LayerRef("vision", 0), "mean"][row], expected, atol=1e-6)


def test_half_precision_without_gradients_and_without_a_trace(adapter: DualStream) -> None:
    before = {name: p.clone() for name, p in adapter.module.named_parameters()}
    sink = PooledSink(("cls",), "float16")
    with Tap(adapter, sink) as tap:
        logits = tap(adapter.inputs(tiny_batch()))
    assert {v.dtype for v in sink.vectors().values()} == {np.dtype("float16")}
    assert not logits["irony"].requires_grad
    assert all(torch.equal(p, before[name]) for name, p in adapter.module.named_parameters())


def test_in_training_what_is_read_has_a_gradient_and_the_mode_stays(adapter: DualStream) -> None:
    at = LayerRef("text", 3)
    sink = TokenSink([at])
    adapter.module.train()
    with Tap(adapter, sink, training=True) as tap:
        assert adapter.module.training
        tap(adapter.inputs(tiny_batch()))
    sink.tokens[at].sum().backward()
    block = adapter.model.text.blocks[2]
    assert any(p.grad is not None and p.grad.any() for p in block.parameters())
    adapter.module.zero_grad()
    adapter.module.eval()


def test_a_layer_that_is_never_reached_is_a_fault(
    adapter: DualStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {**adapter.points(), LayerRef("text", 1): Point(nn.Identity())}
    monkeypatch.setattr(adapter, "points", lambda: points)
    with pytest.raises(RuntimeError, match="did not reach text 1"):
        pooled(adapter, adapter.inputs(tiny_batch()))


class Twice(Adapter):
    """A module that runs twice; only its first call is declared, or both are."""

    family = "twice"
    name = "twice"

    def __init__(self, calls: tuple[int, ...]) -> None:
        self.layer = nn.Linear(3, 3)
        self.calls = calls
        self.streams = (StreamSpec.of("text", "text", len(calls) - 1, 3, poolings=("mean",)),)

    @property
    def module(self) -> nn.Module:
        return self.layer

    def points(self) -> dict[LayerRef, Point]:
        return {LayerRef("text", k): Point(self.layer, call=k) for k in self.calls}

    def encode(self, samples: object) -> Inputs:
        roles = torch.full((2, 4), int(Role.CONTENT), dtype=torch.int8)
        return Inputs({"x": torch.ones(2, 4, 3)}, {"text": roles})

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        return {"y": self.layer(self.layer(inputs.tensors["x"]))}


def test_a_second_call_that_nobody_declared_is_a_fault_and_a_declared_one_a_layer() -> None:
    with pytest.raises(RuntimeError, match=r"ran 2 times in one pass.*text 0"):
        pooled(Twice((0,)), Twice((0,)).encode(()))
    both = Twice((0, 1))
    vectors = pooled(both, both.encode(()))
    once = both.layer(torch.ones(3)).detach()
    assert np.allclose(vectors[LayerRef("text", 0), "mean"][0], once.numpy())
    assert np.allclose(vectors[LayerRef("text", 1), "mean"][0], both.layer(once).detach().numpy())


def test_patching_a_site_from_another_sample_gives_what_follows_of_that_sample(
    adapter: DualStream,
) -> None:
    batch = tiny_batch()
    batch["attention_mask"][:] = 1
    inputs = adapter.inputs(batch)
    at = LayerRef("vision", 4)
    sink = TokenSink([at])
    with Tap(adapter, sink) as tap:
        plain = tap(inputs)["irony"]
    texts = adapter.inputs({**batch, "input_ids": batch["input_ids"][:1].expand(6, -1)})
    with Tap(adapter, (), [edits.patch(at, sink.tokens[at][:1])]) as tap:
        patched = tap(texts)["irony"]
    # With the first text everywhere, text differs only by what it read from the images before.
    with Tap(adapter, (), [edits.patch(at, sink.tokens[at])]) as tap:
        same = tap(inputs)["irony"]
    torch.testing.assert_close(same, plain)
    assert not torch.allclose(patched, plain)


def test_patching_the_summary_alone_leaves_the_other_tokens(adapter: DualStream) -> None:
    inputs, at = adapter.inputs(batch_of(adapter)), LayerRef("text", 2)
    before = pooled(adapter, inputs)
    vector = torch.full((1, 1, 16), 3.0)
    after = pooled(adapter, inputs, edits.patch(at, vector, Role.SUMMARY))
    assert np.allclose(after[at, "cls"], 3.0)
    assert np.array_equal(after[at, "mean"], before[at, "mean"])


def test_adding_a_vector_moves_a_site_by_it(adapter: DualStream) -> None:
    inputs, at = adapter.inputs(tiny_batch()), LayerRef("vision", 3, "fusion")
    before = pooled(adapter, inputs)
    after = pooled(adapter, inputs, edits.add(at, torch.full((16,), 0.5)))
    for pooling in ("cls", "mean"):
        assert np.allclose(after[at, pooling] - before[at, pooling], 0.5, atol=1e-5)


def test_tokens_that_do_not_fit_are_refused_in_one_line(adapter: DualStream) -> None:
    wrong = edits.patch(LayerRef("vision", 1), torch.zeros(1, 3, 16))
    with pytest.raises(InputError, match=r"patching vision 1: tokens of shape \(1, 3, 16\)"):
        pooled(adapter, adapter.inputs(tiny_batch()), wrong)


def test_a_stream_that_takes_nothing_in_cannot_be_cut(adapter: DualStream) -> None:
    with pytest.raises(InputError, match=r"takes no other stream in at layer 4.*2, 3"):
        edits.cut(adapter.stream("text"), 4)


class Recorder(TokenSink):
    """Remembers what it was given, asked for or not."""

    def __init__(self, refs: list[LayerRef], keys: list[AttentionKey]) -> None:
        super().__init__(refs)
        self.keys = keys
        self.given: list[LayerRef | AttentionKey] = []

    def maps(self, adapter: Adapter) -> list[AttentionKey]:
        return self.keys

    def take(self, ref: LayerRef, tokens: Tensor) -> None:
        self.given.append(ref)

    def take_map(self, key: AttentionKey, weights: Tensor) -> None:
        self.given.append(key)


def test_each_sink_gets_what_it_asked_for_and_nothing_else(adapter: DualStream) -> None:
    first, second = LayerRef("text", 1), LayerRef("vision", 3)
    fusion = AttentionKey(LayerRef("text", 2, "fusion"), "vision")
    other = AttentionKey(LayerRef("vision", 2, "fusion"), "text")
    a, b = Recorder([first, second], [fusion]), Recorder([first], [fusion, other])
    nothing = PooledSink(())
    with Tap(adapter, [a, nothing, b], [edits.add(LayerRef("text", 4), torch.zeros(16))]) as tap:
        tap(adapter.inputs(tiny_batch()))
    assert set(a.given) == {first, second, fusion} and len(a.given) == 3
    assert set(b.given) == {first, fusion, other} and len(b.given) == 3
    assert nothing.vectors() == {}


def test_outside_its_block_a_tap_refuses(adapter: DualStream) -> None:
    with pytest.raises(RuntimeError, match="inside its with block"):
        Tap(adapter)(adapter.inputs(tiny_batch()))
