"""``fusionscope explore``: everything in one command, and on from where it was stopped."""

from __future__ import annotations

import shlex
import socket
from pathlib import Path

import pytest

from backend.jobs import measure as measure_job
from backend.store import Store
from tests.command_line import Run, runner
from tests.models.saved import save_tiny

DATA = "macros:test=24"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr("backend.projection.umap_layers.EPOCHS", 5)  # any map will do
    return runner(monkeypatch, capsys)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("clip"))


def contents(store: Path) -> dict[str, bytes]:
    """The files of the runs, but for what says when they were made."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in sorted((store / "runs").rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def test_one_command_makes_what_every_page_needs_and_says_the_commands_again(
    run: Run, model: Path, tmp_path: Path
) -> None:
    store = tmp_path / "s"
    words = ("explore", model, DATA, "--store", store, "--no-serve", "--device", "cpu")
    code, said, _ = run(*words)
    assert code == 0
    (run_id,) = Store(store).run_ids()
    made = Store(store).run(run_id)
    assert (made.n, made.manifest.dataset.split) == (24, "test")
    assert set(made.measures()["measure"]) >= {"cka", "effective_dimension"}
    assert len(made.projections("vision", 1, "cls", "umap")) == 24
    *_, last = said.strip().splitlines()
    commands = [shlex.split(part) for part in last.removeprefix("again: ").split(" && ")]
    assert [command[:2] for command in commands] == [
        ["fusionscope", name] for name in ("capture", "measure", "project", "serve")
    ]
    for command in commands[:3]:
        assert run(*command[1:])[0] == 0
    code, said, _ = run(*words)
    assert code == 0 and "there already" in said
    assert "measured: nothing to add" in said and "projected: nothing to add" in said


@pytest.mark.parametrize("stopped_in", ["capture", "measure", "project"])
def test_what_is_stopped_goes_on_and_ends_in_the_same(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped_in: str
) -> None:
    words = ("explore", model, DATA, "--no-serve", "--device", "cpu", "--limit", 20)
    assert run(*words, "--store", tmp_path / "whole")[0] == 0
    place, calls = {
        "capture": ("backend.jobs.capture.capture", 0),
        "measure": ("backend.jobs.measure._add", 2),
        "project": ("backend.jobs.project.refit_movements", 0),
    }[stopped_in]
    module, _, name = place.rpartition(".")
    real = getattr(__import__(module, fromlist=[name]), name)
    seen = []

    def stop(*args: object, **given: object) -> object:
        seen.append(1)
        if len(seen) > calls:
            raise KeyboardInterrupt
        return real(*args, **given)

    with monkeypatch.context() as patched:
        patched.setattr(place, stop)
        code, _, said = run(*words, "--store", tmp_path / "s")
    assert code == 130 and "give the command again" in said
    assert contents(tmp_path / "s") != contents(tmp_path / "whole")
    measure_job._cached_layers.cache_clear()
    assert run(*words, "--store", tmp_path / "s")[0] == 0
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_the_split_is_the_first_there_is_of_test_dev_and_train(
    run: Run, model: Path, tmp_path: Path
) -> None:
    words = ("explore", model, "macros:n=24,dev=12,test=24", "--no-serve", "--device", "cpu")
    code, said, _ = run(*words, "--split", "dev", "--store", tmp_path / "s")
    assert code == 0 and "12 samples of dev" in said


def test_other_samples_under_the_same_name_are_refused(
    run: Run, model: Path, tmp_path: Path
) -> None:
    words = ("explore", model, DATA, "--no-serve", "--device", "cpu", "--store", tmp_path / "s")
    assert run(*words, "--limit", 8)[0] == 0
    code, _, said = run(*words, "--limit", 9)
    assert code == 2 and len(said.strip().splitlines()) == 1
    assert "is there already, of other samples" in said and "--store" in said


def test_a_port_that_is_taken_is_said_before_anything_is_done(
    run: Run, model: Path, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, said = run("explore", model, DATA, "--store", tmp_path / "s", "--port", port)
    assert code == 2 and "cannot listen on it" in said and "--port" in said
    assert not (tmp_path / "s").exists()
