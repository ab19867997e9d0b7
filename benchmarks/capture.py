"""What capture costs over the bare forward pass of the same model on the same batches.

    uv run python benchmarks/capture.py
    uv run python benchmarks/capture.py --kind llava
    uv run python benchmarks/capture.py --kind ours --data LAYOUT:PATH --image-size 112 \\
        --text-encoder DIR --vision-encoder NAME:FILE

*A line a kind*: one batch, encoded once, through a random model of the real class (``kinds.py``)
and through ours; bare, and with every site of every stream pooled and brought to the CPU. Putting
the hooks on is a column of its own (``opening``): a capture does it once a run. *End to end*, of
ours: both sides decode the same images and tokenise the same texts with the same read-ahead; one
only runs the model, the other also pools every layer and writes the store.

Both sides alternate in one process, so that a machine whose speed drifts is fair to both. By the
clock, ratios are of medians, of minima, and by pairs (median and the middle half of the pairs); of
processor time, which other work on the machine disturbs less, of medians and of minima. Where other
work takes the processors, ``OMP_NUM_THREADS=1`` keeps threads from waiting for each other, and the
minima say most: what disturbs a pass only ever adds to it.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from kinds import KINDS, build
from transformers.utils import logging as transformers_logging

from backend.capture import run as capture_run
from backend.capture.options import CaptureOptions
from backend.capture.sinks import PooledSink
from backend.capture.tap import Tap
from backend.data.registry import open_source
from backend.jobs.capture import CaptureRequest, Opened, open_request, run_capture
from backend.models.adapter import Adapter, Inputs
from backend.train.build import build as build_model
from backend.train.plan import chosen_tasks
from backend.train.recipe import TrainPlan
from backend.types import POOLINGS


@dataclass
class Times:
    """Seconds of every turn of one side, by the clock and of the processor."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """What is done within is one turn."""
        clock, processor = time.perf_counter(), time.process_time()
        yield
        self.clock.append(time.perf_counter() - clock)
        self.processor.append(time.process_time() - processor)


def alternating(turns: int, *sides: Callable[[int], object]) -> None:
    """``turns`` turns of every side, given the turn's number; each goes first in every other."""
    for turn in range(turns):
        for side in reversed(sides) if turn % 2 else sides:
            side(turn)


def ratios(bare: Times, capture: Times) -> str:
    """Capture over bare, as the module says."""
    pairs = [c / b for b, c in zip(bare.clock, capture.clock, strict=True)]
    low, middle, high = quartiles(pairs)
    return (
        f"{over(statistics.median, capture.clock, bare.clock)}"
        f"{over(min, capture.clock, bare.clock)}"
        f"{f'{middle:.3f} ({low:.3f} .. {high:.3f})':>25}"
        f"{over(statistics.median, capture.processor, bare.processor)}"
        f"{over(min, capture.processor, bare.processor)}"
    )


def over(summary: Callable[[list[float]], float], capture: list[float], bare: list[float]) -> str:
    """The ratio of the two sides' summaries, as a column."""
    return f"{summary(capture) / summary(bare):9.3f}"


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


HEADER = (
    f"{'':24}{'sites':>6}{'batch':>6}{'bare':>9}{'medians':>9}{'minima':>9}"
    f"{'by pairs':>25}{'medians':>9}{'minima':>9}{'opening':>11}\n"
    f"{'':45}{'of the clock':>43}{'of the processor':>18}"
)


def line(name: str, adapter: Adapter, batch: int, bare: Times, capture: Times) -> str:
    """A row of the table."""
    sites = sum(len(spec.sites) for spec in adapter.streams)
    alone = statistics.median(bare.clock)
    return f"{name:24}{sites:6}{batch:6}{alone:7.2f} s{ratios(bare, capture)}"


def forward_line(name: str, adapter: Adapter, inputs: Inputs, rounds: int) -> str:
    """Of one kind: the forward pass of one batch alone and with every site pooled."""
    bare, capture, opening = Times(), Times(), Times()

    def run_bare(turn: int) -> None:
        with bare.turn(), torch.inference_mode():
            adapter.forward(inputs)

    def run_captured(turn: int) -> None:
        sink = PooledSink(POOLINGS)
        with ExitStack() as stack:
            with opening.turn():
                tap = stack.enter_context(Tap(adapter, sink))
            with capture.turn():
                tap(inputs)
                sink.vectors()

    with torch.inference_mode():
        adapter.forward(inputs)  # warm-up
    alternating(rounds, run_bare, run_captured)
    opened = 1000 * statistics.median(opening.clock)
    return f"{line(name, adapter, len(inputs), bare, capture)}{opened:8.1f} ms"


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
    model, preprocessor = build_model(plan, source, chosen_tasks(plan, source), 0)
    model.save_pretrained(folder)
    preprocessor.save(folder)
    return folder


def bare_run(opened: Opened, options: CaptureOptions) -> None:
    """Everything that capture does but for hooks, pooling and writing."""
    split = opened.manifest.dataset.split
    pairs = opened.source.pairs(split, options.limit)
    with ThreadPoolExecutor(1) as pool, torch.inference_mode():
        batches = capture_run._batches(opened.adapter, pairs, options)
        for batch in capture_run._ahead(pool, batches):
            opened.adapter.forward(batch.inputs)


def end_to_end(opened: Opened, request: CaptureRequest, runs: int) -> str:
    """Of ours: from files to a store, against decoding and running alone."""
    bare, captured = Times(), Times()

    def run_bare(turn: int) -> None:
        with bare.turn():
            bare_run(opened, request.options)

    def run_captured(turn: int) -> None:
        manifest = opened.manifest.model_copy(update={"run_id": f"turn{turn}"})
        with captured.turn():
            run_capture(request, Opened(opened.adapter, opened.source, manifest, opened.expected))

    batch = request.options.batch_size
    bare_run(opened, CaptureOptions(limit=2 * batch, batch_size=batch))  # warm-up
    alternating(runs, run_bare, run_captured)
    return line(f"ours, {opened.expected} end to end", opened.adapter, batch, bare, captured)


def time_ours(given: argparse.Namespace, folder: Path) -> None:
    """Print the line of our own model, and how it does end to end."""
    request = CaptureRequest(
        model=str(checkpoint(given, folder / "model")),
        data=given.data,
        store=str(folder / "store"),
        options=CaptureOptions(limit=given.limit, batch_size=32),
    )
    opened = open_request(request)
    pairs = opened.source.pairs(opened.manifest.dataset.split, given.batch_size)
    inputs = opened.adapter.encode([pair.sample for pair in islice(pairs, given.batch_size)])
    print(forward_line("ours", opened.adapter, inputs, given.rounds), flush=True)
    if given.runs:
        print(end_to_end(opened, request, given.runs), flush=True)


def main() -> None:
    """Time what was asked for and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", choices=["all", *KINDS, "ours"], default="all")
    parser.add_argument("--batch-size", type=int, default=16, help="of the line a kind")
    parser.add_argument("--rounds", type=int, default=20, help="forward passes of each side")
    parser.add_argument("--data", default="macros")
    parser.add_argument("--text-encoder", default="small:depth=12,width=192,heads=3")
    parser.add_argument("--vision-encoder", default="small:depth=12,width=192,heads=3,patch=16")
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--limit", type=int, default=512, help="samples end to end")
    parser.add_argument("--runs", type=int, default=5, help="of each side end to end")
    given = parser.parse_args()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    threads = torch.get_num_threads()
    print(f"{threads} threads on {os.cpu_count()} processors, load {load()}; capture over bare:")
    print(HEADER, flush=True)
    for name in KINDS if given.kind == "all" else KINDS.keys() & {given.kind}:
        kind = build(name, given.batch_size)
        inputs = kind.adapter.encode(kind.samples)
        print(forward_line(name, kind.adapter, inputs, given.rounds), flush=True)
    if given.kind in ("all", "ours"):
        with tempfile.TemporaryDirectory() as folder:
            time_ours(given, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"load {load()}, peak memory {peak:.0f} MiB")


def load() -> str:
    """What the machine is busy with, over one and over five minutes."""
    return " and ".join(f"{value:.1f}" for value in os.getloadavg()[:2])


if __name__ == "__main__":
    main()
