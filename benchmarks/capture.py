"""What capture costs over the bare forward pass of the same model on the same batches.

    uv run python benchmarks/capture.py
    uv run python benchmarks/capture.py --data LAYOUT:PATH --image-size 112 \\
        --text-encoder DIR --vision-encoder NAME:FILE

Without encoders a model from scratch on the generated set is used. Both sides decode
the same images and tokenise the same texts with the same read-ahead; one only runs the model, the
other also pools every layer and writes the store. They alternate, so that a machine whose speed
drifts is fair to both; the ratio is of the medians.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from backend.capture import run as capture_run
from backend.capture.run import CaptureOptions
from backend.data.registry import open_source
from backend.jobs.capture import CaptureRequest, Opened, open_request, run_capture
from backend.train.build import build
from backend.train.plan import TrainPlan, chosen_tasks


def checkpoint(options: argparse.Namespace, folder: Path) -> Path:
    """An untrained model of the asked encoders: speed does not depend on the weights."""
    source = open_source(options.data)
    plan = TrainPlan(
        data=options.data,
        placement="late",
        text_encoder=options.text_encoder,
        vision_encoder=options.vision_encoder,
        image_size=options.image_size,
    )
    model, preprocessor = build(plan, source, chosen_tasks(plan, source), 0)
    model.save_pretrained(folder)
    preprocessor.save(folder)
    return folder


def bare(opened: Opened, options: CaptureOptions) -> None:
    """Everything that capture does but for hooks, pooling and writing."""
    split = opened.manifest.dataset.split
    pairs = opened.source.pairs(split, options.limit)
    with ThreadPoolExecutor(1) as pool, torch.inference_mode():
        batches = capture_run._batches(opened.adapter, pairs, options)
        for batch in capture_run._ahead(pool, batches):
            opened.adapter.forward(batch.inputs)


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Time both sides and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="macros")
    parser.add_argument("--text-encoder", default="small:depth=12,width=192,heads=3")
    parser.add_argument("--vision-encoder", default="small:depth=12,width=192,heads=3,patch=16")
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--limit", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    transformers_logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        model = checkpoint(given, Path(folder) / "model")
        options = CaptureOptions(limit=given.limit, batch_size=32)
        request = CaptureRequest(
            model=str(model), data=given.data, store=f"{folder}/store", options=options
        )
        opened = open_request(request)
        bare(opened, CaptureOptions(limit=64, batch_size=32))  # warm-up
        times: dict[str, list[float]] = {"bare": [], "capture": []}
        for turn in range(given.rounds):
            run_id = f"turn{turn}"
            one = Opened(
                opened.adapter,
                opened.source,
                opened.manifest.model_copy(update={"run_id": run_id}),
                opened.expected,
            )
            work = {
                "bare": lambda: bare(opened, options),
                "capture": lambda one=one: run_capture(request, one),
            }
            for name in sorted(work, reverse=bool(turn % 2)):
                times[name].append(seconds(work[name]))
    for name, values in times.items():
        middle = statistics.median(values)
        print(
            f"{name:8} median {middle:.2f} s  (min {min(values):.2f}, max {max(values):.2f})  "
            f"{given.limit / middle:.0f} samples/s"
        )
    ratio = statistics.median(times["capture"]) / statistics.median(times["bare"])
    pairwise = [c / b for b, c in zip(times["bare"], times["capture"], strict=True)]
    print(f"capture / bare = {ratio:.3f}  (by pairs {min(pairwise):.3f} .. {max(pairwise):.3f})")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
