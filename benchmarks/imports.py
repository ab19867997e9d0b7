"""What importing activations costs beside copying the same bytes, and the memory that it takes.

    uv run python benchmarks/imports.py
    uv run python benchmarks/imports.py --rows 100000 --turns 1     # 8 GB, three times that on disk

One npy file a layer, float32. A turn copies the files (each flushed to disk, as the import flushes
its own) and imports them in a process of its own, one after the other, in turn first. Printed are
MB/s of both, the ratio by turns (median), and the import's peak of resident memory beside that of
a process that has only imported the package.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

IMPORT = """
import resource, sys, time
from backend.store import Store
from backend.store.imports import add_run
store = Store.create(sys.argv[2])
start = time.perf_counter()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
add_run(store, sys.argv[1], samples=None)
took = time.perf_counter() - start
print(took, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def make(folder: Path, rows: int, layers: int, width: int) -> int:
    """One file a layer, a block of rows at a time; returns the number of bytes."""
    rng = np.random.default_rng(0)
    block = rng.standard_normal((4096, width), dtype=np.float32)
    for layer in range(layers):
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        with (folder / f"vision-{layer}-cls.npy").open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for start in range(0, rows, len(block)):
                piece = block[: min(len(block), rows - start)] + np.float32(layer + start)
                stream.write(piece.data.cast("B"))
    return sum(path.stat().st_size for path in folder.iterdir())


def copy(source: Path, target: Path) -> float:
    """Seconds to copy a folder's files, each flushed to disk."""
    target.mkdir()
    start = time.perf_counter()
    for path in sorted(source.iterdir()):
        shutil.copyfile(path, target / path.name)
        with (target / path.name).open("rb+") as stream:
            os.fsync(stream.fileno())
    return time.perf_counter() - start


def imported(source: Path, store: Path) -> tuple[float, float, float]:
    """Seconds of an import, and the peaks of memory before and after it in MiB."""
    words = [sys.executable, "-c", IMPORT, str(source), str(store)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    took, before, after = map(float, done.stdout.split())
    return took, before / 1024, after / 1024


def main() -> None:
    """Make, take turns, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--layers", type=int, default=26)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="Where to work: the disk that is measured.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        source = folder / "source"
        source.mkdir()
        size = make(source, options.rows, options.layers, options.width)
        os.sync()
        copies, imports, peaks = [], [], []
        for turn in range(options.turns):
            for what in ("copy", "import") if turn % 2 == 0 else ("import", "copy"):
                if what == "copy":
                    copies.append(copy(source, folder / "copy"))
                    shutil.rmtree(folder / "copy")
                else:
                    took, before, after = imported(source, folder / "store")
                    imports.append(took)
                    peaks.append((before, after))
                    shutil.rmtree(folder / "store")
    mb = size / 1e6
    load = os.getloadavg()[0]
    print(f"{options.rows:,} x {options.width} x {options.layers} layers, {mb:,.0f} MB, float32")
    print(f"turns {options.turns}, cores {len(os.sched_getaffinity(0))}, load {load:.1f}")
    print("copy    " + "  ".join(f"{mb / t:8,.0f}" for t in copies) + "  MB/s")
    print("import  " + "  ".join(f"{mb / t:8,.0f}" for t in imports) + "  MB/s")
    ratios = [c / i for c, i in zip(copies, imports, strict=True)]
    print(f"import / copy, by turns: median {statistics.median(ratios):.2f} of {len(ratios)}")
    before, after = (max(values) for values in zip(*peaks, strict=True))
    print(f"peak memory {after:,.0f} MiB, of which {before:,.0f} before the import")
    print(f"(this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB)")


if __name__ == "__main__":
    main()
