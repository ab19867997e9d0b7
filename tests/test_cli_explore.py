"""``fusionscope explore``: everything in one command, and on from where it was stopped."""

from __future__ import annotations

import shlex
import socket
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.jobs.explore import open_exploration
from backend.store import Store
from backend.store.commands import activations_command
from tests.command_line import Run, runner
from tests.models.saved import save_tiny

WORDS = ("macros:test=12", "--no-serve", "--device", "cpu")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr("backend.projection.umap_layers.EPOCHS", 5)  # any map will do
    return runner(monkeypatch, capsys)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("clip"))


def contents(store: Path) -> dict[str, bytes]:
    """The files of whole runs, but for what says when they were made."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in sorted((store / "runs").rglob("*"))
        if path.is_file() and path.name != "run.json" and "/." not in path.as_posix()
    }


def stopped(module: str, name: str, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at a function's call after so many of them."""
    real = getattr(import_module(module), name)
    left = [calls]

    def stop(*args: object, **given: object) -> object:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(*args, **given)

    monkeypatch.setattr(f"{module}.{name}", stop)


def test_one_command_makes_what_every_page_needs_and_goes_on_where_it_was_stopped(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "s"
    words = ("explore", model, *WORDS, "--store", store)
    for module, name, calls in (
        ("backend.jobs.capture", "capture", 0),
        ("backend.jobs.measure", "_add", 2),
        ("backend.jobs.project", "refit_movements", 0),
    ):
        before = contents(store) if store.is_dir() else {}
        with monkeypatch.context() as patched:
            stopped(module, name, calls, patched)
            code, _, said = run(*words)
        assert code == 130 and "give the command again" in said
        assert before.items() <= contents(store).items()
    code, said, _ = run(*words)
    assert code == 0 and "there already" in said
    (run_id,) = Store(store).run_ids()
    made = Store(store).run(run_id)
    assert (made.n, made.manifest.dataset.split) == (12, "test")
    assert set(made.measures()["measure"]) >= {"cka", "effective_dimension"}
    assert len(made.projections("vision", 1, "cls", "umap")) == 12

    whole = tmp_path / "whole"
    *_, last = said.strip().splitlines()
    commands = [shlex.split(part) for part in last.removeprefix("again: ").split(" && ")]
    assert [command[:2] for command in commands] == [
        ["fusionscope", name] for name in ("capture", "measure", "project", "serve")
    ]
    for command in commands[:3]:
        elsewhere = [str(whole) if word == str(store) else word for word in command[1:]]
        assert run(*elsewhere)[0] == 0
    assert contents(whole).keys() == contents(store).keys()
    again = Store(whole).run(run_id)
    # A capture that went on had other batches: equal but for rounding.
    for stream in ("vision", "text"):
        np.testing.assert_allclose(again.vectors(stream, 1), made.vectors(stream, 1), atol=1e-5)
    assert again.measure_names() == made.measure_names()

    code, said, _ = run(*words)
    assert code == 0 and "measured: nothing to add" in said and "projected: nothing to" in said
    code, _, said = run(*words, "--limit", 8)
    assert code == 2 and len(said.strip().splitlines()) == 1
    assert "is there already, of other samples" in said and "--store" in said


def test_runs_at_other_steps_of_noise_are_other_runs_and_say_so(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    store = tmp_path / "s"
    model = save_tiny(tmp_path / "sd", "stable_diffusion")
    words = ("capture", "--model", model, "--data", "macros:test=12", "--store", store)
    for more in ((), ("--timesteps", "300,50")):
        assert run(*words, *more)[0] == 0
    made = {run_id: Store(store).run(run_id).manifest for run_id in Store(store).run_ids()}
    usual, chosen = sorted(made.values(), key=lambda manifest: manifest.timesteps)
    assert (usual.timesteps, chosen.timesteps) == ((), (50, 300))
    assert (usual.label, chosen.label) == ("sd", "sd at steps 50 and 300")
    assert [spec.name for spec in chosen.streams] == ["vision_t50", "vision_t300", "text"]
    assert chosen.streams[0].note.startswith("Step 50 of 1000 towards noise.")
    assert "--timesteps 50,300" in activations_command(chosen, "s")
    assert "timesteps" not in activations_command(usual, "s")
    assert "timesteps" not in (store / "runs" / usual.run_id / "run.json").read_text()
    for steps, reason in (("1000", "0 to 999"), ("-1", "whole numbers"), ("5,5", "twice")):
        code, _, said = run("explore", model, *WORDS, "--store", store, "--timesteps", steps)
        assert code == 2 and len(said.strip().splitlines()) == 1
        assert reason in said and "--timesteps" in said


def test_the_split_is_the_first_there_is_of_test_dev_and_train(
    model: Path, tmp_path: Path, draw_captions: Path
) -> None:
    request, opened = open_exploration(
        str(model), f"folder:{draw_captions}", tmp_path / "s", split="", limit=None, device="cpu"
    )
    assert (request.options.split, opened.expected) == ("dev", 2)


@pytest.fixture
def draw_captions(tmp_path: Path) -> Path:
    """Captioned images in train and dev."""
    root = tmp_path / "set"
    root.mkdir()
    splits = ("train", "train", "train", "dev", "dev")
    lines = ["id,image,text,split"]
    for n, split in enumerate(splits):
        Image.new("RGB", (32, 32), (40 * n, 0, 0)).save(root / f"{n}.png")
        lines.append(f"{n},{n}.png,a text {n},{split}")
    (root / "captions.csv").write_text("\n".join(lines) + "\n")
    return root


def test_a_port_that_is_taken_is_said_before_anything_is_done(
    run: Run, model: Path, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, said = run(
            "explore", model, "macros:test=12", "--store", tmp_path / "s", "--port", port
        )
    assert code == 2 and "cannot listen on it" in said and "--port" in said
    assert not (tmp_path / "s").exists()
