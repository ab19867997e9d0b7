"""What keeping frozen layers' outputs saves: training time without it over training time with it.

    uv run python benchmarks/frozen.py
    uv run python benchmarks/frozen.py --data LAYOUT:PATH --image-size 112 \\
        --text-encoder DIR --vision-encoder NAME:FILE --freeze "text=4;vision=10"

Both sides train the same plan with the same seed, early stopping off, and end with the same losses
(checked). The side with the cache pays for filling it: the first number is of a training alone,
the second of a further training (another seed, a placement above the same frozen part) that finds
the files. Reading and decoding the data, which all pay alike, is left out of both. Ratios are of
processor time, which other work on the machine disturbs less than the clock; both are printed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from transformers.utils import logging as transformers_logging

from backend.data.registry import open_source
from backend.train import loop
from backend.train.options import CacheOptions
from backend.train.recipe import TrainPlan

Seconds = tuple[float, float]  # of the processor, by the clock


def trained(plan: TrainPlan, out: Path, cache: CacheOptions) -> tuple[Seconds, list[float]]:
    """Time of keeping outputs, steps and dev scores, and the losses of the epochs."""
    training = loop._Training(plan, open_source(plan.data), 0)
    out.mkdir(parents=True)
    start = time.process_time(), time.perf_counter()
    training.keep_frozen(cache, out / "frozen")
    training.run(out)
    seconds = time.process_time() - start[0], time.perf_counter() - start[1]
    return seconds, [row["loss"] for row in training.state.history]


def main() -> None:
    """Train three times and print the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="macros:n=512,dev=128,test=16")
    parser.add_argument("--text-encoder", default="small:depth=6,width=192,heads=3")
    parser.add_argument("--vision-encoder", default="small:depth=12,width=192,heads=3,patch=16")
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--placement", default="late")
    parser.add_argument("--freeze", default="text=4;vision=10")
    parser.add_argument("--limit", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    given = vars(parser.parse_args())
    transformers_logging.disable_progress_bar()
    plan = TrainPlan(**given, patience=given["epochs"], dropout=0.0, device="cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = CacheOptions(cache_dir=folder / "kept", say=print)
        without, losses = trained(plan, folder / "without", CacheOptions("off"))
        filling, same = trained(plan, folder / "filling", kept)
        reading, also = trained(plan, folder / "reading", kept)
    apart = max(abs(a - b) for other in (same, also) for a, b in zip(losses, other, strict=True))
    assert apart < 1e-3, f"the losses differ by {apart}"
    print(json.dumps(given))
    for name, (processor, clock) in (
        ("without", without),
        ("with", filling),
        ("with found files", reading),
    ):
        print(f"{name}: {processor:.1f} s of the processor, {clock:.1f} s by the clock")
    alone, further = (without[0] / other[0] for other in (filling, reading))
    print(f"ratio alone {alone:.2f}, of a further training {further:.2f}")
    print(f"largest difference of an epoch's loss {apart:.1e}")


if __name__ == "__main__":
    main()
