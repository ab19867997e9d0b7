"""The logit lens reads each layer at the last position; at the last layer it is the model."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.inference.tracing import trace_batch
from backend.types import LayerRef
from tests.models.families.common import Case
from tests.models.families.paligemma import tiny as paligemma

SPEAKING = (
    *("blip2", "blip2_t5", "florence2", "idefics", "idefics_patches"),
    *("llava", "llava_text_first", "paligemma"),
)
SILENT = ("dual_stream", "clip", "lxmert", "vilt")


def made(family: str) -> Case:
    case: Case = import_module(f"tests.models.families.{family}").tiny()
    return case


def last_logits(case: Case) -> torch.Tensor:
    """(B, words) the model's own logits after each text."""
    inputs = case.adapter.encode(case.samples)
    with torch.no_grad():
        outputs = case.adapter.forward(inputs)
    if "next_token_logits" in outputs:
        return outputs["next_token_logits"]
    last = inputs.tensors["decoder_attention_mask"].sum(dim=1) - 1
    return outputs["logits"][torch.arange(len(last)), last]


@pytest.mark.parametrize("family", [*SPEAKING, "whisper"])
def test_the_last_layer_says_what_the_model_says(family: str) -> None:
    case = made(family)
    expected = last_logits(case).softmax(dim=-1)
    for trace, own in zip(trace_batch(case.adapter, case.samples), expected, strict=True):
        said = trace.next_words
        assert said is not None
        assert said.refs == case.adapter.stream(case.adapter.speaking).layers
        best = own.topk(10)
        np.testing.assert_allclose(said.probabilities[-1], best.values.numpy(), atol=1e-5)
        tokenizer = case.adapter.tokenizer
        assert list(said.words[-1]) == [tokenizer.decode([word]) for word in best.indices.tolist()]


def test_an_early_layer_goes_through_the_final_norm_and_the_output_layer() -> None:
    case = made("llava")
    model, sample = case.adapter.module, case.samples[2]
    (trace,) = trace_batch(case.adapter, [sample])
    said = trace.next_words
    assert said is not None
    sink = TokenSink([LayerRef("text", 1)])
    with Tap(case.adapter, sink) as tap:
        tap(case.adapter.encode([sample]))
    hidden = sink.tokens[LayerRef("text", 1)][0, -1].double().numpy()
    norm = model.model.language_model.norm
    scaled = hidden / np.sqrt((hidden**2).mean() + norm.variance_epsilon)
    logits = model.lm_head.weight.detach().numpy() @ (scaled * norm.weight.detach().numpy())
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    order = np.argsort(-shares)[:10]
    np.testing.assert_allclose(said.probabilities[1], shares[order], atol=1e-5)
    assert list(said.words[1]) == [case.adapter.tokenizer.decode([word]) for word in order]
    assert said.words[1] != said.words[-1]


def test_soft_bounds_of_a_gemma_2_hold_in_the_lens_too() -> None:
    case = paligemma()
    case.adapter.module.config.text_config.final_logit_softcapping = 0.5
    assert float(last_logits(case).abs().max()) <= 0.5
    expected = last_logits(case).softmax(dim=-1)
    for trace, own in zip(trace_batch(case.adapter, case.samples), expected, strict=True):
        assert trace.next_words is not None
        best = own.topk(10).values.numpy()
        np.testing.assert_allclose(trace.next_words.probabilities[-1], best, atol=1e-6)


@pytest.mark.parametrize("family", SILENT)
def test_a_model_that_does_not_go_on_with_the_text_says_so(family: str) -> None:
    case = made(family)
    (trace,) = trace_batch(case.adapter, case.samples[:1])
    assert trace.next_words is None
    assert "next word" in trace.unsupported["next words"]
