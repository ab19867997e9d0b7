"""Every command with wrong words of every kind: one line, exit code 2, nothing made."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from backend import cli
from backend.store import Store
from tests.command_line import Run, runner

LONG = "9" * 5000
HOSTILE = "\x1b]0;x\x07[/red]"

STORE = ("runs", "measure", "project", "verify", "table", "findings", "serve")
"""Commands that take ``--store`` and need nothing else to look into it."""

WORDS: tuple[tuple[str, str], ...] = (
    # a word that no command takes
    ("--shop", "No such option: --shop"),
    ("nope", "No such command 'nope'"),
    (f"'{HOSTILE}'", "No such command"),
    # what must be given is not
    ("capture --store s", "Missing option '--data'"),
    ("capture --data macros --store s", "--model: name a model, or encoders"),
    ("train --data macros", "Missing option"),
    ("report s", "Missing option '--out'"),
    ("compare --store s", "Missing argument"),
    # both of two that exclude each other
    (
        "capture --data macros --store s --model m --text-encoder t",
        "--model: cannot be given with encoders",
    ),
    ("table --store s --spreadsheet", "--spreadsheet: is for csv alone. Give --format csv"),
    # numbers
    ("capture --data macros --store s --model m --limit 0", "--limit"),
    ("capture --data macros --store s --model m --limit x", "--limit"),
    (f"capture --data macros --store s --model m --limit {LONG}", "--limit"),
    ("capture --data macros --store s --model m --batch-size -1", "--batch-size"),
    ("capture --data macros --store s --vision-encoder v --image-size 1", "--image-size"),
    ("capture --data macros --store s --text-encoder t --image-size 64", "--image-size"),
    ("serve --store s --port 99999", "--port"),
    ("demo --port no", "--port"),
    ("demo --workers 0", "--workers"),
    ("measure --store s --workers 0", "--workers"),
    # lists
    ("train --data macros --placement late --out o --seeds 99999999999999999999", "more than"),
    (f"train --data macros --placement late --out o --seeds {LONG}", "more than"),
    ("train --data macros --placement late --out o --seeds 1,,x", "--seeds: '1,,x' is not a list"),
    ("train --data macros --placement late --out o --seeds ''", "--seeds: '' is not a list"),
    ("train --data macros --placement late --out o --seeds -1", "--seeds: '-1' is not a list"),
    ("train --data macros --placement late --out o --seeds 1,1", "--seeds: 1 is given twice"),
    ("train --data macros --placement late --out o --seeds ٣", "is not a list"),
    ("sweep --data macros --placement late --seeds 1.5", "--seeds: '1.5' is not a list"),
    ("pretrain --data macros --placement late --out o --seeds x", "--seeds: 'x' is not a list"),
    ("intervene s --data macros --seeds x", "--seeds: 'x' is not a list"),
    ("capture --data macros --store s --model m --pooling cls,cls", "--pooling: 'cls' is given"),
    ("capture --data macros --store s --model m --pooling max", "--pooling: 'max' is not one of"),
    ("capture --data macros --store s --model m --pooling ''", "--pooling: must be at least one"),
    # ids and names
    ("capture --data macros --store s --model m --run-id 'a b'", "run id"),
    ("capture --data macros --store s --model m --run-id ../x", "run id"),
    (f"capture --data macros --store s --model m --run-id {LONG}", "run id"),
    (f"capture --data macros --store s --model m --run-id '{HOSTILE}'", "run id"),
    ("capture --data macros --store s --model m --dtype int8", "--dtype: 'int8' is not one of"),
    ("capture --data macros --store s --model 'text=a;vision'", "'vision' is not one of"),
    ("findings --store s --preset x", "--preset: 'x' is not a preset"),
    ("intervene s --data macros --pooling max", "--pooling: 'max' is not one of"),
    ("findings --store s --pooling max", "--pooling: unknown pooling 'max'"),
    ("measure --store s --pooling max", "--pooling: unknown pooling 'max'"),
    ("measure --store s --preset x", "--preset: unknown preset 'x'"),
    ("measure --store s --run 'a b'", "a b"),
    ("project --store s --method tsne", "tsne"),
    ("compare a --store s", "fusionscope: "),
    ("table --store s", "no run that can be read"),
    ("trace --model m --image i --text t --run r", "--run: belongs to a store. Give --store"),
    ("trace --model m --image i --text t --pooling max", "--pooling: 'max' is not one of"),
    ("search nowhere.toml --seed 99999999999", "--seed"),
    ("search nowhere.toml --devices cpu --workers 2", "--devices: cannot be given with --workers"),
    ("demo --study --rebuild", "--study: the study's numbers come as they are"),
    # paths
    *((f"{name} --store nowhere", "nowhere") for name in STORE),
    ("check --data folder:nowhere", "nowhere"),
    ("check --data nothing", "unknown layout 'nothing'"),
    ("check --data folder:", "no path"),
    ("sweep nowhere.toml", "nowhere.toml"),
    ("report nowhere --out r.html", "nowhere"),
    ("import-activations nowhere --store s", "nowhere"),
    ("pack nowhere out.duckdb", "nowhere"),
    ("models nowhere/at/all", "nowhere/at/all"),
    ("export r --store nowhere --out o", "nowhere"),
    ("import-checkpoint nowhere.pt --out o", "nowhere.pt"),
    ("search nowhere.toml", "nowhere.toml"),
)


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Run]:
    """The command line in an empty directory with an empty store ``s``."""
    monkeypatch.chdir(tmp_path)
    (Store.create(tmp_path / "s").path / "runs").mkdir(exist_ok=True)
    yield runner(monkeypatch, capsys)


@pytest.mark.parametrize(("words", "said"), WORDS, ids=lambda text: str(text)[:60])
def test_wrong_words_are_one_line(run: Run, tmp_path: Path, words: str, said: str) -> None:
    code, out, err = run(*shlex.split(words))
    assert code == 2, (out, err)
    assert said in err
    assert err.strip().count("\n") == 0, err
    assert err.startswith("fusionscope: ") and len(err) < 2500
    assert not out.strip()
    assert all(ord(char) >= 32 for char in err.strip())
    assert {path.name for path in tmp_path.iterdir()} == {"s"}
    assert not list((tmp_path / "s" / "runs").glob("*"))


def test_every_command_refuses_a_word_that_it_does_not_take(run: Run) -> None:
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    assert len(commands) > 15
    for name in commands:
        code, _, err = run(name, "--shop", "x")
        assert (code, err.strip().count("\n")) == (2, 0), (name, err)
        assert "No such option: --shop" in err and f"fusionscope {name} --help" in err


@pytest.mark.parametrize("command", ["runs --store s", "measure --store s", "check --data macros"])
def test_ctrl_c_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    def interrupt(*args: object, **given: object) -> None:
        raise KeyboardInterrupt

    for name in ("backend.store.Store.__init__", "backend.data.registry.open_source"):
        monkeypatch.setattr(name, interrupt)
    code, _, err = run(*command.split())
    assert code == 130
    assert err == "fusionscope: interrupted, give the command again to go on\n"
