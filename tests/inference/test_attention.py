"""Maps equal plain matrix products, and reading them means what the docstrings say."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from backend.errors import InputError
from backend.inference.attention import (
    footprints,
    in_picture,
    of_heads,
    reading,
    shares,
    without_special,
)
from backend.inference.tracing import trace_batch
from backend.inference.values import MapKey, Tokens, Trace
from backend.models.roles import Role
from backend.types import LayerRef
from backend.views.attention import Choice, looking, weights_over
from backend.views.attention import patches as attended
from tests.models.families.common import Case


def made(family: str) -> Case:
    case: Case = import_module(f"tests.models.families.{family}").tiny()
    case.adapter.module.eval()
    return case


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def linear(x: np.ndarray, layer: nn.Linear) -> np.ndarray:
    return x @ array(layer.weight).T + array(layer.bias)


def normed(x: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps)
    return scaled * array(norm.weight) + array(norm.bias)


def softmax_map(q: np.ndarray, k: np.ndarray, heads: int, scale: float) -> np.ndarray:
    """(T, d), (S, d) -> (heads, T, S), one head at a time."""
    width = q.shape[1] // heads
    maps = []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        scores = np.exp(q[:, part] @ k[:, part].T * scale)
        maps.append(scores / scores.sum(-1, keepdims=True))
    return np.stack(maps)


def entering(module: nn.Module, case: Case, row: int) -> list[np.ndarray]:
    """What the tensors that enter a module are in the pass over one sample alone."""
    seen: list[np.ndarray] = []

    def keep(_: nn.Module, args: tuple, kwargs: dict) -> None:
        tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)]
        seen.extend(array(tensor)[0] for tensor in tensors if tensor.ndim == 3)

    handle = module.register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        case.adapter.forward(case.adapter.encode([case.samples[row]]))
    handle.remove()
    return seen


@pytest.mark.parametrize("row", [0, 2])
def test_maps_of_our_co_attention_are_softmaxes_of_queries_times_keys(row: int) -> None:
    case = made("dual_stream")
    trace = trace_batch(case.adapter, case.samples)[row]
    for at, (k_text, k_vision) in enumerate(((2, 1), (3, 5))):
        fuse = case.adapter.module.co_attention[at]
        text, vision = entering(fuse, case, row)[:2]
        text, vision = normed(text, fuse.norm_in_text), normed(vision, fuse.norm_in_vision)
        for layer, stream, reads, own, other, attention in (
            (k_text, "text", "vision", text, vision, fuse.text_from_vision),
            (k_vision, "vision", "text", vision, text, fuse.vision_from_text),
        ):
            q, k = linear(own, attention.query), linear(other, attention.key)
            expected = softmax_map(q, k, heads=2, scale=(16 / 2) ** -0.5)
            weights = trace.attention[MapKey(LayerRef(stream, layer, "fusion"), reads)]
            np.testing.assert_allclose(weights, expected, atol=1e-6)


def test_what_is_shown_of_a_word_a_patch_and_a_head_is_the_softmax_over_content() -> None:
    case = made("dual_stream")
    trace = trace_batch(case.adapter, case.samples)[2]  # 24 x 48 pixels
    fuse = case.adapter.module.co_attention[1]
    text, vision = entering(fuse, case, 2)[:2]
    text, vision = normed(text, fuse.norm_in_text), normed(vision, fuse.norm_in_vision)
    word, head = list(looking(trace).captions)[2], slice(8, 16)  # the second of two heads

    ours = fuse.text_from_vision
    scores = linear(vision, ours.key)[:, head] @ linear(text[word], ours.query)[head] / 8**0.5
    of_patches = np.exp(scores[1:]) / np.exp(scores[1:]).sum()  # the first is CLS
    key = MapKey(LayerRef("text", 3, "fusion"), "vision")
    patches = attended(trace, "vision", (24, 48))
    shown = weights_over(trace, key, "vision", Choice(word=word, head=1))[patches.tokens]
    np.testing.assert_allclose(shown, of_patches, atol=1e-6)
    assert patches.boxes[1].tolist() == [12, 0, 24, 24]

    theirs, upper_right = fuse.vision_from_text, patches.tokens[1]
    assert upper_right == 2
    query = linear(vision[upper_right], theirs.query)[head]
    scores = linear(text, theirs.key)[1:-1, head] @ query / 8**0.5  # without CLS and SEP
    key = MapKey(LayerRef("vision", 5, "fusion"), "text")
    read = weights_over(trace, key, "text", Choice(patch=upper_right, head=1))
    np.testing.assert_allclose(read[1:-1], np.exp(scores) / np.exp(scores).sum(), atol=1e-6)
    assert not read[[0, -1]].any()


def test_maps_of_vilt_are_blocks_of_one_softmax_over_words_and_patches() -> None:
    case = made("vilt")
    trace = trace_batch(case.adapter, case.samples)[1]
    words = len(trace.tokens["text"].roles)
    for layer in (1, 2):
        block = case.adapter.module.encoder.layer[layer - 1]
        hidden = normed(entering(block, case, 1)[0], block.layernorm_before)
        attention = block.attention.attention
        q, k = linear(hidden, attention.query), linear(hidden, attention.key)
        heads = attention.num_attention_heads
        whole = softmax_map(q, k, heads, (q.shape[1] / heads) ** -0.5)
        for stream, reads, block_of in (
            ("text", "vision", np.s_[:, :words, words:]),
            ("vision", "text", np.s_[:, words:, :words]),
            ("text", "text", np.s_[:, :words, :words]),
        ):
            weights = trace.attention[MapKey(LayerRef(stream, layer), reads)]
            np.testing.assert_allclose(weights, whole[block_of], atol=1e-6)


def test_maps_of_blip2s_queries_are_softmaxes_of_their_projections() -> None:
    case = made("blip2")
    trace = trace_batch(case.adapter, case.samples)[3]
    attention = case.adapter.queries[2].crossattention.attention
    queries, patches = entering(attention, case, 3)[:2]
    q, k = linear(queries, attention.query), linear(patches, attention.key)
    heads = attention.num_attention_heads
    expected = softmax_map(q, k, heads, (q.shape[1] / heads) ** -0.5)
    weights = trace.attention[MapKey(LayerRef("query", 3, "fusion"), "vision")]
    np.testing.assert_allclose(weights, expected, atol=1e-6)


WEIGHTS = np.array(
    [[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], [[0.3, 0.3, 0.4], [0.3, 0.6, 0.1]]], dtype=np.float32
)
"""Two heads, two words, three tokens of the picture."""
KEYS = Tokens(
    np.array([Role.SUMMARY, Role.CONTENT, Role.CONTENT], dtype=np.int8), ("",) * 3, "box",
    np.array([[np.nan] * 4, [0, 0, 2, 4], [2, 0, 4, 4]], dtype=np.float32),
)  # fmt: skip


def test_a_word_reads_a_row_and_a_patch_is_read_by_a_column() -> None:
    averaged = of_heads(WEIGHTS)
    np.testing.assert_allclose(averaged, [[0.4, 0.275, 0.325], [0.2, 0.4, 0.4]], atol=1e-7)
    np.testing.assert_array_equal(of_heads(WEIGHTS, 1), WEIGHTS[1])
    np.testing.assert_allclose(reading(averaged, 1, of="query"), [0.2, 0.4, 0.4], atol=1e-7)
    np.testing.assert_allclose(reading(averaged, 1, of="key"), [0.275, 0.4], atol=1e-7)


def test_a_head_or_a_token_that_is_not_there_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="there is no head 2: this map has 2"):
        of_heads(WEIGHTS, 2)
    with pytest.raises(InputError, match="there is no token 3: the map has 3"):
        reading(of_heads(WEIGHTS), 3, of="key")
    with pytest.raises(InputError, match="there is no token -1"):
        reading(of_heads(WEIGHTS), -1, of="query")


def test_without_special_tokens_rows_sum_to_one_over_content() -> None:
    left = without_special(WEIGHTS, KEYS)
    assert not left[..., 0].any()
    np.testing.assert_allclose(left[0], [[0, 0.5, 0.5], [0, 2 / 9, 7 / 9]], atol=1e-6)
    nothing = WEIGHTS.copy()
    nothing[1, 0] = [1.0, 0.0, 0.0]
    left = without_special(nothing, KEYS)
    assert np.isnan(left[1, 0]).all()
    np.testing.assert_allclose(left[1, 1], [0, 6 / 7, 1 / 7], atol=1e-6)


def made_trace(weights: np.ndarray, itself: np.ndarray | None = None) -> Trace:
    roles = np.array([Role.SPECIAL, Role.CONTENT], dtype=np.int8)
    words = Tokens(roles, ("[CLS]", "cat"), "span", np.zeros((2, 2), dtype=np.float32))
    ref = LayerRef("text", 1)
    maps = {MapKey(ref, "vision"): weights}
    if itself is not None:
        maps[MapKey(ref, "text")] = itself
    return Trace("m", "f", "", (), {}, {"text": words, "vision": KEYS}, maps)


def test_the_meter_says_where_the_attention_of_words_goes() -> None:
    key = MapKey(LayerRef("text", 1), "vision")
    meter = shares(made_trace(WEIGHTS), key)
    assert (meter.content, meter.summary, meter.special) == pytest.approx((0.8, 0.2, 0.0))
    assert meter.own == pytest.approx(0, abs=1e-6)
    meter = shares(made_trace(WEIGHTS), key, head=0)
    assert (meter.content, meter.summary) == pytest.approx((0.9, 0.1))


def test_the_meter_counts_the_first_token_of_a_shared_sequence() -> None:
    """Half of a word's attention stays among words, most of that with CLS."""
    itself = np.array([[[0.5, 0.0], [0.4, 0.1]]], dtype=np.float32)
    meter = shares(made_trace(WEIGHTS[:1] / 2, itself), MapKey(LayerRef("text", 1), "vision"))
    parts = (meter.content, meter.summary, meter.special, meter.own)
    assert parts == pytest.approx((0.45, 0.05, 0.4, 0.1))
    blind = shares(made_trace(WEIGHTS[:1] / 2), MapKey(LayerRef("text", 1), "vision"))
    assert (blind.special, blind.own) == pytest.approx((0.0, 0.5))


def test_the_meter_leaves_out_words_that_read_nothing() -> None:
    weights = WEIGHTS.copy()
    weights[:, 1] = 0.0
    assert np.isnan(shares(made_trace(weights), MapKey(LayerRef("text", 1), "vision")).content)


@pytest.mark.parametrize("family", ["dual_stream", "vilt", "llava", "idefics", "paligemma"])
def test_shares_of_every_meet_sum_to_one(family: str) -> None:
    case = made(family)
    for trace in trace_batch(case.adapter, case.samples):
        for key in trace.attention:
            meter = shares(trace, key)
            parts = (meter.content, meter.summary, meter.special, meter.own)
            assert sum(parts) == pytest.approx(1.0, abs=1e-6)
            assert min(parts) > -1e-6


def test_footprints_are_clipped_to_the_picture_and_those_outside_left_out() -> None:
    boxes = np.array([[np.nan] * 4, [-3, -3, 2, 2], [1, 1, 9, 9], [5, 5, 6, 6]], dtype=np.float32)
    at, inside = in_picture(boxes, (3, 2))
    assert at.tolist() == [1, 2]
    assert inside.tolist() == [[0, 0, 2, 2], [1, 1, 3, 2]]


def test_tokens_that_are_made_of_the_whole_picture_have_no_footprint() -> None:
    case = made("blip2")
    (trace,) = trace_batch(case.adapter, case.samples[:1])
    assert footprints(trace, "vision").shape == (10, 4)
    with pytest.raises(InputError, match="made of the whole image"):
        footprints(trace, "query")
    with pytest.raises(InputError, match="stream text have no place in the picture"):
        footprints(trace, "text")
