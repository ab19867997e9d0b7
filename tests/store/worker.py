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

import backend.store.shards
import backend.store.writer
from backend.store import Store

N, SHARD = 60, 10


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
    if point == "in-shard":
        write_table = backend.store.shards.pq.write_table
        calls: list[Path] = []

        def half_shard(table: Any, where: Path, **options: Any) -> None:
            write_table(table, where, **options)
            if (calls.append(where) or len(calls)) == 4:
                where.write_bytes(where.read_bytes()[:2000])
                hang()

        backend.store.shards.pq.write_table = half_shard
    elif point == "in-commit":
        write_vectors = backend.store.writer.write_vectors
        names: list[str] = []

        def half_layer(shards: Any, name: str, path: Path) -> None:
            write_vectors(shards, name, path)
            if (names.append(name) or len(names)) == 5:
                path.write_bytes(path.read_bytes()[:500])
                hang()

        backend.store.writer.write_vectors = half_layer
    elif point == "before-rename":
        backend.store.writer.fsync_tree = lambda root: hang()
    elif point == "after-rename":
        backend.store.writer.fsync_dir = lambda path: hang()
    elif point == "between-renames":
        rename = Path.rename

        def first_rename(self: Path, target: Path) -> Path:
            moved = rename(self, target)
            if Path(target).name == "replaced":
                hang()
            return moved

        Path.rename = first_rename  # type: ignore[method-assign]
    elif point != "write":
        raise SystemExit(f"unknown point {point}")


def write(store: Store, run_id: str, *, replace: bool = False) -> int:
    """Write a run through; returns how many samples were there already."""
    make = load_factory()
    manifest = make.make_manifest(run_id)
    with store.writer(manifest, replace=replace) as writer:
        found: int = writer.n_written
        vectors = make.make_vectors(manifest, N)
        make.write_shards(writer, make.make_samples(N), vectors, SHARD)
        writer.add_measures("default", make.make_measures(manifest, vectors))
        writer.add_scores(make.make_scores("late", 0))
        writer.commit()
    return found


if __name__ == "__main__":
    path, run_id, command = sys.argv[1:]
    hang_at(command)
    write(Store.create(path), run_id, replace=command == "between-renames")
    print("done", flush=True)
