"""A trace is what the model itself computes for one pair, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from backend.capture.options import CaptureOptions
from backend.capture.sinks import AttentionSink
from backend.data.registry import open_source
from backend.errors import InputError
from backend.inference import tracing
from backend.inference.tracing import MeetSink, own_places, run, trace_batch
from backend.inference.values import MapKey, Trace
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.models import edits
from backend.models.adapter import AttentionKey
from backend.models.roles import Role
from backend.store import Store
from backend.types import LayerRef
from tests.models.families.common import Case
from tests.models.test_conformance import FAMILIES, hooks_of

FEW = (
    "dual_stream",
    "clip",
    "vilt",
    "blip2",
    "idefics",
    "llava",
    "paligemma",
    "kosmos2",
)


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    """A tiny model of a family, in float32 as people run it."""
    module = request.param if "." in request.param else f"tests.models.families.{request.param}"
    made: Case = import_module(module).tiny()
    made.adapter.module.eval()
    yield made


every_family = pytest.mark.parametrize("case", FAMILIES, indirect=True, scope="module")
some_families = pytest.mark.parametrize("case", FEW, indirect=True, scope="module")
families_and_sound = pytest.mark.parametrize(
    "case", (*FEW, "whisper"), indirect=True, scope="module"
)
our_model = pytest.mark.parametrize("case", ["dual_stream"], indirect=True, scope="module")


def assert_near(actual: np.ndarray, expected: np.ndarray, where: object) -> None:
    """Equal up to float32's rounding in a model of a few layers."""
    scale = max(1.0, float(np.abs(np.nan_to_num(expected)).max(initial=0.0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * scale, err_msg=str(where))


def assert_same(actual: Trace, expected: Trace) -> None:
    assert actual.tokens.keys() == expected.tokens.keys()
    for name, tokens in expected.tokens.items():
        own = actual.tokens[name]
        np.testing.assert_array_equal(own.roles, tokens.roles)
        np.testing.assert_array_equal(own.origins, tokens.origins)
        assert (own.texts, own.kind) == (tokens.texts, tokens.kind)
    for values, others in (
        (actual.vectors, expected.vectors),
        (actual.attention, expected.attention),
    ):
        assert values.keys() == others.keys()
        for key, value in others.items():
            assert_near(values[key], value, key)
    for own, output in zip(actual.outputs, expected.outputs, strict=True):
        assert_near(own.probabilities, output.probabilities, output.task)
    if expected.next_words is not None:
        assert actual.next_words is not None
        assert_near(
            actual.next_words.probabilities, expected.next_words.probabilities, "next words"
        )


@families_and_sound
def test_a_trace_does_not_depend_on_what_else_is_in_the_batch(case: Case) -> None:
    together = trace_batch(case.adapter, case.samples)
    backwards = trace_batch(case.adapter, case.samples[::-1])
    for row, sample in enumerate(case.samples):
        (alone,) = trace_batch(case.adapter, [sample])
        assert_same(together[row], alone)
        assert_same(backwards[-1 - row], alone)


@every_family
def test_a_trace_holds_every_site_and_the_map_of_every_meet(case: Case) -> None:
    adapter = case.adapter
    trace = trace_batch(adapter, case.samples)[1]
    assert set(trace.vectors) == {
        (ref, pooling)
        for spec in adapter.streams
        for ref in spec.refs
        for pooling in spec.poolings_of(ref)
    }
    for (ref, _), vector in trace.vectors.items():
        assert vector.shape == (adapter.stream(ref.stream).width_of(ref),)
        assert vector.dtype == np.float32
    meets = {
        MapKey(LayerRef.parse(spec.name, meet.site), meet.reads)
        for spec in adapter.streams
        for meet in spec.meets
        if meet.how not in ("loss", "add", "modulated")  # which have no weights
    }
    assert meets <= set(trace.attention)
    assert bool(meets) != ("attention" in trace.unsupported)
    for key, weights in trace.attention.items():
        rows, columns = (len(trace.tokens[name].roles) for name in (key.ref.stream, key.reads))
        assert weights.shape[1:] == (rows, columns), key
    assert bool(trace.outputs) != ("outputs" in trace.unsupported)
    assert (trace.next_words is not None) != ("next words" in trace.unsupported)
    assert all(len(reason) > 20 for reason in trace.unsupported.values())


@families_and_sound
def test_nothing_of_a_trace_stays_on_the_model(case: Case) -> None:
    adapter = case.adapter
    trace_batch(adapter, case.samples[:1])  # transformers adds hooks of its own in a first run
    hooks = hooks_of(adapter.module)
    weights = {name: value.clone() for name, value in adapter.module.state_dict().items()}
    adapter.module.train()
    (before,) = trace_batch(adapter, case.samples[:1])
    cuts = tuple(cut for spec in adapter.streams if spec.fusion_layers for cut in edits.cut(spec))
    trace_batch(adapter, case.samples[:2], edits=cuts)
    assert hooks_of(adapter.module) == hooks
    assert adapter.module.training
    adapter.module.eval()
    (after,) = trace_batch(adapter, case.samples[:1])
    assert_same(after, before)
    for name, value in adapter.module.state_dict().items():
        assert torch.equal(value, weights[name])


@some_families
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_trace_of_a_stored_sample_equals_the_stored_vectors(
    case: Case, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.jobs.capture.open_model", lambda *_, **__: case.adapter)
    monkeypatch.setattr(case.adapter, "digest", "0" * 64)
    options = CaptureOptions(limit=3, batch_size=2, device="cpu", dtype=dtype)
    request = CaptureRequest("tiny", "macros", str(tmp_path / "store"), run_id="r", options=options)
    run_capture(request, open_request(request))
    stored_run = Store(request.store).run("r")
    source = open_source("macros")
    samples = [pair.sample for pair in source.decoded(source.records("test", 3))]
    traces = trace_batch(case.adapter, samples)
    assert set(traces[0].vectors) == set(stored_run.captured())
    for ref, pooling in stored_run.captured():
        stored = stored_run.vectors(ref.stream, ref.label, pooling)
        for row, trace in enumerate(traces):
            vector = trace.vectors[ref, pooling]
            if dtype == "float16":
                np.testing.assert_allclose(vector, stored[row], rtol=2e-3, atol=1e-3)
            else:
                assert_near(vector, stored[row], ref)


@pytest.mark.parametrize(
    "case", ["dual_stream", "blip2", "idefics", "vilt", "lxmert", "whisper", "postcards.tiny"],
    indirect=True, scope="module",
)  # fmt: skip
def test_with_one_meet_cut_the_traces_part_at_that_meet(case: Case) -> None:
    adapter, sample = case.adapter, case.samples[:1]
    (plain,) = trace_batch(adapter, sample)
    for spec in adapter.streams:
        for meet in spec.meets:
            (changed,) = trace_batch(adapter, sample, edits=[edits.Cut(spec.name, meet)])
            parted = [
                ref
                for ref in spec.refs
                for pooling in [spec.poolings_of(ref)[-1]]
                if relative(changed.vectors[ref, pooling], plain.vectors[ref, pooling]) > 1e-4
            ]
            assert parted[0] == LayerRef.parse(spec.name, meet.site)


def relative(changed: np.ndarray, plain: np.ndarray) -> float:
    return float(np.linalg.norm(changed - plain) / np.linalg.norm(plain))


@our_model
def test_outputs_are_the_models_own_as_probabilities(case: Case) -> None:
    traces = trace_batch(case.adapter, case.samples)
    with torch.no_grad():
        logits = case.adapter.forward(case.adapter.encode(case.samples))
    for row, trace in enumerate(traces):
        irony, topics, thing = trace.outputs
        positive = expit(logits["irony"][row].numpy().item())
        np.testing.assert_allclose(irony.probabilities, [1 - positive, positive], atol=1e-6)
        assert irony.classes == ("sincere", "ironic")
        expected = expit(logits["topics"][row].numpy())
        np.testing.assert_allclose(topics.probabilities, expected, atol=1e-6)
        expected = softmax(logits["object"][row].numpy())
        np.testing.assert_allclose(thing.probabilities, expected, atol=1e-6)
        assert (thing.task, thing.kind) == ("object", "multiclass")


@our_model
def test_tokens_say_what_they_are_and_where_they_come_from(case: Case) -> None:
    sample = case.samples[1]  # "hate on best" on 32 x 32 pixels, two patches a side
    words, patches = (
        trace_batch(case.adapter, [case.samples[2], sample])[1].tokens[name]
        for name in ("text", "vision")
    )
    assert words.texts == ("[CLS]", *sample.text.split(), "[SEP]")
    assert words.roles.tolist() == [Role.SUMMARY, *[Role.CONTENT] * 3, Role.SPECIAL]
    assert words.origins.tolist() == [[-1, -1], [0, 4], [5, 7], [8, 12], [-1, -1]]
    assert patches.texts == ("",) * 5
    np.testing.assert_array_equal(
        patches.origins[1:], [[0, 0, 16, 16], [16, 0, 32, 16], [0, 16, 16, 32], [16, 16, 32, 32]]
    )
    assert np.isnan(patches.origins[0]).all()


@pytest.mark.parametrize("case", ["llava", "whisper"], indirect=True, scope="module")
def test_words_of_a_prompt_are_read_back_and_a_second_image_has_no_boxes(case: Case) -> None:
    sample = case.samples[1]
    trace = trace_batch(case.adapter, case.samples)[1]
    if case.adapter.family == "whisper":
        assert trace.tokens["text"].texts[:2] == ("<|startoftranscript|>", "<|notimestamps|>")
        assert "".join(trace.tokens["text"].texts[2:]).strip() == sample.text
        assert trace.tokens["audio"].kind == "time"
        return
    assert trace.tokens["text"].texts == (
        *("<s>", "user", ":", *sample.text.split(), "assistant", ":"),
    )
    assert len(sample.images) == 2
    boxes = trace.tokens["image"].origins
    assert np.isfinite(boxes[:9]).all() and np.isnan(boxes[9:]).all()


@our_model
def test_a_long_caption_is_cut_where_the_model_cuts_and_counted(case: Case) -> None:
    long = type(case.samples[0])("cat " * 40, case.samples[0].images)
    short, cut = trace_batch(case.adapter, [case.samples[0], long])
    assert (short.cut, cut.cut) == (0, 40 - 30)  # of 32 tokens two are CLS and SEP
    assert len(cut.tokens["text"].texts) == 32


@pytest.mark.parametrize("case", ["vilt", "whisper"], indirect=True, scope="module")
def test_patches_and_sound_that_do_not_fit_are_no_words(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, sample = case.adapter, case.samples[0]
    if case.adapter.family == "vilt":
        monkeypatch.setattr(adapter.module.config, "max_image_length", 2)
    else:
        second = sample.audio.rate
        waves = np.zeros(40 * second, dtype=np.float32)
        sample = replace(sample, audio=replace(sample.audio, samples=waves))
    cut = adapter.encode([sample]).cut
    assert {name: int(tokens[0]) > 0 for name, tokens in cut.items()} == {
        "text": False,
        "vision" if adapter.family == "vilt" else "audio": True,
    }
    assert trace_batch(adapter, [sample])[0].cut == 0
    long = replace(sample, text="cat " * 200)
    words = int(adapter.encode([long]).cut["text"][0])
    assert words > 100 and trace_batch(adapter, [long])[0].cut == words


@pytest.mark.parametrize("case", ["dual_stream", "llava"], indirect=True, scope="module")
def test_the_meets_are_the_maps_that_read_another_stream(case: Case) -> None:
    (trace,) = trace_batch(case.adapter, case.samples[:1])
    meets, maps = (
        {(key.ref.stream, key.reads) for key in held} for held in (trace.meets(), trace.attention)
    )
    if case.adapter.family == "llava":
        assert meets == {("text", "image")}
        assert maps == {("text", "image"), ("text", "text")}
    else:
        assert meets == maps == {("text", "vision"), ("vision", "text")}


@our_model
def test_attention_and_poolings_can_be_left_out(case: Case) -> None:
    (trace,) = trace_batch(case.adapter, case.samples[:1], attention=False, poolings=("mean",))
    assert trace.attention == {} and "not asked" in trace.unsupported["attention"]
    assert {pooling for _, pooling in trace.vectors} == {"mean"}
    assert trace_batch(case.adapter, []) == ()


@our_model
def test_a_sample_that_lacks_what_the_model_needs_is_refused_in_one_line(case: Case) -> None:
    with pytest.raises(InputError, match="sample 1 has no image"):
        trace_batch(case.adapter, [type(case.samples[0])("a cat")])


@pytest.mark.parametrize("case", ["idefics"], indirect=True, scope="module")
def test_of_keys_that_follow_one_another_each_stream_gets_its_own(case: Case) -> None:
    """A resampler's queries attend to 20 places of the tower and then to their own 8."""
    adapter, inputs = case.adapter, case.adapter.encode(case.samples)
    ref = LayerRef("query", 1, "fusion")
    keys = [AttentionKey(ref, name) for name in ("vision", "query")]
    whole = AttentionSink(keys)
    run(adapter, inputs, [whole])
    sink = MeetSink(own_places(inputs))
    sink.begin(adapter, inputs)
    for key in keys:
        sink.take_map(key, whole.weights[key])
    maps, of_both = sink.traced[1], whole.weights[keys[0]][1].numpy()
    assert of_both.shape == (2, 8, 28)
    np.testing.assert_array_equal(maps[MapKey(ref, "vision")], of_both[..., :20])
    np.testing.assert_array_equal(maps[MapKey(ref, "query")], of_both[..., 20:])


@our_model
def test_a_map_that_is_too_large_is_kept_as_the_average_of_its_heads(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trace_batch(case.adapter, case.samples[:1])[0].attention
    monkeypatch.setattr(tracing, "_MOST_NUMBERS", 1)
    for key, weights in trace_batch(case.adapter, case.samples[:1])[0].attention.items():
        assert len(whole[key]) > 1
        np.testing.assert_allclose(weights, whole[key].mean(axis=0, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("case", ["stable_diffusion_3"], indirect=True, scope="module")
def test_what_several_encoders_leave_out_of_one_text_is_counted_once(case: Case) -> None:
    sample = replace(case.samples[0], text="cat " * 30)
    assert trace_batch(case.adapter, [sample])[0].cut == 30 + 2 - 16
