"""Write 2 shards, then 100 of the same size; print both peaks and the vectors' size in MB."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from worker import load_factory

from backend.store import Store
from backend.types import LayerRef

ROWS, WIDTH, LAYERS = 100, 256, 6


def peak_mb() -> float:
    scale = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def write(store: Store, run_id: str, shards: int) -> None:
    make = load_factory()
    rng = np.random.default_rng(0)
    samples = make.make_samples(ROWS)
    with store.writer(make.make_manifest(run_id, depth=12, width=WIDTH)) as writer:
        for shard in range(shards):
            ids = pa.array([f"{shard:04d}-{i:04d}" for i in range(ROWS)])
            vectors = {
                (LayerRef("text", k), "cls"): rng.standard_normal((ROWS, WIDTH)).astype("f4")
                for k in range(LAYERS)
            }
            writer.write_part(samples.set_column(0, "sample_id", ids), vectors)
        writer.commit()


if __name__ == "__main__":
    opened = Store.create(Path(sys.argv[1]))
    write(opened, "warm-up", 2)
    write(opened, "small", 2)
    small = peak_mb()
    write(opened, "large", 100)
    print(small, peak_mb(), 100 * ROWS * WIDTH * LAYERS * 4 / 1e6)
