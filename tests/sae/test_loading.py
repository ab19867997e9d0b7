"""Autoencoders that others trained: read right, or refused in one line."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.errors import InputError
from backend.sae.autoencoder import SparseAutoencoder, check_fits
from backend.sae.descriptions import read_descriptions
from backend.sae.hooks import layer_of
from backend.sae.loading import load_sae
from tests.sae.written import WRITTEN, D, K, M, dictionary, gemma_scope, saelens, sparsify


@pytest.mark.parametrize("kind", WRITTEN)
def test_each_layout_gives_what_its_formulas_give(tmp_path: Path, kind: str) -> None:
    written = WRITTEN[kind](tmp_path)
    x = torch.randn(64, D, generator=torch.Generator().manual_seed(9)) * 2
    sae = load_sae(written.path)
    features, back = sae(x)
    wanted, wanted_back = written.expected(x)
    assert 0 < (wanted > 0).float().mean() < 0.9  # a test that all or none would pass says nothing
    np.testing.assert_allclose(features, wanted, atol=1e-5)
    np.testing.assert_array_equal(features > 0, wanted > 0)
    np.testing.assert_allclose(back, wanted_back, atol=1e-5)
    np.testing.assert_allclose(sae.encode(x), features)
    rms = float((back - wanted_back).pow(2).mean().sqrt())
    assert rms < 1e-6
    assert (sae.d, sae.count) == (D, M)
    assert (sae.source.layer, sae.source.model) == (written.layer, written.model)


def test_the_same_weights_have_one_digest(tmp_path: Path) -> None:
    first, again, other = (tmp_path / name for name in "abc")
    for folder in (first, again, other):
        folder.mkdir()
    saelens(first, "standard")
    saelens(again, "standard")
    saelens(other, "jumprelu")
    digests = [load_sae(p).source.digest for p in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    "other", [{"k": 9}, {"apply_b_dec_to_input": False}, {"normalize_activations": "layer_norm"}]
)
def test_the_same_weights_that_are_applied_otherwise_are_another_autoencoder(
    tmp_path: Path, other: dict[str, object]
) -> None:
    found = []
    for name, config in (("a", {}), ("b", other)):
        (tmp_path / name).mkdir()
        saelens(tmp_path / name, "topk", **{"k": 6, **config})
        found.append(load_sae(tmp_path / name))
    assert found[0].source.digest == found[1].source.digest
    assert found[0].digest != found[1].digest


@pytest.mark.parametrize(
    ("hook", "layer"),
    [
        ("blocks.11.hook_resid_post", 12),
        ("blocks.11.hook_resid_pre", 11),
        ("hook_embed", 0),
        ("model.layers.7.output", 8),
        ("model.language_model.layers.7", 8),
        ("transformer.h.0", 1),
        ("layers.3.input", 3),
        ("model.embed_tokens", 0),
        ("resid_post_layer_4", 5),
    ],
)
def test_places_are_counted_as_ours(hook: str, layer: int) -> None:
    assert layer_of(hook, "x") == layer


@pytest.mark.parametrize(
    "hook",
    ["blocks.3.hook_mlp_out", "blocks.3.attn.hook_z", "blocks.3.hook_resid_mid", "x; y", ""],
)
def test_other_places_are_refused(hook: str) -> None:
    with pytest.raises(InputError, match="no layer of the residual stream"):
        layer_of(hook, "x")


def _without(name: str) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        file = saelens(folder, "jumprelu").path / "sae_weights.safetensors"
        save_file({k: v for k, v in load_file(file).items() if k != name}, file)
        return folder

    return spoil


def _config(**changed: object) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        file = saelens(folder, "standard").path / "cfg.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))
        return folder

    return spoil


def _gemma_without_threshold(folder: Path) -> Path:
    path = gemma_scope(folder, second=False).path
    arrays = dict(np.load(path / "params.npz"))
    del arrays["threshold"]
    np.savez(path / "params.npz", **arrays)
    return path


def _not_finite(folder: Path) -> Path:
    file = saelens(folder, "standard").path / "sae_weights.safetensors"
    tensors = load_file(file)
    tensors["W_dec"][0, 0] = float("nan")
    save_file(tensors, file)
    return folder


def _sparsify(**changed: object) -> Callable[[Path], Path]:
    def spoil(folder: Path) -> Path:
        path = sparsify(folder).path
        config = json.loads((path / "cfg.json").read_text()) | changed
        (path / "cfg.json").write_text(json.dumps(config))
        return path

    return spoil


def _ambiguous(folder: Path) -> Path:
    path = dictionary(folder, "AutoEncoderTopK").path
    (path / "config.json").unlink()
    return path


def _attention(folder: Path) -> Path:
    path = gemma_scope(folder, second=False).path
    moved = folder / "gemma-scope-2b-pt-att"
    moved.mkdir()
    return path.parent.parent.rename(moved / "layer_7") / "width_16k" / "average_l0_82"


def _garbage(folder: Path) -> Path:
    path = saelens(folder, "standard").path
    (path / "sae_weights.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    return path


def _foreign_site(folder: Path) -> Path:
    return _config(metadata={"hook_name": "blocks.3.hook_mlp_out"})(folder)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: p / "nothing", "is not there"),
        (lambda p: p, "no sparse autoencoder that is known"),
        (_without("threshold"), "has no threshold"),
        (_without("W_dec"), "has no W_dec"),
        (_config(d_sae=M + 1), "cfg.json says"),
        (_config(d_in="12"), "d_in is '12'"),
        (_config(architecture="temporal"), "is a 'temporal'"),
        (_config(architecture="topk"), "k is None"),
        (_config(architecture="topk", k=M + 1), "keeps the 41 largest of 40"),
        (_config(normalize_activations="expected_average_only_in"), "the factor is not in"),
        (_foreign_site, "blocks.3.hook_mlp_out"),
        (_not_finite, "W_dec holds values that are not finite"),
        (_garbage, "not a whole safetensors file"),
        (_gemma_without_threshold, "has no threshold"),
        (_attention, "no layer of the residual stream"),
        (_sparsify(transcode=True), "is a transcoder"),
        (_sparsify(signed=True), "negative features"),
        (_sparsify(k=0), "k is 0"),
        (_ambiguous, "TopK or BatchTopK"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    tmp_path: Path, spoil: Callable[[Path], Path], words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_sae(spoil(tmp_path))
    assert "\n" not in str(caught.value)


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('it ran')",))


@pytest.mark.parametrize("bare", [False, True])
def test_a_file_that_would_run_code_is_refused_by_name(tmp_path: Path, bare: bool) -> None:
    file = tmp_path / "ae.pt"
    if bare:
        file.write_bytes(pickle.dumps(_Runs()))
    else:
        torch.save({"encoder.weight": torch.zeros(2, 2), "x": _Runs()}, file)
    with pytest.raises(InputError, match=r"(builtins|__builtin__)\.exec"):
        load_sae(tmp_path)


def test_width_and_layer_must_fit(tmp_path: Path) -> None:
    sae = load_sae(saelens(tmp_path, "standard").path)
    check_fits(sae, D, 4, "text 4")
    with pytest.raises(InputError, match=r"width 12; text 4 has 576"):
        check_fits(sae, 576, 4, "text 4")
    with pytest.raises(InputError, match=r"was trained on layer 4 \(blocks\.3\.hook_resid_post\)"):
        check_fits(sae, D, 5, "text 5")


ENTRIES = [{"index": "3", "description": " cats\nand dogs "}, {"index": 3, "description": "later"}]


@pytest.fixture
def of_m(tmp_path: Path) -> SparseAutoencoder:
    (tmp_path / "of_m").mkdir()
    return load_sae(saelens(tmp_path / "of_m", "topk", k=K).path)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.jsonl.gz", "folder"])
def test_descriptions_are_read_in_every_form(
    tmp_path: Path, of_m: SparseAutoencoder, name: str
) -> None:
    lines = "\n".join(json.dumps(entry) for entry in ENTRIES)
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        (path / "batch-0.jsonl").write_text(lines)
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(json.dumps(ENTRIES) if name == "a.json" else lines)
    assert read_descriptions(path, of_m) == {3: "cats and dogs"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([{"index": M, "description": "x"}], "describes feature 40; the autoencoder has 40"),
        ([{"description": "x"}], "has no index"),
        ([{"index": "-1", "description": "x"}], "no whole number"),
        ([{"index": 1, "description": ["x"]}], "description is no text"),
        ([{"index": 1, "description": ""}], "describes no feature"),
        ("[1", "no JSON"),
    ],
)
def test_wrong_descriptions_are_one_line(
    tmp_path: Path, of_m: SparseAutoencoder, content: object, words: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=words):
        read_descriptions(path, of_m)


def test_k_is_kept_row_by_row(tmp_path: Path) -> None:
    sae = load_sae(saelens(tmp_path, "topk", k=K).path)
    on = (sae.encode(torch.randn(50, D) * 5) > 0).sum(1)
    assert on.max() == K
