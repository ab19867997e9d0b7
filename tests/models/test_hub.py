"""A hub id becomes a local directory; what the hub refuses is told apart, at once, in one line."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from backend import hub as any_hub
from backend.errors import InputError
from backend.models import hub
from backend.models.loading import open_checkpoint
from backend.models.registry import open_model
from tests.models.fake_hub import COMMIT, NAME, fake_hub, use_cache
from tests.models.saved import save_tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("hub"))


@pytest.fixture
def repository(saved: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    shutil.copytree(saved, folder)
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    return folder


def refused(name: str, revision: str | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        open_checkpoint(name, revision=revision)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_hub_id_is_downloaded_and_its_commit_recorded(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub(repository, tmp_path / "cache", monkeypatch):
        adapter = open_model(NAME)
    assert (adapter.name, adapter.revision) == (NAME, COMMIT)
    assert adapter.digest == open_checkpoint(str(repository)).digest


def test_no_code_no_pickle_and_no_other_programs_files_are_downloaded(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub(repository, tmp_path / "cache", monkeypatch) as asked:
        folder = open_checkpoint(NAME).folder
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert names == {
        *("config.json", "model.safetensors", "processor_config.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert not [path for path in asked if path.endswith((".bin", ".py"))]


def test_a_cached_snapshot_opens_without_a_network(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub(repository, tmp_path / "cache", monkeypatch):
        open_checkpoint(NAME)
    # The server is gone: its address refuses connections.
    assert open_checkpoint(NAME).revision == COMMIT
    assert open_checkpoint(NAME, revision=COMMIT).revision == COMMIT
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert open_model(NAME).revision == COMMIT


def test_sharded_weights_are_downloaded_by_their_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny(tmp_path / "sharded", max_shard_size="40KB")
    assert not (folder / "model.safetensors").exists()
    with fake_hub(folder, tmp_path / "cache", monkeypatch):
        checkpoint = open_checkpoint(NAME)
    assert len(checkpoint.files) > 1
    checkpoint.weights("CLIPModel")


@pytest.mark.parametrize(
    ("name", "problem", "hint"),
    [
        ("lab/nothing", "neither a local directory nor a model on the hub", "HF_TOKEN"),
        ("lab/gated", "is gated on the hub", "/lab/gated and set HF_TOKEN"),
        ("lab/broken", "the hub answers with status 418", "later"),
    ],
)
def test_what_the_hub_refuses_is_told_apart(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    problem: str,
    hint: str,
) -> None:
    with fake_hub(repository, tmp_path / "cache", monkeypatch):
        error = refused(name)
    assert problem in error.problem
    assert error.hint is not None and hint in error.hint


def test_a_revision_that_does_not_exist_is_named(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub(repository, tmp_path / "cache", monkeypatch):
        assert "has no revision 'v9'" in refused(NAME, "v9").problem


@pytest.mark.parametrize("revision", ["../../etc", "/etc", "", "a b", "-x"])
def test_a_revision_never_becomes_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    use_cache(tmp_path / "cache", monkeypatch)
    monkeypatch.setattr(hub, "hub_answers", lambda: pytest.fail("the hub was asked"))
    assert "is no revision" in refused(NAME, revision).problem


def test_a_repository_with_pickles_only_says_to_convert_before_any_download(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "model.safetensors").unlink()
    with fake_hub(repository, tmp_path / "cache", monkeypatch) as asked:
        error = refused(NAME)
    assert "pytorch_model.bin" in error.problem
    assert error.hint is not None and "safetensors" in error.hint
    assert not [path for path in asked if path.endswith(".bin")]


def test_weights_of_an_unknown_family_are_not_downloaded(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "config.json").write_text('{"model_type": "parrot"}')
    with (
        fake_hub(repository, tmp_path / "cache", monkeypatch) as asked,
        pytest.raises(InputError, match="'parrot'"),
    ):
        open_model(NAME)
    assert not [path for path in asked if path.endswith(".safetensors")]


def test_offline_is_told_from_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_cache(tmp_path / "cache", monkeypatch)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub cannot be reached" in refused("lab/tiny").problem
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refused("lab/tiny").problem


def test_a_hub_that_never_answers_costs_no_more_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cache(tmp_path / "cache", monkeypatch)
    monkeypatch.setattr(any_hub, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(any_hub, "_asked", lambda: time.sleep(30) or True)
    started = time.monotonic()
    assert "cannot be reached" in refused("lab/tiny").problem
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "../x", "a/b/c"])
def test_a_path_that_is_not_there_is_no_question_for_the_hub(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(hub, "hub_answers", lambda: pytest.fail("the hub was asked"))
    assert refused(name).problem == "no such directory"
