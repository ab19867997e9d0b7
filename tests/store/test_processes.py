"""Real processes: writers beside readers, and writers that are killed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from backend.errors import InputError
from backend.store import Store, verify

WORKER = Path(__file__).with_name("worker.py")


@pytest.fixture(scope="session")
def worker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fusionscope_store_worker", WORKER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(store: Path, run_id: str, command: str) -> subprocess.Popen[str]:
    words = [sys.executable, str(WORKER), str(store), run_id, command]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory, worker: ModuleType) -> dict[str, bytes]:
    """Every file of a run that was written without interruption."""
    path = tmp_path_factory.mktemp("whole")
    worker.write(Store(path), "run")
    return files(path / "runs" / "run")


@pytest.fixture
def kill_at(tmp_path: Path) -> Iterator[object]:
    def kill(command: str) -> None:
        process = start(tmp_path, "run", command)
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.kill()
        assert process.wait() == -9

    yield kill


@pytest.mark.parametrize(
    ("point", "samples_kept"),
    [
        ("in-layer", 30),
        ("in-samples", 30),
        ("in-commit", 60),
        ("before-rename", 60),
        ("after-dropping", 60),
    ],
)
def test_a_killed_writer_leaves_nothing_visible_and_the_next_goes_on(
    tmp_path: Path,
    kill_at,
    worker: ModuleType,
    whole_run: dict[str, bytes],
    point: str,
    samples_kept: int,
) -> None:
    kill_at(point)
    store = Store(tmp_path)
    assert store.run_ids() == () and store.broken() == [] and store.runs().empty
    assert store.query("SELECT * FROM samples").empty
    assert [finding.kind for finding in verify(store)] == ["information"]
    parts = (tmp_path / "runs" / ".partial-run" / "run" / "samples").glob("part-*")
    assert len(list(parts)) == samples_kept / 10, "a half part must not bear a part's name"
    assert worker.write(store, "run") == samples_kept
    assert files(tmp_path / "runs" / "run") == whole_run
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["run"]
    assert verify(store) == []


def test_a_writer_killed_just_after_the_rename_has_made_the_run(
    tmp_path: Path, kill_at, worker: ModuleType, whole_run: dict[str, bytes]
) -> None:
    kill_at("after-rename")
    store = Store(tmp_path)
    assert store.run_ids() == ("run",)
    assert files(tmp_path / "runs" / "run") == whole_run
    with pytest.raises(InputError, match="run run exists"):
        worker.write(store, "run")
    assert verify(store) == [] and [p.name for p in (tmp_path / "runs").iterdir()] == ["run"]


def test_a_replacing_writer_killed_between_its_renames_loses_nothing(
    tmp_path: Path, kill_at, worker: ModuleType, whole_run: dict[str, bytes]
) -> None:
    worker.write(Store(tmp_path), "run")
    kill_at("between-renames")
    store = Store(tmp_path)
    assert any("interrupted" in finding.problem for finding in verify(store))
    with pytest.raises(InputError, match="run run exists"):
        worker.write(store, "run")
    assert files(tmp_path / "runs" / "run") == whole_run


def test_readers_beside_several_writers_see_whole_runs_only(
    tmp_path: Path, whole_run: dict[str, bytes]
) -> None:
    writers = [start(tmp_path, f"run-{i}", "write") for i in range(3)]
    store = Store(tmp_path)
    seen: list[int] = []
    deadline = time.monotonic() + 180
    while any(process.poll() is None for process in writers):
        assert time.monotonic() < deadline
        runs = store.runs()
        assert store.broken() == []
        for run_id in runs["run_id"]:
            run = store.run(run_id)
            assert run.vectors("vision", 4, "mean").shape == (60, 12)
            assert len(run.samples()) == 60
        counts = store.query("SELECT run_id, count(*) AS n FROM samples GROUP BY run_id")
        assert set(counts["n"]) <= {60}
        seen.append(len(runs))
        time.sleep(0.1)
    assert [process.wait() for process in writers] == [0, 0, 0]
    assert seen == sorted(seen)
    ids = store.query("SELECT run_id FROM runs ORDER BY 1")["run_id"]
    assert list(ids) == ["run-0", "run-1", "run-2"]
    assert verify(store) == []
    for process in writers:
        assert process.stdout is not None
        process.stdout.close()


def test_one_of_two_processes_that_write_the_same_run_is_refused(
    tmp_path: Path, worker: ModuleType
) -> None:
    process = start(tmp_path, "run", "before-rename")
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    try:
        with pytest.raises(InputError, match="another process is writing run run"):
            worker.write(Store(tmp_path), "run")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
