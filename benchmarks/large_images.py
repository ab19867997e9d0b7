"""How much memory a capture takes whose images are as large as is read at all.

    uv run python benchmarks/large_images.py
    uv run python benchmarks/large_images.py --count 32 --side 7000 --formats WEBP JPEG PNG

A folder of ``count`` square images of ``side`` pixels a side (of one colour: a few hundred bytes
of WebP each, unpacked 200 MB) and captions is captured with a small model in a fresh process, a
format at a time. Printed are the seconds, the process' peak of resident memory, and what the same
capture of small images takes, most of which is libraries.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from backend.capture.options import CaptureOptions
from backend.data.registry import open_source
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.train.build import build
from backend.train.plan import chosen_tasks
from backend.train.recipe import TrainPlan


def make_data(folder: Path, count: int, side: int, kind: str) -> Path:
    """Captioned images in a folder of their own."""
    root = folder / f"{kind}-{side}"
    root.mkdir()
    ending = {"JPEG": "jpg"}.get(kind, kind.lower())
    with (root / "captions.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["id", "image", "text", "split"])
        for number in range(count):
            name = f"{number}.{ending}"
            Image.new("RGB", (side, side), (number * 7 % 256, 90, 200)).save(root / name, kind)
            table.writerow([number, name, f"picture number {number}", "test"])
    return root


def make_model(folder: Path) -> Path:
    """A checkpoint that takes seconds to run, untrained."""
    source = open_source("macros:n=64")
    plan = TrainPlan(data="macros", placement="middle")
    model, preprocessor = build(plan, source, chosen_tasks(plan, source), 0)
    model.save_pretrained(folder)
    preprocessor.save(folder)
    return folder


def capture(model: str, data: str, store: str, batch_size: int) -> None:
    """Capture in this process and print its peak."""
    request = CaptureRequest(
        model=model,
        data=f"folder:{data}",
        store=store,
        run_id="large",
        options=CaptureOptions(batch_size=batch_size, device="cpu"),
    )
    start = time.perf_counter()
    manifest = run_capture(request, open_request(request))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{manifest.dataset.n} samples, {time.perf_counter() - start:.1f} s, {peak:.2f} GiB")


def main() -> None:
    """Make the images and capture them, a process a format."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--side", type=int, default=7000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--formats", nargs="+", default=["WEBP", "JPEG", "PNG"])
    parser.add_argument("--capture", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.capture:
        capture(*given.capture, given.batch_size)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model")
        cases = [(given.formats[0], 64), *((kind, given.side) for kind in given.formats)]
        for kind, side in cases:
            data = make_data(folder, given.count, side, kind)
            words = [sys.executable, __file__, "--batch-size", str(given.batch_size), "--capture"]
            words += [str(model), str(data), str(folder / f"store-{kind}-{side}")]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            told = done.stdout.strip() or done.stderr.strip()[-300:]
            print(f"{kind} of {side} x {side}: {told}", flush=True)


if __name__ == "__main__":
    main()
