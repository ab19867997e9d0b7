"""What an accelerator makes of capture, CKA and a trace, beside the CPU: ``benchmarks/device.sh``.

A fusion model of random weights is run on every device that is there: on the accelerator, if there
is one, and on the CPU. ``--size base`` has a ViT-B/16 at 224 px and a BERT of base size, ``small``
towers of width 192 at 112 px; by default the first where there is an accelerator. Of each device:

- *matrix rate*: a large square product, in float32 (as the models run) and in bfloat16;
- *forward*: one batch, encoded once: TFLOP/s, and their share of the float32 rate;
- *hooked*: the same batch with every site of every stream pooled and brought to main memory;
- *capture*: from the pictures to a run of a store, beside the bare passes of as many samples, and
  beside reading alone (drawing, resizing, tokenising), which happens meanwhile on the CPU;
- *trace*: one pair as the page traces it, with the fusion cut, beside its bare forward passes;
- *CKA*: all pairs of 26 layers. It is computed on the CPU, whichever device holds the layers, so
  its share is of the CPU's rate.

Seconds are medians; a share of 1 is as fast as can be. Parts for which ``--limit-s`` leaves no time
are left out, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

BEGUN = time.perf_counter()
"""The imports below are part of the time: they can take half a minute."""

try:
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers.utils import logging as transformers_logging

    from backend.capture import run as capture_run
    from backend.capture.options import CaptureOptions
    from backend.capture.sinks import PooledSink
    from backend.capture.tap import Tap
    from backend.data.registry import open_source
    from backend.inference.what_if import what_if
    from backend.jobs.capture import CaptureRequest, Opened, open_request, run_capture
    from backend.measures import cka_matrix
    from backend.models.adapter import Adapter, Inputs
    from backend.models.devices import choose_device
    from backend.train.build import build
    from backend.train.plan import chosen_tasks
    from backend.train.recipe import TrainPlan
    from backend.types import POOLINGS
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is not installed: use an environment with what Fusionscope needs.")


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    encoder: str
    pixels: int
    batch: int
    samples: int


SIZES = {
    "small": Size("small:depth=12,width=192,heads=3", 112, 16, 256),
    "base": Size("small:depth=12,width=768,heads=12", 224, 64, 512),
}
PATCH = 16
LAYERS = (26, 2048, 768)
"""Layers, samples and dimensions of the CKA."""

MOST_S, LEAST, MOST = 6.0, 3, 30
"""A timing takes turns for so many seconds, but at least and at most so many."""
RESERVE_S = 30.0
"""A part begins only where as much is left."""


@dataclass
class Row:
    """What one part gave on one device: its seconds, and shares and rates by name."""

    device: str
    part: str
    seconds: float | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    left_out: str = ""

    @property
    def line(self) -> str:
        """A line of the table."""
        if self.seconds is None:
            return f"{self.device:8}{self.part:14}{'':>11}  {self.left_out}"
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())
        return f"{self.device:8}{self.part:14}{1000 * self.seconds:8.1f} ms  {numbers}"


def medians(*sides: Callable[[], float]) -> list[float]:
    """Of the seconds that each side tells; they take turns, each goes first in every other."""
    times: list[list[float]] = [[] for _ in sides]
    for side in sides:  # what is done once: kernels chosen, memory allocated
        side()
    begun = time.perf_counter()
    for turn in range(MOST):
        if turn >= LEAST and time.perf_counter() - begun > MOST_S:
            break
        order = list(zip(times, sides, strict=True))
        for taken, side in reversed(order) if turn % 2 else order:
            taken.append(side())
    return [statistics.median(taken) for taken in times]


def timed(device: torch.device, act: Callable[[], object]) -> float:
    """Seconds until the device has done what it is asked to."""
    start = time.perf_counter()
    act()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - start


@dataclass(frozen=True)
class Bench:
    """A model and its data, and the devices' float32 matrix rates in FLOP/s."""

    size: Size
    opened: Opened
    request: CaptureRequest
    rates: dict[str, float] = field(default_factory=dict)

    @property
    def adapter(self) -> Adapter:
        """The model."""
        return self.opened.adapter

    def inputs(self, device: torch.device, n: int) -> Inputs:
        """The first ``n`` samples on the device; the model goes there, too."""
        self.adapter.module.to(device).eval()
        pairs = self.opened.source.pairs(self.opened.manifest.dataset.split, n)
        return self.adapter.encode([pair.sample for pair in pairs]).to(device)

    def bare(self, inputs: Inputs) -> None:
        """The forward pass, and nothing else."""
        with torch.inference_mode():
            self.adapter.forward(inputs)

    def flops(self, inputs: Inputs) -> float:
        """Floating-point operations of a forward pass: two a multiply-add."""
        with FlopCounterMode(display=False) as counter:
            self.bare(inputs)
        return float(counter.get_total_flops())


def matrix_rate(bench: Bench, device: torch.device) -> Row:
    """Products of square matrices."""
    n = 4096 if device.type != "cpu" else 1536
    flops, rates, seconds = 2 * n**3, {}, 0.0
    for dtype in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        (seconds,) = medians(partial(timed, device, partial(torch.matmul, a, b)))
        rates[dtype] = flops / seconds
    bench.rates[device.type] = rates[torch.float32]
    named = {f"{dtype} TFLOP/s".removeprefix("torch."): r / 1e12 for dtype, r in rates.items()}
    return Row(device.type, "matrix rate", seconds, named)


def forward(bench: Bench, device: torch.device) -> Row:
    """One batch."""
    inputs = bench.inputs(device, bench.size.batch)
    (seconds,) = medians(partial(timed, device, partial(bench.bare, inputs)))
    rate = bench.flops(inputs) / seconds
    numbers = {
        "TFLOP/s": rate / 1e12,
        "share of the matrix rate": rate / bench.rates[device.type],
        "samples/s": len(inputs) / seconds,
    }
    return Row(device.type, "forward", seconds, numbers)


def hooked(bench: Bench, device: torch.device) -> Row:
    """One batch, every site pooled."""
    inputs = bench.inputs(device, bench.size.batch)
    sink = PooledSink(POOLINGS)

    def captured() -> float:
        with Tap(bench.adapter, sink) as tap:  # a capture puts the hooks on once
            return timed(device, lambda: (tap(inputs), sink.vectors()))

    bare, with_sites = medians(partial(timed, device, partial(bench.bare, inputs)), captured)
    return Row(device.type, "hooked", with_sites, {"share of the bare forward": bare / with_sites})


def captured(bench: Bench, device: torch.device) -> Row:
    """From pictures to a run."""
    size, options = bench.size, bench.request.options
    inputs = bench.inputs(device, size.batch)
    (batch,) = medians(partial(timed, device, partial(bench.bare, inputs)))
    start = time.perf_counter()
    pairs = bench.opened.source.pairs(bench.opened.manifest.dataset.split, size.samples)
    for _ in capture_run._batches(bench.adapter, pairs, options):
        pass
    reading = time.perf_counter() - start
    manifest = bench.opened.manifest.model_copy(update={"run_id": f"on-{device.type}"})
    opened = Opened(bench.adapter, bench.opened.source, manifest, bench.opened.expected)
    start = time.perf_counter()
    on_device = replace(options, device=device.type)
    run_capture(replace(bench.request, options=on_device), opened)
    seconds = time.perf_counter() - start
    numbers = {
        "samples/s": size.samples / seconds,
        "share of the bare forward": batch * size.samples / size.batch / seconds,
        "share of reading": reading / seconds,
    }
    return Row(device.type, "capture", seconds, numbers)


def trace(bench: Bench, device: torch.device) -> Row:
    """One pair with the fusion cut, as the page asks for it."""
    inputs = bench.inputs(device, 1)
    pair = next(iter(bench.opened.source.pairs(bench.opened.manifest.dataset.split, 1)))
    work = what_if(cut="all")
    bare, traced = medians(
        partial(timed, device, partial(bench.bare, inputs)),
        partial(timed, device, partial(work.alone, bench.adapter, [pair.sample])),
    )
    return Row(device.type, "trace", traced, {"share of its two forward passes": 2 * bare / traced})


def cka(bench: Bench, device: torch.device) -> Row:
    """All pairs of random layers that the device holds."""
    count, n, d = LAYERS
    layers = list(torch.randn(count, n, d, device=device).unbind())
    (seconds,) = medians(partial(timed, device, partial(cka_matrix, layers)))
    # Of every layer half a Gram, of every two layers half of its products.
    flops = count * n**2 * d + (count * n) ** 2
    numbers = {
        "TFLOP/s": flops / seconds / 1e12,
        "share of the CPU's matrix rate": flops / seconds / bench.rates["cpu"],
    }
    return Row(device.type, "CKA", seconds, numbers)


PARTS: dict[str, Callable[[Bench, torch.device], Row]] = {
    "forward": forward,
    "hooked": hooked,
    "trace": trace,
    "capture": captured,
    "CKA": cka,
}


def prepared(size: Size, folder: Path) -> Bench:
    """An untrained model and the samples that it will see."""
    source_name = f"macros:test={size.samples},size={size.pixels}"
    plan = TrainPlan(
        data=source_name,
        placement="late",
        text_encoder=size.encoder,
        vision_encoder=f"{size.encoder},patch={PATCH}",
        image_size=size.pixels,
    )
    source = open_source(plan.data)
    model, preprocessor = build(plan, source, chosen_tasks(plan, source), 0)
    model.save_pretrained(folder / "model")
    preprocessor.save(folder / "model")
    request = CaptureRequest(
        model=str(folder / "model"),
        data=source_name,
        store=str(folder / "store"),
        options=CaptureOptions(batch_size=size.batch, limit=size.samples),
    )
    return Bench(size, open_request(request), request)


def rows(size: Size, devices: list[torch.device], limit_s: float) -> Iterator[Row]:
    """The parts, device by device, the accelerator first."""
    with tempfile.TemporaryDirectory() as folder:
        bench = prepared(size, Path(folder))
        for device in reversed(devices):  # every share wants its rate
            yield matrix_rate(bench, device)
        for device in devices:
            for name, part in PARTS.items():
                left = limit_s - (time.perf_counter() - BEGUN)
                if left < RESERVE_S:
                    yield Row(device.type, name, left_out=f"left out: {left:.0f} s were left")
                    continue
                yield part(bench, device)


def ratios(done: list[Row]) -> dict[str, float]:
    """{part: how many times faster the accelerator was}."""
    seconds = {(row.device, row.part): row.seconds for row in done if row.seconds is not None}
    return {
        part: seconds["cpu", part] / spent
        for (device, part), spent in seconds.items()
        if device != "cpu" and ("cpu", part) in seconds and part in PARTS
    }


def main() -> None:
    """Print a line a part as it is measured, and what the accelerator gains."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES)
    parser.add_argument("--limit-s", type=float, default=330.0, help="seconds for everything")
    parser.add_argument("--json", action="store_true", help="one JSON instead of the table")
    given = parser.parse_args()
    transformers_logging.disable_progress_bar()
    best = choose_device("auto")
    devices = [best] if best.type == "cpu" else [best, torch.device("cpu")]
    size = given.size or ("small" if best.type == "cpu" else "base")
    about: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if best.type == "cuda" else best.type,
        "size": size,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processors": os.cpu_count(),
    }
    if not given.json:
        print(", ".join(f"{name} {value}" for name, value in about.items()))
    done = []
    for row in rows(SIZES[size], devices, given.limit_s):
        done.append(row)
        if not given.json:
            print(row.line, flush=True)
    seconds = time.perf_counter() - BEGUN
    if given.json:
        parts = [asdict(row) for row in done]
        print(json.dumps({**about, "seconds": seconds, "rows": parts, "faster": ratios(done)}))
        return
    for part, times in ratios(done).items():
        print(f"{part}: {best.type} {times:.1f} times as fast as the CPU")
    print(f"{seconds:.0f} s in all")


if __name__ == "__main__":
    main()
