"""`fusionscope models`: what can be opened, what is at hand, what one model has to offer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from backend.cli import main
from backend.models.registry import FAMILIES
from tests.models.fake_hub import COMMIT, NAME, fake_hub, use_cache
from tests.models.saved import save_tiny

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    use_cache(tmp_path / "cache", monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fusionscope", "models", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return call


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("saved") / "mine")


def test_every_family_is_listed_with_what_is_at_hand(run: Run, saved: Path) -> None:
    code, out, _ = run("--models", saved.parent, "--json")
    assert code == 0
    listing = json.loads(out)
    assert [family["family"] for family in listing["families"]] == list(FAMILIES)
    clip = next(family for family in listing["families"] if family["family"] == "clip")
    assert clip["sentence"] == FAMILIES["clip"].sentence
    assert clip["at_hand"] == [{"name": str(saved), "path": str(saved), "revision": ""}]
    code, out, _ = run()
    assert code == 0 and all(name in out for name in FAMILIES)


def test_whole_snapshots_in_the_hubs_cache_are_at_hand(
    run: Run, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub(saved, tmp_path / "cache", monkeypatch):
        assert run(NAME)[0] == 0
    whole = {"name": NAME, "revision": COMMIT}

    def at_hand() -> list[dict[str, str]]:
        listing = json.loads(run("--json")[1])
        clip = next(family for family in listing["families"] if family["family"] == "clip")
        return [{k: row[k] for k in whole} for row in clip["at_hand"]]

    assert at_hand() == [whole]
    next(tmp_path.rglob("snapshots/*/model.safetensors")).unlink()
    assert at_hand() == []


def test_a_checkpoint_that_cannot_be_opened_is_listed_with_the_reason(
    run: Run, tmp_path: Path
) -> None:
    folder = save_tiny(tmp_path / "models" / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    code, _, err = run("--models", tmp_path / "models")
    assert code == 0 and "cut cannot be opened: model.safetensors is cut short" in err


def test_one_model_is_described(run: Run, saved: Path) -> None:
    code, out, _ = run(saved)
    assert code == 0
    for line in (
        "family     clip",
        "sites      0-4, 4.norm, 4.projected",
        "widths     24 (0-4, 4.norm), 12 (4.projected)",
        "meets      loss with text at 4",
        "attention  to vision at 1-4",
    ):
        assert line in out
    described = json.loads(run(saved, "--json")[1])
    assert [stream["name"] for stream in described["streams"]] == ["vision", "text"]
    assert len(described["digest"]) == 16


def test_what_is_not_supported_says_why(
    run: Run, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "its streams never meet"
    monkeypatch.setattr("backend.models.families.clip.Clip.unsupported", {"cut": reason})
    assert f"cut  {reason}" in run(saved)[1]


@pytest.mark.parametrize(
    "words",
    [
        ("nowhere/at-all",),
        ("./nowhere",),
        ("--revision", "main"),
        ("--models", "nowhere"),
        ("x/y", "--models", "."),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("fusionscope: ") and err.count("\n") == 1
