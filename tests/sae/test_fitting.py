"""Autoencoders of a model's layers: read, trained, measured and written; killed and resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.capture.tap import Tap
from backend.data.registry import open_source
from backend.errors import InputError
from backend.models.families.text_alone import text_alone
from backend.models.registry import open_model
from backend.models.roles import Role
from backend.sae.autoencoder import Relu, Source, SparseAutoencoder, Weights
from backend.sae.bank import fill_bank, samples_of
from backend.sae.fitting import fit_saes
from backend.sae.loading import load_sae
from backend.sae.plan import SaePlan
from backend.sae.quality import quality
from backend.sae.splicing import gone, splice, spliced, word_losses
from backend.types import LayerRef
from tests.command_line import runner
from tests.models.saved import save_tiny
from tests.watch import Watch

DATA = "macros:n=40,dev=12,test=8"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> SaePlan:
    return SaePlan(
        model=str(save_tiny(tmp_path_factory.mktemp("llava"), "llava")),
        data=DATA,
        layers=("1", "3"),
        text_alone=True,
        features=24,
        k=4,
        steps=60,
        tokens=32,
        loss_samples=6,
        device="cpu",
    )


def test_each_layer_gets_one_that_is_as_good_as_is_said(plan: SaePlan, tmp_path: Path) -> None:
    source = open_source(DATA)
    made = list(fit_saes(plan, source, 0, tmp_path))
    assert [one.layer for one in made] == ["1", "3"]
    adapter = text_alone(open_model(plan.model))
    refs = [LayerRef("text", 1), LayerRef("text", 3)]
    bank = fill_bank(tmp_path / "again", adapter, source, "dev", refs, limit=None, batch_size=5)
    for one, ref in zip(made, refs, strict=True):
        sae = load_sae(one.folder)
        assert (sae.source.layer, sae.d, sae.count) == (ref.layer, 16, 24)
        told = quality(sae, bank.rows(ref, 16))
        assert told.n == one.quality.n and told.l0 == pytest.approx(one.quality.l0, abs=0.02)
        assert told.explained == pytest.approx(one.quality.explained, abs=1e-3)
        assert 0.3 < told.explained < 1 and one.quality.l0 <= 4
        assert one.loss_rise is not None
    assert not list(tmp_path.glob(".*"))  # neither bank nor state
    first = (tmp_path / "text-1" / "sae_weights.safetensors").stat().st_mtime_ns
    list(fit_saes(plan, source, 0, tmp_path))
    assert (tmp_path / "text-1" / "sae_weights.safetensors").stat().st_mtime_ns == first
    with pytest.raises(InputError, match="already exists, from other options"):
        list(fit_saes(replace(plan, k=3), source, 0, tmp_path))


def test_a_killed_one_ends_in_the_same_bytes(plan: SaePlan, tmp_path: Path) -> None:
    source, one = open_source(DATA), replace(plan, layers=("2",), batch_size=1)
    (whole,) = fit_saes(one, source, 0, tmp_path / "whole")
    read, learnt = (
        Watch(lambda done, *_: done == 20),
        Watch(lambda done, total, _: done == total - 9),
    )
    for killed in (read, learnt):
        with pytest.raises(KeyboardInterrupt):
            list(fit_saes(one, source, 0, tmp_path / "killed", killed))
    (again,) = fit_saes(one, source, 0, tmp_path / "killed")
    for file in ("sae_weights.safetensors", "quality.json"):
        assert (again.folder / file).read_bytes() == (whole.folder / file).read_bytes()


def test_the_loss_of_words_is_transformers_own(plan: SaePlan) -> None:
    adapter = text_alone(open_model(plan.model))
    sample = next(samples_of(adapter, open_source(DATA), "dev", 1))
    inputs = adapter.encode([sample])
    ids = inputs.tensors["input_ids"]
    labels = ids.clone()
    labels[(inputs.roles["text"] & int(Role.CONTENT)) == 0] = -100  # the prompt is not said
    with torch.inference_mode():
        out = adapter.whole.model(input_ids=ids, labels=labels)
    losses, words = word_losses(adapter, inputs)
    assert words[0] == int((labels[0, 1:] != -100).sum()) > 2
    assert losses[0] / words[0] == pytest.approx(float(out.loss), rel=1e-5)


def test_what_is_rebuilt_whole_loses_nothing_and_zeros_lose_all(plan: SaePlan) -> None:
    adapter = text_alone(open_model(plan.model))
    batch = adapter.encode(list(samples_of(adapter, open_source(DATA), "dev", 6)))
    eye = torch.eye(16)
    both = torch.cat([eye, -eye])  # every vector is a sum of positive parts of itself
    perfect = SparseAutoencoder(
        Weights(both.T.contiguous(), both, torch.zeros(32), torch.zeros(16)),
        Relu(),
        Source("perfect"),
    )
    nothing = SparseAutoencoder(
        Weights(both.T.contiguous(), both * 0, torch.zeros(32), torch.zeros(16)),
        Relu(),
        Source("nothing"),
    )
    ref = LayerRef("text", 3)
    whole, lost = splice(
        adapter, [batch], [(spliced(one, ref), gone(ref)) for one in (perfect, nothing)]
    )
    np.testing.assert_allclose(whole.rebuilt, whole.clean, rtol=1e-5)
    np.testing.assert_allclose(lost.rebuilt, lost.without, rtol=1e-5)
    assert (whole.without != whole.clean).any()
    assert whole.rise().value == pytest.approx(0, abs=1e-5)
    if whole.without.sum() > whole.clean.sum():
        assert whole.recovered().value == pytest.approx(1, abs=1e-4)
        assert lost.recovered().value == pytest.approx(0, abs=1e-4)
    assert not any(module._forward_hooks for module in adapter.whole.language.blocks)


def test_text_alone_is_what_the_language_model_makes_of_the_words(plan: SaePlan) -> None:
    from backend.capture.sinks import TokenSink

    adapter = text_alone(open_model(plan.model))
    inputs = adapter.encode(list(samples_of(adapter, open_source(DATA), "test", 3)))
    sink = TokenSink([LayerRef("text", k) for k in (0, 2)])
    with Tap(adapter, sink) as tap:
        tap(inputs)
    with torch.inference_mode():
        states = adapter.whole.model.model.language_model(
            **inputs.tensors, output_hidden_states=True
        ).hidden_states
    for k in (0, 2):
        torch.testing.assert_close(sink.tokens[LayerRef("text", k)], states[k])
    image = adapter.whole.model.config.image_token_id
    assert image not in inputs.tensors["input_ids"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layers": ("4",)}, "has layers 0 to 3, not 4"),
        ({"layers": ("3.norm",)}, "has layers 0 to 3, not 3.norm"),
        ({"layers": ("x",)}, "'x' is not a layer"),
        ({"stream": "image"}, "is of the stream text, not of image"),
        ({"stream": "sound", "text_alone": False}, "no stream 'sound'"),
        ({"tokens": 100_000}, "are fewer than one batch"),
        ({"k": 25}, "25 of 24 features"),
        ({"check_split": "gone"}, "no split 'gone'"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    plan: SaePlan, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        list(fit_saes(replace(plan, **changes), open_source(DATA), 0, tmp_path))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_the_command_trains_and_prints_a_row_a_layer(
    plan: SaePlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = runner(monkeypatch, capsys)
    words = ("train-sae", "--model", plan.model, "--data", DATA, "--stream", "image")
    sizes = ("--features", 24, "--k", 4, "--steps", 20, "--tokens", 32, "--kind", "jumprelu")
    code, said, err = run(*words, *sizes, "--layers", "1,2", "--out", tmp_path, "--json")
    assert code == 0, err
    told = json.loads(said)
    assert [one["layer"] for one in told] == ["1", "2"]
    assert all(0 <= one["quality"]["dead"] <= 1 and one["loss_rise"] is not None for one in told)
    assert load_sae(tmp_path / "image-2").architecture == "jumprelu"
    code, said, err = run(*words, *sizes, "--layers", "1,2", "--out", tmp_path)
    assert code == 0 and "explained" in said and "image-2" in said
    code, _, err = run(*words, *sizes, "--out", tmp_path)
    assert code == 2 and "--layers" in err


def test_a_model_without_a_language_model_has_no_text_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no language model that could read text alone"):
        text_alone(open_model(str(save_tiny(tmp_path, "clip"))))
