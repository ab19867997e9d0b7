"""Data behind links: every command that reads data does so where its user says that it may."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from PIL import Image

from backend.cli import app
from backend.sweep import run as sweeping
from backend.sweep.making import _request
from backend.sweep.run import CellState
from tests.command_line import Run, runner

SMALL = "small:depth=3,width=16,heads=2"
MODEL = ("--text-encoder", SMALL, "--vision-encoder", f"{SMALL},patch=16", "--device", "cpu")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Thirty captioned pictures that lie on another disk."""
    pictures, root = tmp_path / "disk", tmp_path / "memes"
    pictures.mkdir()
    root.mkdir()
    rows = ["id,image,text,split,mood"]
    for i in range(30):
        Image.new("RGB", (32, 32), (8 * i, 20, 90)).save(pictures / f"{i}.png")
        rows.append(f"{i},img/{i}.png,word {i},{('train', 'dev', 'test')[i % 3]},{i // 3 % 2}")
    (root / "captions.csv").write_text("\n".join(rows))
    (root / "img").symlink_to(pictures)
    return f"folder:{root},label=mood"


def test_training_and_asking_read_what_lies_behind_links(
    run: Run, data: str, tmp_path: Path
) -> None:
    words = ("train", "--data", data, "--placement", "late", "--epochs", 1, *MODEL)
    code, _, err = run(*words, "--out", tmp_path / "refused")
    assert code == 2 and "no usable sample" in err, err
    code, out, err = run(*words, "--out", tmp_path / "out", "--follow-links")
    assert code == 0, err
    assert "test mood auroc" in out
    scores = json.loads((tmp_path / "out/seed-0/scores.json").read_text())
    assert scores
    ask = ("intervene", tmp_path / "out/seed-0", "--data", data, "--samples", 8, "--device", "cpu")
    assert run(*ask)[0] == 2
    code, _, err = run(*ask, "--follow-links", "--json")
    assert code == 0, err


def test_pretraining_reads_what_lies_behind_links(run: Run, data: str, tmp_path: Path) -> None:
    words = ("pretrain", "--data", data, "--placement", "late", "--epochs", 1, *MODEL)
    assert run(*words, "--out", tmp_path / "refused")[0] == 2
    code, out, err = run(*words, "--out", tmp_path / "out", "--follow-links")
    assert code == 0, err
    assert str(tmp_path / "out/seed-0") in out


@pytest.mark.parametrize("follow", [False, True])
def test_the_cells_of_a_sweep_do_where_its_user_says_so(
    run: Run, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, follow: bool
) -> None:
    seen: list[CellState] = []
    monkeypatch.setattr(sweeping, "run_sweep", lambda states, *_: seen.extend(states))
    words = ("sweep", "--data", data, "--placement", "late", "--store", tmp_path / "store")
    run(*words, *(("--follow-links",) if follow else ()), "--json")
    (cell,) = (state.cell for state in seen)
    assert cell.follow_links is follow
    assert _request(cell, tmp_path, "cpu").follow_links is follow
    assert (cell.digest() == type(cell)(**vars(cell) | {"follow_links": False}).digest()) != follow


def test_every_command_that_opens_data_has_the_option() -> None:
    opening = {"check", "capture", "explore", "intervene", "pretrain", "read-saes", "search"}
    opening |= {"shared-space", "sweep", "train", "train --family linear-adapter", "train-sae"}
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    words = {name: {w for p in one.params for w in p.opts} for name, one in commands.items()}
    assert {name for name, own in words.items() if "--follow-links" in own} == opening
    assert {name for name, own in words.items() if own & {"--data", "data", "study"}} <= opening
