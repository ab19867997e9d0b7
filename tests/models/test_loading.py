"""A checkpoint opens through transformers' own classes, or one line says what is wrong with it."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.errors import InputError
from backend.models.at_hand import checkpoints_below
from backend.models.loading import (
    Checkpoint,
    checkpoint_digest,
    open_checkpoint,
    without_execution,
)
from backend.models.registry import open_model
from tests.models.saved import save_tiny, tiny

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("saved") / "tiny-clip")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "tiny-clip"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: object) -> None:
        pytest.fail(f"a connection was tried: {args}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


def refused(folder: Path, **asked: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        open_model(str(folder), **asked)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value) or folder.name in str(caught.value)
    return caught.value


def rewrite_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def test_a_directory_opens_with_name_digest_and_the_weights_it_holds(folder: Path) -> None:
    adapter = open_model(str(folder))
    assert (adapter.name, adapter.family, adapter.revision) == ("tiny-clip", "clip", "")
    assert adapter.digest == checkpoint_digest(folder)
    stored = load_file(folder / WEIGHTS)
    own = adapter.module.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in stored.items())
    assert not adapter.module.training


def test_what_was_saved_computes_the_same_after_it_is_opened(folder: Path) -> None:
    before = tiny("clip")
    after = open_model(str(folder))
    inputs = before.adapter.encode(before.samples)
    reopened = after.encode(before.samples)
    assert all(torch.equal(reopened.tensors[k], v) for k, v in inputs.tensors.items())
    with torch.no_grad():
        given, got = before.adapter.forward(inputs), after.forward(reopened)
    torch.testing.assert_close(got, given)


def test_half_precision_is_opened_as_float32_or_as_asked(folder: Path) -> None:
    tiny("clip").adapter.module.half().save_pretrained(folder)
    checkpoint = open_checkpoint(str(folder))
    assert {p.dtype for p in checkpoint.weights("CLIPModel").parameters()} == {torch.float32}
    half = checkpoint.weights("CLIPModel", dtype=torch.float16)
    assert {p.dtype for p in half.parameters()} == {torch.float16}


def test_the_digest_changes_with_weights_and_configuration_only(folder: Path) -> None:
    first = checkpoint_digest(folder)
    (folder / "README.md").write_text("about it")
    assert checkpoint_digest(folder) == first
    rewrite_weights(folder, lambda t: t["logit_scale"].add_(1))
    second = checkpoint_digest(folder)
    rewrite_config(folder, lambda c: c.update(note="x"))
    assert len({first, second, checkpoint_digest(folder)}) == 3


def test_what_is_no_checkpoint_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a checkpoint directory"):
        checkpoint_digest(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["config.json", "."])
def test_what_is_no_checkpoint_directory_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    if name == ".":
        (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"is a file|no config\.json in it"):
        open_model(str(tmp_path / name))


def test_a_local_directory_has_no_revisions(folder: Path) -> None:
    assert "no revisions" in refused(folder, revision="main").problem


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "\x00", "[" * 100_000, '{"model_type": 3}', "{}"]
)
def test_a_broken_config_is_one_line(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert "config.json" in refused(folder).problem


def test_a_config_of_no_text_is_one_line(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe\x80")
    assert "config.json is broken" in refused(folder).problem


def test_a_config_without_weights_is_told(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert "no weights" in refused(folder).problem


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "flax_model.msgpack"])
def test_weights_as_pickles_are_never_opened(folder: Path, name: str) -> None:
    (folder / WEIGHTS).rename(folder / name)
    error = refused(folder)
    assert name in error.problem
    assert error.hint is not None and "Convert them to safetensors" in error.hint


def test_safetensors_of_another_name_are_named(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "weights.safetensors")
    assert "has weights.safetensors but neither" in refused(folder).problem


def test_a_git_lfs_pointer_says_how_to_get_the_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    error = refused(folder)
    assert "git-lfs pointer" in error.problem
    assert error.hint is not None and "git lfs pull" in error.hint


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_weights_cut_short_are_one_line(folder: Path, keep: int) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:keep])
    told = "cut short or no safetensors" if keep else "is empty"
    assert told in refused(folder).problem


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "sharded", max_shard_size="30KB")


def test_sharded_weights_open(sharded: Path) -> None:
    checkpoint = open_checkpoint(str(sharded))
    assert len(checkpoint.files) > 1
    open_model(str(sharded))


def test_an_index_that_names_a_missing_file_is_told(sharded: Path) -> None:
    gone = open_checkpoint(str(sharded)).files[1]
    gone.unlink()
    assert f"names {gone.name}, which is not there" in refused(sharded).problem


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/outside.safetensors", "a\\b.safetensors", "x.bin", 7, ""]
)
def test_an_index_never_leads_out_of_the_directory(sharded: Path, name: object) -> None:
    (sharded.parent / "outside.safetensors").write_bytes(b"")
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    assert "no safetensors file of this directory" in refused(sharded).problem


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"weight_map": 3}', '{"weight_map": {}}'])
def test_a_broken_index_is_one_line(sharded: Path, text: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(text)
    assert "model.safetensors.index.json" in refused(sharded).problem


def test_missing_weights_are_named_and_counted(folder: Path) -> None:
    def drop(tensors: dict[str, torch.Tensor]) -> None:
        for name in [n for n in tensors if n.startswith("vision_model.encoder.layers.1.")]:
            del tensors[name]

    rewrite_weights(folder, drop)
    problem = refused(folder).problem
    assert "lack what a CLIPModel needs: vision_model.encoder.layers.1.layer_norm1" in problem
    assert "and 13 more" in problem


def test_weights_of_another_shape_are_named_with_both_shapes(folder: Path) -> None:
    rewrite_weights(folder, lambda t: t.update({"text_projection.weight": torch.zeros(12, 15)}))
    problem = refused(folder).problem
    assert "text_projection.weight (12×15 stored, 12×16 in the model)" in problem


def test_a_family_may_allow_keys_by_pattern(folder: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["extra_head.bias"] = torch.zeros(3)
        del tensors["logit_scale"]

    rewrite_weights(folder, change)
    allowed = ("^extra_head", "^logit_scale$")
    open_checkpoint(str(folder)).weights("CLIPModel", ignored_keys=allowed)
    with pytest.raises(InputError, match="logit_scale"):
        open_checkpoint(str(folder)).weights("CLIPModel", ignored_keys=allowed[:1])


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["vision_config"].update(num_hidden_layers=10**9),
        lambda c: c["text_config"].update(num_hidden_layers=1e300),
        lambda c: c["text_config"].update(num_labels=10**9),
        lambda c: c["vision_config"].update(hidden_size=2**20),
        lambda c: c["text_config"].update(vocab_size=10**9),
        lambda c: c.update(projection_dim=10**9),
    ],
)
def test_a_model_far_beyond_its_weights_is_refused_before_it_is_built(
    folder: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    rewrite_config(folder, change)
    problem = refused(folder).problem
    assert "the weights hold" in problem


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["vision_config"].update(num_attention_heads=0),
        lambda c: c["vision_config"].update(hidden_size="wide"),
        lambda c: c["vision_config"].update(hidden_act="nothing"),
        lambda c: c["text_config"].update(hidden_size=10**30),
        lambda c: c.update(vision_config=[1, 2]),
    ],
)
def test_a_config_that_describes_no_model_is_one_line(
    folder: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    rewrite_config(folder, change)
    assert "config.json" in refused(folder).problem


@pytest.mark.parametrize(
    "part",
    [
        {"model_type": "timm_wrapper", "architecture": "hf-hub:lab/vit"},
        {"model_type": "timm_wrapper", "model_args": {"checkpoint_path": "evil.bin"}},
        {"model_type": "timm_backbone", "backbone": "local-dir:elsewhere"},
    ],
)
def test_a_part_of_the_model_from_elsewhere_is_refused(
    folder: Path, no_network: None, part: dict[str, Any]
) -> None:
    rewrite_config(folder, lambda c: c.update(vision_config=part))
    assert "from elsewhere" in refused(folder).problem


def test_nothing_that_a_checkpoint_names_is_run_or_fetched(folder: Path, no_network: None) -> None:
    marker = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")

    def change(config: dict[str, Any]) -> None:
        config["auto_map"] = {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}
        config["_attn_implementation"] = "lab/kernel"
        config["attn_implementation"] = {"text_config": "kernels-community/flash-attn"}
        config["text_config"]["_attn_implementation"] = "lab/kernel:run"
        config["experts_implementation"] = "lab/experts"
        config["transformers_weights"] = "../elsewhere.safetensors"

    rewrite_config(folder, change)
    for name in ("processor_config.json", "tokenizer_config.json"):
        settings = json.loads((folder / name).read_text())
        settings["auto_map"] = {"AutoProcessor": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
        (folder / name).write_text(json.dumps(settings))
    adapter: Any = open_model(str(folder))
    assert adapter.model.config._attn_implementation == "sdpa"
    assert adapter.model.config.text_config._attn_implementation == "sdpa"
    assert not marker.exists()


def test_of_attention_implementations_only_the_built_in_stay() -> None:
    config = {"attn_implementation": "eager", "text_config": {"_attn_implementation": "a/b"}}
    assert without_execution(config) == {"attn_implementation": "eager", "text_config": {}}


def test_a_processor_that_names_another_model_is_refused(folder: Path) -> None:
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["audio_tokenizer"] = {
        "audio_tokenizer_class": "DacModel",
        "audio_tokenizer_name_or_path": "lab/dac",
    }
    (folder / "processor_config.json").write_text(json.dumps(settings))
    assert "audio tokenizer" in refused(folder).problem


def test_a_missing_processor_says_which_file_is_expected(folder: Path) -> None:
    (folder / "processor_config.json").unlink()
    error = refused(folder)
    assert "has no processor" in error.problem
    assert "preprocessor_config.json" in error.problem


def test_a_missing_tokenizer_says_which_file_is_expected(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    error = refused(folder)
    assert "has no tokenizer" in error.problem
    assert "tokenizer.json" in error.problem


def test_a_broken_tokenizer_is_one_line(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"model": 3}')
    assert "cannot be opened" in refused(folder).problem


def test_tokenizer_and_image_processor_open_without_a_processor_class(folder: Path) -> None:
    checkpoint = open_checkpoint(str(folder))
    assert len(checkpoint.tokenizer()("red dog")["input_ids"]) == 4
    assert checkpoint.image_processor().crop_size["height"] == 24
    bare = Checkpoint("bare", folder / "nothing", {"model_type": "clip"})
    with pytest.raises(InputError, match="has no image processor"):
        bare.image_processor()


def test_checkpoints_at_hand_are_found_below_a_directory_with_what_is_wrong(
    folder: Path,
) -> None:
    bad = folder.parent / "group" / "bad"
    shutil.copytree(folder, bad)
    (bad / WEIGHTS).write_bytes(b"")
    found = {c.folder: c.problem for c in checkpoints_below([folder.parent])}
    assert set(found) == {folder, bad}
    assert found[folder] == "" and "is empty" in found[bad]
    with pytest.raises(InputError, match="no such directory"):
        checkpoints_below([folder / "nowhere"])
