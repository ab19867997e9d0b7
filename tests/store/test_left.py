"""What killed processes leave is removed by whoever comes next; what lives is left alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from filelock import FileLock

from backend.errors import InputError
from backend.jobs.doctor import examine_store
from backend.store import Store, verify
from backend.store.files import published, remove_leftovers
from backend.store.kinds import COMPARISONS
from backend.store.left import clear_left, clear_lost

RUN = "late-seed0"
NAME = ".tmp-0123456789abcdef0123456789abcdef"


def names(store: Store) -> set[str]:
    return {str(path.relative_to(store.path)) for path in store.path.rglob("*")}


@pytest.mark.parametrize(
    "folder", [".", f"runs/{RUN}", f"runs/{RUN}/measures", f"comparisons/{RUN}~none-seed0"]
)
def test_temporary_files_of_the_dead_are_removed_wherever_tables_lie(
    store: Store, folder: str
) -> None:
    rows = store.run(RUN).measures(["cka"]).drop(columns="key").head(2)
    store.pair(RUN, "none-seed0").add(COMPARISONS, rows, "mine")
    before = names(store)
    for suffix in ("", ".db", ".db.wal"):
        (store.path / folder / f"{NAME}{suffix}").write_bytes(b"half")
    assert len(clear_left(store.paths)) == 3
    assert names(store) == before
    assert clear_left(store.paths) == ()


def test_what_a_living_process_writes_stays_and_goes_when_it_is_killed(tmp_path: Path) -> None:
    words = (
        "import sys, time; from pathlib import Path; from backend.store.files import published\n"
        "with published(Path(sys.argv[1])) as path:\n"
        "    path.write_bytes(b'half'); print('here', flush=True); time.sleep(600)\n"
    )
    target = tmp_path / "x.parquet"
    writer = subprocess.Popen(
        [sys.executable, "-c", words, str(target)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "here\n"
    assert remove_leftovers(tmp_path) == () and len(list(tmp_path.iterdir())) == 1
    writer.kill()
    writer.wait()
    writer.stdout.close()
    with published(target) as path:
        path.write_bytes(b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["x.parquet"]


def test_other_hidden_files_are_nobodys_business(tmp_path: Path) -> None:
    for name in (".tmp-notes", ".tmp-0123", "tmp", ".hidden"):
        (tmp_path / name).write_bytes(b"mine")
    assert remove_leftovers(tmp_path) == () and len(list(tmp_path.iterdir())) == 4


def test_the_place_of_a_run_that_has_appeared_is_removed_and_unfinished_work_stays(
    store: Store, store_factory: ModuleType
) -> None:
    before = names(store)
    second = store.path / "runs" / f".partial-{RUN}"
    shutil.copytree(store.path / "runs" / RUN / "activations", second / "dropped")
    (store.path / "runs" / f".partial-{RUN}.lock").touch()
    (store.path / "runs" / ".partial-gone.lock").touch()
    with store.writer(store_factory.make_manifest("half")) as writer:
        writer.write_part(store_factory.make_samples(5), {})
    assert names(store) == before | {n for n in names(store) if ".partial-half" in n}
    assert store.paths.partial("half").is_dir()
    replacing = store.run(RUN).manifest.model_copy(update={"created": "2026-03-01T12:00:00+00:00"})
    with store.writer(replacing, replace=True) as writer:
        writer.write_part(store_factory.make_samples(5), {})
    clear_left(store.paths)
    assert store.paths.partial(RUN).is_dir(), "a replacement that was begun goes on"


def test_a_run_that_gave_way_to_one_that_never_appeared_is_put_back(store: Store) -> None:
    before = names(store)
    partial = store.paths.partial(RUN)
    (partial / "run").mkdir(parents=True)
    (store.path / "runs" / RUN).rename(partial / "replaced")
    clear_left(store.paths)
    assert names(store) - before == {f"runs/.partial-{RUN}", f"runs/.partial-{RUN}/run"}
    assert RUN in store.run_ids()
    assert clear_lost(store.paths) == (partial,) and names(store) == before


def test_the_rest_of_a_deleted_run_goes_with_its_comparisons(store: Store) -> None:
    rows = store.run(RUN).measures(["cka"]).drop(columns="key").head(2)
    store.pair(RUN, "none-seed0").add(COMPARISONS, rows, "mine")
    (store.path / "runs" / RUN).rename(store.path / "runs" / f".deleted-{RUN}-01234567")
    lock = FileLock(store.paths.lock(RUN))
    with lock:
        assert clear_left(store.paths) == (), "who deletes it holds its lock"
        with pytest.raises(InputError, match="no run 'late-seed0'"):
            store.delete(RUN)
    assert clear_left(store.paths)
    assert not [name for name in names(store) if RUN in name] and verify(store) == []


def test_a_run_that_is_being_written_is_not_deleted(store: Store) -> None:
    with (
        FileLock(store.paths.lock(RUN)),
        pytest.raises(InputError, match="another process is writing"),
    ):
        store.delete(RUN)
    store.delete(RUN)
    assert RUN not in store.run_ids() and not list((store.path / "runs").glob(".*"))


def test_a_store_that_may_not_be_changed_stays_as_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    (store.path / NAME).write_bytes(b"half")
    (store.path / "runs" / f".deleted-{RUN}-01234567").mkdir()
    for name in ("unlink", "rmdir", "rename", "mkdir"):
        monkeypatch.setattr(os, name, refused)
    monkeypatch.setattr(Path, "unlink", refused)
    monkeypatch.setattr(shutil, "rmtree", refused)
    assert clear_left(store.paths) == ()
    assert len(store.listing().entries) == 4


def test_the_doctor_says_what_it_removed(store: Store) -> None:
    (store.path / "runs" / RUN / NAME).write_bytes(b"half")
    (store.path / "runs" / ".partial-lost").mkdir()
    removed = [check for check in examine_store(store.path) if "is removed" in check.words]
    assert {check.about for check in removed} == {f"runs/{RUN}/{NAME}", "runs/.partial-lost"}
    assert all(check.state == "note" for check in removed)
    assert not [name for name in names(store) if "/." in name]


def test_verify_goes_on_beside_a_deletion(store: Store) -> None:
    class Deleting:
        """Deletes a run when it is its turn, and the one before while it is looked at."""

        def advance(self, done: float, total: float | None, what: str = "") -> None:
            if what == "late-seed1":
                store.delete("late-seed1")
                store.delete("none-seed0")

    assert verify(store, Deleting()) == []
