from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperModel

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Audio
from backend.errors import InputError
from backend.models import edits
from backend.models.adapter import Inputs
from backend.models.families.whisper import Whisper
from backend.models.registry import open_model
from backend.models.roles import Role, has
from backend.types import LayerRef
from tests.models.families.common import Case
from tests.models.families.whisper import tiny

FUSION = LayerRef("text", 2, "fusion")


@pytest.fixture(scope="module")
def case() -> Case:
    return tiny()


@pytest.fixture
def inputs(case: Case) -> Inputs:
    return case.adapter.encode(case.samples)


def test_the_fusion_site_is_the_residual_stream_that_enters_the_blocks_mlp(
    case: Case, inputs: Inputs
) -> None:
    entering = []
    layer = case.adapter.decoder.layers[1]
    hook = layer.final_layer_norm.register_forward_pre_hook(
        lambda _, args: entering.append(args[0])
    )
    sink = TokenSink([FUSION])
    with Tap(case.adapter, sink) as tap:
        tap(inputs)
    hook.remove()
    torch.testing.assert_close(sink.tokens[FUSION], entering[0], rtol=0, atol=0)


def test_an_edit_there_reaches_the_mlp_and_the_residual_path_around_it(
    case: Case, inputs: Inputs
) -> None:
    layer = case.adapter.decoder.layers[1]
    wanted = torch.randn(*inputs.roles["text"].shape, 16, generator=torch.manual_seed(1))
    sink = TokenSink([LayerRef("text", 2)])
    with Tap(case.adapter, sink, [edits.patch(FUSION, wanted)]) as tap:
        tap(inputs)
    with torch.no_grad():
        mlp = layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(wanted))))
    real = ~has(inputs.roles["text"], Role.PADDING)
    torch.testing.assert_close(sink.tokens[LayerRef("text", 2)][real], (wanted + mlp)[real])


def test_the_text_follows_the_start_tokens_and_its_last_token_sums_it_up(
    case: Case, inputs: Inputs
) -> None:
    tokenizer = case.adapter.processor.tokenizer
    starts = ["<|startoftranscript|>", "<|notimestamps|>", "Ġ"]
    for row, sample in enumerate(case.samples):
        real = inputs.tensors["decoder_attention_mask"][row].bool()
        ids = inputs.tensors["decoder_input_ids"][row][real]
        assert tokenizer.convert_ids_to_tokens(ids)[:3] == starts
        assert tokenizer.decode(ids, skip_special_tokens=True) == f" {sample.text}"
        summary = has(inputs.roles["text"][row], Role.SUMMARY)
        assert summary.nonzero().tolist() == [[len(ids) - 1]]


def test_tokens_past_the_end_of_a_recording_are_no_content_and_have_no_time(
    case: Case, inputs: Inputs
) -> None:
    for row, sample in enumerate(case.samples):
        assert sample.audio is not None
        seconds = len(sample.audio.samples) / sample.audio.rate
        times = inputs.origins["audio"].values[row]
        content = has(inputs.roles["audio"][row], Role.CONTENT).numpy()
        assert content.sum() == np.ceil(round(seconds / 0.02, 6))
        assert np.isnan(times[~content]).all()
        assert times[content][-1, 1] == pytest.approx(seconds, abs=1e-4)
        np.testing.assert_allclose(times[content][1:, 0], times[content][:-1, 1], atol=1e-6)


def test_the_same_sound_at_another_rate_gives_nearly_the_same_features(case: Case) -> None:
    def tone(rate: int) -> Audio:
        t = np.arange(int(0.8 * rate)) / rate
        fade = np.sin(np.pi * t / 0.8)
        return Audio((0.5 * fade * np.sin(2 * np.pi * 440 * t)).astype(np.float32), rate)

    both = [replace(case.samples[0], audio=tone(rate)) for rate in (16000, 44100)]
    first, second = case.adapter.encode(both).tensors["input_features"]
    assert float((first - second).abs().mean()) < 0.02


def test_what_does_not_fit_is_cut_and_counted(case: Case) -> None:
    rate = 16000
    wave = np.random.default_rng(0).normal(size=int(1.5 * rate)).astype(np.float32)
    long = replace(case.samples[0], text="x" * 70, audio=Audio(wave, rate))
    inputs = case.adapter.encode([long, case.samples[1]])
    text = 3 + 70 - 64
    assert {name: cut.tolist() for name, cut in inputs.cut.items()} == {
        "audio": [25, 0],
        "text": [text, 0],
    }
    assert inputs.tensors["decoder_input_ids"].shape[1] == 64


def test_a_sample_without_a_recording_and_an_empty_one_are_one_line(case: Case) -> None:
    sample = case.samples[0]
    with pytest.raises(InputError, match="sample 1 has no audio, which whisper models need"):
        case.adapter.encode([replace(sample, audio=None)])
    empty = Audio(np.zeros(0, dtype=np.float32), 16000)
    with pytest.raises(InputError, match="the recording of sample 2 is empty"):
        case.adapter.encode([sample, replace(sample, audio=empty)])


def test_a_model_without_a_head_is_read_alike(case: Case, inputs: Inputs) -> None:
    headless = Whisper(WhisperModel(case.adapter.module.config), case.adapter.processor, "m")
    headless.module.load_state_dict(case.adapter.module.model.state_dict())
    last = LayerRef("text", 3, "norm")
    read = []
    for adapter in (case.adapter, headless):
        sink = TokenSink([last])
        with Tap(adapter, sink) as tap:
            outputs = tap(inputs)
        read.append(sink.tokens[last])
    torch.testing.assert_close(*read)
    assert outputs == {}


def test_a_saved_checkpoint_opens_and_computes_the_same(case: Case, tmp_path: Path) -> None:
    case.adapter.module.save_pretrained(tmp_path)
    case.adapter.processor.save_pretrained(tmp_path)
    opened = open_model(str(tmp_path))
    inputs = opened.encode(case.samples)
    with torch.no_grad():
        ours, theirs = (
            opened.forward(inputs),
            case.adapter.forward(case.adapter.encode(case.samples)),
        )
    torch.testing.assert_close(ours["logits"], theirs["logits"])
