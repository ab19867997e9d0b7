"""Vectors in the store beside plain npy files: writing, reading, and one sample in 25 layers.

Every number of the table is a ratio or a time of this run of the script, best of its repeats. The
files of both lie in one temporary folder, are flushed to disk when they are written, and are in the
page cache when they are read.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from backend.store import Manifest, Store
from backend.store.manifest import DatasetInfo, Dtype, ModelInfo, OriginInfo, utc_now
from backend.store.streams import StreamInfo
from backend.store.vectors import part_rows
from backend.types import LayerRef, StreamSpec

DEPTH = 24  # 25 layers: 0 to 24


def main() -> None:
    """Print a line a dtype."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{options.rows} x {options.width}, {DEPTH + 1} layers, load {os.getloadavg()[0]:.1f}")
    print("dtype     write MB/s (npy)   read MB/s (npy)   one sample in 25 layers, ms")
    for dtype in ("float32", "float16"):
        with tempfile.TemporaryDirectory() as folder:
            print(_line(Path(folder), dtype, options.rows, options.width, options.repeats))


def _line(folder: Path, dtype: Dtype, rows: int, width: int, repeats: int) -> str:
    rng = np.random.default_rng(0)
    layer = rng.standard_normal((rows, width), dtype=np.float32).astype(dtype)
    layers = {(LayerRef("text", k), "cls"): layer for k in range(DEPTH + 1)}
    megabytes = layer.nbytes * len(layers) / 1e6
    store = Store.create(folder / "store")
    manifest = _manifest(width, dtype)

    def clear_store() -> None:
        if "benchmark" in store.run_ids():
            store.delete("benchmark")

    def write_store() -> None:
        with store.writer(manifest) as writer:
            for start in range(0, rows, part_rows(manifest)):
                at = slice(start, start + part_rows(manifest))
                ids = [f"sample-{i:07d}" for i in range(rows)[at]]
                samples = pa.table({"sample_id": ids, "split": ids, "text": ids})
                writer.write_part(samples, {key: array[at] for key, array in layers.items()})
            writer.commit()

    def write_npy() -> None:
        for ref, _ in layers:
            with (folder / f"{ref.layer}.npy").open("wb") as file:
                np.save(file, layer)
                file.flush()
                os.fsync(file.fileno())

    def read_store() -> None:
        run = store.run("benchmark")
        for ref, pooling in layers:
            run.vectors("text", ref, pooling)

    def read_npy() -> None:
        for ref, _ in layers:
            np.load(folder / f"{ref.layer}.npy").astype(np.float32, copy=False)

    def read_sample() -> None:
        run = store.run("benchmark")
        for ref, pooling in layers:
            run.vectors("text", ref, pooling, rows=[rows // 2])

    wrote = _best(write_store, repeats, before=clear_store)
    wrote_npy = _best(write_npy, repeats)
    read, read_plain = _best(read_store, repeats), _best(read_npy, repeats)
    sample = _best(read_sample, repeats)
    return (
        f"{dtype}  {megabytes / wrote:6.0f} ({wrote_npy / wrote:4.2f} of npy)"
        f"  {megabytes / read:6.0f} ({read_plain / read:4.2f} of npy)   {sample * 1000:6.1f}"
    )


def _best(
    work: Callable[[], None], repeats: int, before: Callable[[], None] = lambda: None
) -> float:
    """Seconds of the fastest of some runs; ``before`` each, something that is not timed."""
    times = []
    for _ in range(repeats):
        before()
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _manifest(width: int, dtype: Dtype) -> Manifest:
    spec = StreamSpec.of("text", "text", DEPTH, width, poolings=("cls",))
    return Manifest(
        run_id="benchmark",
        model=ModelInfo(name="made", family="made", streams=(StreamInfo.of(spec),)),
        placement=None,
        seed=None,
        dataset=DatasetInfo(name="made", layout="made", split="test", fingerprint="", n=0),
        poolings=("cls",),
        dtype=dtype,
        versions={},
        created=utc_now(),
        origin=OriginInfo(),
    )


if __name__ == "__main__":
    main()
