"""Many visitors at once on the pages that are looked at: ``python benchmarks/visits.py``.

    uv run python benchmarks/visits.py --sessions 30 --rounds 2 [--beside DIR]

Each session opens the pages in an order of its own, one after the other, as fast as the server
answers; no browser takes part, so all that is timed is the server. First every page is opened
alone, twice (cold and warm). With ``--beside`` the same is done to the checkout in that directory,
in turn with this one, so that a ratio of the two is one of the same minutes of the same machine.

Printed are the errors, the median and the 95 % of a page's seconds under load, the warm median
alone, the server's processor seconds a page and its highest memory. 1 is returned for an error: a
traceback on a page, a page that is not over in ``--limit-s``, or anything of either in the log.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from watching import ROOT, cpu_s, resident_bytes, serving

from tests.visitor import Visitor

PAGES = (
    *("", "transitions", "alignment", "dimensionality", "projection", "probes", "training"),
    *("compare", "study"),
)
QUERIES = ("", "pooling=mean", "measure=cknna", "runs=none,late", "estimator=biased")


@dataclass
class Seen:
    """What all sessions saw of one server."""

    cold: dict[str, float] = field(default_factory=dict)
    warm: dict[str, float] = field(default_factory=dict)
    loaded: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    cpu_s: float = 0.0
    peak: int = 0

    def told(self, name: str) -> str:
        """In one line."""
        ordered = sorted(self.loaded)
        parts = (
            f"{name}: {len(self.errors)} errors in {len(ordered)} pages",
            f"median {statistics.median(ordered):.2f} s",
            f"95 % within {ordered[len(ordered) * 95 // 100]:.2f} s",
            f"alone warm {statistics.median(self.warm.values()):.3f} s",
            f"cold {statistics.median(self.cold.values()):.3f} s",
            f"{self.cpu_s / len(ordered):.3f} processor seconds a page",
            f"{self.peak / 2**20:,.0f} MiB",
        )
        return ", ".join(parts)


def session(address: str, number: int, rounds: int, limit_s: float, seen: Seen) -> None:
    """One visitor."""
    rng = random.Random(number)
    try:
        with Visitor(address) as visitor:
            for _ in range(rounds):
                for page in rng.sample(PAGES, len(PAGES)):
                    shown = visitor.visit(page, rng.choice(QUERIES), timeout_s=limit_s)
                    seen.loaded.append(shown.seconds)
                    seen.errors += [f"{page}: {fault}" for fault in shown.faults]
    except Exception as error:  # counted; the others go on
        seen.errors.append(f"visitor {number}: {type(error).__name__}: {error}")


def visited(options: argparse.Namespace, root: Path) -> Seen:
    """All sessions on a server of the checkout ``root``."""
    seen = Seen()
    store = (options.store or root / "cache" / "demo").resolve()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serving(store, log, root) as (address, pid):
            for times in (seen.cold, seen.warm):
                with Visitor(address) as visitor:
                    for page in PAGES:
                        times[page] = visitor.visit(page, timeout_s=600).seconds
            before = cpu_s(pid)
            visitors = [
                threading.Thread(
                    target=session, args=(address, at, options.rounds, options.limit_s, seen)
                )
                for at in range(options.sessions)
            ]
            for each in visitors:
                each.start()
            while any(each.is_alive() for each in visitors):
                seen.peak = max(seen.peak, resident_bytes(pid))
                visitors[0].join(0.5)
                for each in visitors:
                    each.join(0.01)
            seen.cpu_s = cpu_s(pid) - before
        if "Traceback" in log.read_text():
            seen.errors.append(f"in the log: {log.read_text()[-500:]}")
    return seen


def main() -> int:
    """Print both; 1 for an error here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--store", type=Path, help="Each checkout's own demo is the default.")
    parser.add_argument("--limit-s", type=float, default=300.0)
    parser.add_argument("--beside", type=Path, help="Another checkout, measured before this one.")
    options = parser.parse_args()
    before = visited(options, options.beside.resolve()) if options.beside else None
    here = visited(options, ROOT)
    if before:
        print(before.told(str(options.beside)))
    print(here.told("here"))
    for error in here.errors:
        print(error)
    if before:
        ratio = statistics.median(here.loaded) / statistics.median(before.loaded)
        print(f"a page under load takes {ratio:.2f} of what it took")
        for page in PAGES:
            print(
                f"{page or 'runs':16} alone {here.warm[page]:.3f} s, was {before.warm[page]:.3f} s"
            )
    return int(bool(here.errors))


if __name__ == "__main__":
    sys.exit(main())
