"""Features that a pair lights: the right ones, of the right tokens, from the right files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.data.registry import open_source
from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference.cache import ResultCache
from backend.inference.features import lit_features
from backend.inference.jobs import Decoded
from backend.inference.machine import Machine
from backend.inference.memory import pair_bytes
from backend.inference.requests import Request, lighting
from backend.inference.tracing import trace_batch
from backend.inference.values import Trace
from backend.models.families.llava import Llava
from backend.models.registry import open_model
from backend.models.roles import Role
from backend.sae.loading import load_sae
from backend.sae.shelf import Shelf
from tests.inference.test_service import Models
from tests.models.saved import save_tiny
from tests.sae.saved import D, M, save_sae, save_saes

LAYERS = (1, 2)  # transformers gives the last one after the final norm
MOST = 3
DATA = "macros:n=12,dev=8,test=16"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Llava:
    made = open_model(str(save_tiny(tmp_path_factory.mktemp("llava"), "llava")))
    assert isinstance(made, Llava)
    return made


@pytest.fixture(scope="module")
def saes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_saes(tmp_path_factory.mktemp("saes"), LAYERS)


@pytest.fixture(scope="module")
def digests(saes: Path) -> dict[int, str]:
    return {layer: load_sae(saes / f"text-{layer}").digest for layer in LAYERS}


@pytest.fixture(scope="module")
def sample() -> Sample:
    return next(iter(open_source(DATA).pairs("test", 1))).sample


@pytest.fixture(scope="module")
def trace(adapter: Llava, sample: Sample) -> Trace:
    return trace_batch(adapter, [sample])[0]


def test_they_are_those_of_the_models_own_hidden_states(
    adapter: Llava, sample: Sample, trace: Trace, saes: Path, digests: dict[int, str]
) -> None:
    lit = lit_features(adapter, sample, Shelf([saes]).find(digests), digests, MOST)
    assert set(lit) == set(LAYERS)
    inputs = adapter.encode([sample])
    with torch.inference_mode():
        out = adapter.model(**inputs.tensors, output_hidden_states=True)
    image = (inputs.tensors["input_ids"][0] == adapter.model.config.image_token_id).numpy()
    words = inputs.roles["text"][0].numpy() & int(Role.CONTENT) != 0
    for layer, own in lit.items():
        sae = load_sae(saes / f"text-{layer}")
        for stream, at in (("image", image), ("text", words)):
            x = out.hidden_states[layer][0, at].double().numpy()
            pre = (x - sae.b_dec.numpy()) @ sae.W_enc.numpy() + sae.b_enc.numpy()
            features = np.maximum(pre, 0)
            features[features < np.sort(features, axis=1)[:, [-6]]] = 0
            best = np.argsort(-features.mean(axis=0))[:MOST]
            assert own.features[own.strongest[stream]].tolist() == best.tolist()
            for feature in best.tolist():
                values = own.of(feature)[stream]
                assert values.shape == trace.tokens[stream].roles.shape
                content = trace.tokens[stream].roles & int(Role.CONTENT) != 0
                assert np.array_equal(np.isfinite(values), content)
                assert values[content] == pytest.approx(features[:, feature], abs=1e-4)


def test_autoencoders_are_found_by_their_weights_wherever_they_lie(
    saes: Path, digests: dict[int, str], tmp_path: Path
) -> None:
    moved = tmp_path / "of another name"
    shutil.copytree(saes / "text-2", moved)
    found = Shelf([saes / "text-1", moved]).find(digests)
    assert found == {1: saes / "text-1", 2: moved}
    with pytest.raises(InputError, match="read layers 2 are in no directory") as refused:
        Shelf([saes / "text-1"]).find(digests)
    assert str(tmp_path) not in str(refused.value) and "--saes DIR" in str(refused.value)


def test_a_directory_that_went_hides_none_of_the_others(
    saes: Path, digests: dict[int, str], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    assert Shelf([gone, saes]).find(digests) == {n: saes / f"text-{n}" for n in LAYERS}
    with pytest.raises(InputError, match=r"in no directory .* cannot be read"):
        Shelf([gone]).find(digests)


def test_what_is_admitted_counts_the_largest_autoencoder_beside_the_model(
    saes: Path, digests: dict[int, str], tmp_path: Path
) -> None:
    wide = save_sae(tmp_path / "wide", 1, features=90)
    wanted = digests | {1: load_sae(wide).digest}
    shelf = Shelf([saes, wide])
    largest, usual = (4 * (2 * D * width + width + D) for width in (90, M))  # float32
    assert shelf.bytes(wanted) == largest > shelf.bytes(digests) == usual
    models = Models(tiny=1024)
    machine = Machine(models, ["cpu"], ResultCache(0, 0), {"cpu": 2**31})
    decoded = Decoded((Sample("a cup"),), (), "key", "content", "tiny")
    need = machine.need(Request("tiny", (), lighting(wanted, shelf)), decoded)
    assert (need.weights, need.activations) == (2**30, 2 * pair_bytes(2**30) + largest)
    tight = Machine(models, ["cpu"], ResultCache(0, 0), {"cpu": need.bytes - 1})
    with pytest.raises(InputError, match="models may take"):
        tight.need(Request("tiny", (), lighting(wanted, shelf)), decoded)


def test_one_that_changed_or_fits_no_layer_is_one_line_without_its_place(
    adapter: Llava, sample: Sample, saes: Path, digests: dict[int, str], tmp_path: Path
) -> None:
    shelf = Shelf([tmp_path])
    shutil.copytree(saes / "text-2", tmp_path / "a")
    found = shelf.find({2: digests[2]})
    shutil.rmtree(tmp_path / "a")
    save_sae(tmp_path / "a", 2, seed=9)
    with pytest.raises(InputError, match="layer 2: is another one than the run") as refused:
        lit_features(adapter, sample, found, digests, MOST)
    assert str(tmp_path) not in str(refused.value)
    with pytest.raises(InputError, match="read layers 2 are in no"):
        shelf.find({2: digests[2]})
    with pytest.raises(InputError, match="has layers 0 to 3"):
        lit_features(adapter, sample, {4: saes / "text-2"}, {4: digests[2]}, MOST)
    with pytest.raises(InputError, match="was trained on layer 2"):
        lit_features(adapter, sample, {1: saes / "text-2"}, {1: digests[2]}, MOST)
