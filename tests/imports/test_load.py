"""Carrying out: values that cannot be kept, interruptions, memory, and the way out again."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from backend.errors import InputError
from backend.store import Store, verify
from backend.store.export import Format, export_run
from backend.store.imports import load
from backend.store.imports.options import ImportOptions
from backend.store.imports.plan import plan_import
from backend.types import LayerRef

Npz = Callable[..., Path]
Vectors = dict[LayerRef, np.ndarray]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "part_rows", lambda manifest: 8)


@pytest.mark.usefixtures("small_parts")
def test_nan_rows_are_named_by_layer_and_id_and_leave_nothing(
    npz: Npz, vectors: Vectors, table: pd.DataFrame, store: Store
) -> None:
    broken = vectors[LayerRef("text", 1)].copy()
    broken[[20, 55], 3] = np.nan, np.inf
    path = npz(text_1_cls=broken)
    with pytest.raises(InputError, match=r"text layer 1 \(cls\) in 2 rows \('s020', 's055'\)"):
        store.add_run(path, samples=table)
    assert not [p for p in store.path.rglob("*") if p.is_dir() and p != store.paths.runs]
    run = store.add_run(path, samples=table, allow_nan=True)
    np.testing.assert_array_equal(run.vectors("text", 1), broken)


def test_what_float16_cannot_hold_is_refused(npz: Npz, vectors: Vectors, store: Store) -> None:
    large = vectors[LayerRef("text", 1)].copy()
    large[7, 0] = 1e6
    with pytest.raises(InputError, match=r"as float16: text layer 1 \(cls\) in 1 rows \('7'\)"):
        store.add_run(npz(text_1_cls=large), dtype="float16")


def _digests(run_dir: Path) -> dict[str, str]:
    return {
        str(path.relative_to(run_dir)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(run_dir.rglob("*.parquet"))
    }


@pytest.mark.usefixtures("small_parts")
def test_an_interrupted_import_goes_on_to_the_same_files(
    npz: Npz, table: pd.DataFrame, tmp_path: Path, store: Store
) -> None:
    path = npz()
    plan = plan_import(path, ImportOptions(samples=table))

    class Stopped:
        def advance(self, done: float, total: float | None, what: str = "") -> None:
            if done > 30:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load.carry_out(store, plan, progress=Stopped())
    assert not store.run_ids()

    class Counted:
        first: float | None = None

        def advance(self, done: float, total: float | None, what: str = "") -> None:
            self.first = done if self.first is None else self.first

    counted = Counted()
    again = plan_import(path, ImportOptions(samples=table))
    run_id = load.carry_out(store, again, progress=counted).run_id
    assert counted.first and counted.first >= 16
    whole = Store.create(tmp_path / "whole")
    whole.add_run(path, samples=table)
    assert _digests(store.paths.runs / run_id) == _digests(whole.paths.runs / run_id)


def test_a_killed_import_leaves_no_run_and_the_next_one_finishes(
    npz: Npz, store: Store, tmp_path: Path
) -> None:
    path = npz()
    script = f"""
import os
from backend.store import Store
from backend.store.imports import load
load.part_rows = lambda manifest: 8
read = load._Reader.read
def dying(self, start, stop):
    if start >= 32:
        os._exit(9)
    return read(self, start, stop)
load._Reader.read = dying
Store({str(store.path)!r}).add_run({str(path)!r})
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == 9, done.stderr.decode()
    assert not store.run_ids()
    run = store.add_run(path)
    assert run.n == 60 and not verify(store)


def test_a_store_that_cannot_be_written_to_is_one_line(npz: Npz, store: Store) -> None:
    (store.path / "runs").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        store.add_run(npz())


def test_another_import_of_the_same_id_is_refused_unless_it_replaces(
    npz: Npz, store: Store
) -> None:
    path = npz()
    run = store.add_run(path, run_id="a")
    with pytest.raises(InputError, match="run a exists"):
        store.add_run(path, run_id="a")
    assert store.add_run(path, run_id="a", replace=True).n == run.n


def test_the_same_names_with_other_values_are_another_run(
    npz: Npz, vectors: Vectors, store: Store
) -> None:
    first = store.add_run(npz(), name="m")
    second = store.add_run(npz(text_1_cls=vectors[LayerRef("text", 1)] + 1), name="m")
    assert first.run_id != second.run_id


@pytest.mark.parametrize("format_", ["npy", "safetensors"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_export_comes_back_to_the_byte(
    format_: Format, dtype: str, store_factory: ModuleType, tmp_path: Path
) -> None:
    source = store_factory.make_store(
        tmp_path / "source", ("late",), (0,), dtype=dtype, keep_activations="all"
    )
    run = source.run("late-seed0")
    folder = export_run(run, tmp_path / "out", format_)
    back = Store.create(tmp_path / "target").add_run(folder)
    assert back.run_id == run.run_id and back.streams == run.streams
    assert back.captured() == run.captured()
    own, other = back.manifest, run.manifest
    assert (own.tasks, own.placement, own.seed, own.dtype) == (
        (other.tasks, other.placement, other.seed, other.dtype)
    )
    for ref, pooling in run.captured():
        a, b = (r.vectors(ref.stream, ref, pooling) for r in (run, back))
        assert a.tobytes() == b.tobytes(), (ref, pooling)
    columns = [*run.samples().columns, "thumbnail"]
    ours, theirs = back.samples(columns), run.samples(columns)
    for rows in (ours, theirs):  # the labels of a sample are a set
        rows["label_topics"] = rows["label_topics"].map(sorted)
    pd.testing.assert_frame_equal(ours, theirs)
    pd.testing.assert_frame_equal(back.scores(), run.scores())


def test_an_export_is_whole_or_not_there(
    npz: Npz, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.add_run(npz())
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="exists"):
        export_run(run, tmp_path / "taken")

    def full(*args: object, **kwargs: object) -> np.ndarray:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(run), "vectors", full)
    with pytest.raises(InputError, match="No space left"):
        export_run(run, tmp_path / "out", "npy")
    assert not list(tmp_path.glob("*out*"))
