"""A process that writes a store, for the tests to watch and to kill.

``worker.py STORE RUN_ID COMMAND``: ``write`` writes a run through; every other command does the
same but prints "here" and hangs at the named point, after doing half of what would come next.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import backend.store.parts
import backend.store.workplace
import backend.store.writer
from backend.store import Store, kinds

N, PART = 60, 10
LAYERS = 24  # of make_manifest: two streams, six sites, two poolings


def load_factory() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "make_store.py"
    spec = importlib.util.spec_from_file_location("fusionscope_make_store", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def hang() -> None:
    print("here", flush=True)
    time.sleep(600)


def hang_at(point: str) -> None:
    if point == "in-layer":
        hang_in(backend.store.parts, "write_vectors", call=3 * LAYERS + 5)
    elif point == "in-samples":
        hang_in(backend.store.parts.tables, "write_samples", call=4)
    elif point == "in-commit":
        backend.store.writer.fsync_tree = lambda root: hang()
    elif point == "before-rename":
        hang_before_rename_to("run")
    elif point == "after-rename":
        backend.store.workplace.fsync_dir = lambda path: hang()
    elif point == "between-renames":
        hang_after_rename_to("replaced")
    elif point == "after-dropping":
        hang_after_rename_to("dropped")
    elif point != "write":
        raise SystemExit(f"unknown point {point}")


def hang_in(module: Any, name: str, call: int) -> None:
    """Hang in the given call of a function that writes a file, with half of it written."""
    write_file, calls = getattr(module, name), iter(range(1, 10**6))

    def half(path: Path, *args: Any, **options: Any) -> None:
        write_file(path, *args, **options)
        if next(calls) == call:
            path.write_bytes(path.read_bytes()[:500])
            hang()

    setattr(module, name, half)


def hang_after_rename_to(name: str) -> None:
    rename = Path.rename

    def renamed(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        if Path(target).name == name:
            hang()
        return moved

    Path.rename = renamed  # type: ignore[method-assign]


def hang_before_rename_to(name: str) -> None:
    rename = Path.rename

    def held(self: Path, target: Path) -> Path:
        if Path(target).name == name:
            hang()
        return rename(self, target)

    Path.rename = held  # type: ignore[method-assign]


def write(store: Store, run_id: str, *, replace: bool = False, keep: bool = True) -> int:
    """Write a run through; returns how many samples were there already."""
    make = load_factory()
    manifest = make.make_manifest(run_id)
    with store.writer(manifest, replace=replace) as writer:
        before: int = writer.n_written
        vectors = make.make_vectors(manifest, N)
        make.write_parts(writer, make.make_samples(N), vectors, PART)
        writer.add(kinds.MEASURES, make.make_measures(manifest, vectors), "default")
        writer.add(kinds.SCORES, make.make_scores("late", 0))
        writer.commit(keep_activations=keep)
    return before


if __name__ == "__main__":
    path, run_id, command = sys.argv[1:]
    hang_at(command)
    replace, keep = command == "between-renames", command != "after-dropping"
    write(Store.create(path), run_id, replace=replace, keep=keep)
    print("done", flush=True)
