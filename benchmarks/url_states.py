"""Addresses that nobody made by hand: ``python benchmarks/url_states.py --states 2000 --seed 0``.

    uv run python benchmarks/url_states.py --states 2000 --first 0 --store cache/demo

A real server, and one visitor after another, each with a handful of addresses. State ``i`` of a
seed is the same in every run, so ``--first`` and ``--states`` cut the work into parts. A third are
possible values put together at random, a third have some of them broken, a third are what an
attacker writes: markup, templates, paths, SQL, control characters, other alphabets, huge numbers,
thousands of parts, unknown keys.

Printed are the states by page, the tracebacks, those over ``--limit-s``, those whose HTML holds a
piece of a hostile value as it was written, the server's highest memory, and the median time. Each
failure is printed with its address. 1 is returned for any.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

from watching import ROOT, resident_bytes, serving

from backend.figures.training import QUANTITIES
from backend.measures.registry import one_layer, two_layers
from backend.store import Store
from backend.views.state import ESTIMATORS
from tests.visitor import Shown, Visitor

PAGES = (
    *("runs", "transitions", "alignment", "dimensionality", "projection", "probes", "training"),
    *("compare", "study", "trace"),
)
A_SESSION = 8
"""States a visitor: what one leaves behind in the session meets the next."""

MARK = "zq9"
"""Stands in every piece of markup, so that it is known again."""

HOSTILE = (
    f"<script>window.{MARK}=1</script>",
    f"<img src=x onerror=window.{MARK}=1>",
    f"<svg/onload={MARK}()>",
    f'"><iframe srcdoc="<script>{MARK}</script>">',
    f"[x](javascript:{MARK}())",
    f"![x](http://{MARK}.example/x.png)",
    f"${{{MARK}}}",
    f"{{{{{MARK}}}}}",
    f":material/{MARK}:",
    f"$$\\href{{javascript:{MARK}}}{{x}}$$",
    "' OR 1=1 --",
    "'; DROP TABLE runs; --",
    '"), read_text("/etc/passwd")) --',
    "../../../../etc/passwd",
    "/etc/passwd\x00.parquet",
    "file:///etc/passwd",
    "\x00",
    "\x1b]0;x\x07",
    "\u202egnp.exe",
    "\ud83d\ude00",
    "e\u0301" * 40,
    "\u200b",
    "NaN",
    "-0",
    "1e999",
    "9" * 400,
    "-" + "9" * 12,
    "None",
    "[]",
    "{}",
    "%",
    "%00",
    "%s%n",
    "a" * 7_999,
    "a," * 3_000,
    "~" * 200,
    "text:" + "9" * 30,
    "vision:0~text:-1",
    "9999",
    "9999.norm",
    "0~9999",
    "CON",
    "__proto__",
)


class States:
    """Query strings of a store, by number."""

    def __init__(self, store: Path, seed: int) -> None:
        listing = Store(store).listing()
        entries = listing.entries
        streams = sorted({spec.name for e in entries for spec in e.manifest.streams})
        tasks = sorted({task.name for e in entries for task in e.manifest.tasks})
        runs = [entry.run_id for entry in entries]
        groups = [f"{e.label}~{e.dataset}~{e.manifest.dataset.split}" for e in entries]
        labels = [*map(str, range(13)), "4.fusion", "6.fusion", "10.fusion", "12.norm"]
        self._seed = seed
        self._values: dict[str, list[str]] = {
            "runs": [*runs, *groups, *(",".join(runs[:k]) for k in (2, 5, 15))],
            "focus": [*groups, *runs],
            "against": [*groups, *runs],
            "seed": ["0", "1", "2", "7", "-1"],
            "pair": [f"{a}~{b}" for a in streams for b in streams],
            "stream": streams,
            "layer": labels,
            "span": [f"{a}~{b}" for a in labels for b in labels],
            "measure": list(two_layers()),
            "estimator": list(ESTIMATORS),
            "preset": ["default", "thesis"],
            "dims": [*one_layer(), ",".join(one_layer())],
            "pooling": ["cls", "mean"],
            "block": ["all", *(f"{a}~{b}" for a in streams for b in streams)],
            "cell": [
                f"{a}:{x}~{b}:{y}" for a in streams for b in streams for x, y in ((0, 1), (9, 3))
            ],
            "sample": ["macros-0", "test-0", "0"],
            "model": ["0" * 16, "59e14c7e7fcbe39d"],
            "colour": ["modality", *tasks, *(f"{task}:1" for task in tasks)],
            "split": ["0", "1"],
            "numbers": ["0", "1"],
            "above": ["0", "1"],
            "dataset": sorted({e.dataset for e in entries}),
            "task": tasks,
            "metric": ["auroc", "accuracy", "macro_f1"],
            "baseline": ["none", "full", "late"],
            "published": ["0", "1"],
            "played": list(QUANTITIES),
        }

    def at(self, number: int) -> tuple[str, str]:
        """Page and query of a state."""
        rng = random.Random(f"{self._seed} {number}")
        kind = number % 3
        pairs: list[tuple[str, str]] = []
        for key in rng.sample(sorted(self._values), rng.randint(1, 9)):
            value = rng.choice(self._values[key] or [""])
            if kind == 1 and rng.random() < 0.5:
                value = self._broken(rng, value)
            elif kind == 2 and rng.random() < 0.7:
                value = rng.choice(HOSTILE)
            pairs.append((key, value))
        if kind == 2:
            pairs += [(rng.choice(HOSTILE)[:60], rng.choice(HOSTILE)) for _ in range(2)]
            pairs += pairs[:1] * rng.randint(0, 3)
        query = urlencode(
            [tuple(word.encode("utf-8", "surrogatepass") for word in p) for p in pairs]
        )
        return rng.choice(PAGES), query[:60_000]

    @staticmethod
    def _broken(rng: random.Random, value: str) -> str:
        ways = (
            value[: len(value) // 2],
            f"{value}{value}",
            value.upper(),
            value.replace("~", ":"),
            f" {value}",
            "".join(rng.sample(value, len(value))),
            str(rng.randint(-(10**6), 10**6)),
            "",
        )
        return rng.choice(ways)


def hostile_html(shown: Shown) -> list[str]:
    """Pieces of HTML in which a hostile value stands as markup."""
    return [html for html in shown.html if MARK in html and "<" in html]


def main() -> int:
    """Visit the states; 1 for any failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path, default=ROOT / "cache" / "demo")
    parser.add_argument("--limit-s", type=float, default=20.0)
    parser.add_argument("--minutes", type=float, default=0.0, help="Stop after so many; 0: never.")
    options = parser.parse_args()
    states = States(options.store, options.seed)
    failures: list[str] = []
    seconds: list[float] = []
    pages: Counter[str] = Counter()
    peak = 0
    until = time.monotonic() + 60 * options.minutes if options.minutes else float("inf")
    numbers = range(options.first, options.first + options.states)
    with serving(options.store.resolve()) as (address, pid):
        with Visitor(address) as visitor:  # what the server loads once is not of a state
            for page in PAGES:
                visitor.visit(page, timeout_s=300)
        for start in range(0, len(numbers), A_SESSION):
            if time.monotonic() > until:
                break
            with Visitor(address) as visitor:
                for number in numbers[start : start + A_SESSION]:
                    page, query = states.at(number)
                    where = f"state {number}: {page}?{query[:500]}"
                    try:
                        shown = visitor.visit(page, query, timeout_s=6 * options.limit_s)
                    except TimeoutError:
                        failures.append(f"never over: {where}")
                        break
                    pages[page] += 1
                    seconds.append(shown.seconds)
                    failures += [f"traceback {fault[:200]}: {where}" for fault in shown.faults]
                    failures += [f"markup {html[:200]}: {where}" for html in hostile_html(shown)]
                    if shown.seconds > options.limit_s:
                        failures.append(f"{shown.seconds:.1f} s: {where}")
            peak = max(peak, resident_bytes(pid))
    for failure in failures:
        print(failure)
    kinds = Counter(failure.split()[0] for failure in failures)
    print(f"{sum(pages.values())} states from {options.first} on: {dict(pages)}")
    print(
        f"{kinds['traceback']} tracebacks, {kinds['markup']} pieces of markup, "
        f"{sum(kinds.values()) - kinds['traceback'] - kinds['markup']} over {options.limit_s:g} s; "
        f"median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s, "
        f"memory {peak / 2**20:,.0f} MiB"
    )
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
