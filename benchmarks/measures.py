"""Our measures beside other libraries': time, memory, error, and what the numbers are worth.

    uv run python benchmarks/measures.py            # all sizes
    uv run python benchmarks/measures.py --quick    # the smallest sizes
    uv run python benchmarks/measures.py --target --only pytorch-cka    # the targets alone
    uv run python benchmarks/measures.py --only pytorch-cka --json

The other libraries are installed, pinned, into an environment of their own in the user's cache
folder; nothing of ours changes. Every call runs in a process of its own (benchmarks/peers.py) on
the same array file; the processes of one size take turns, and times are medians over the rounds. A
library that cannot be installed, fails or goes over a limit gets a row that says so. On a busy
machine trust the seconds that the cores worked more than those of the clock. The floor is
the time of a plain float32 matrix product for the multiply-adds that all pairs of layers need,
½Ln²d + ½L²n², taken in the same rounds; of numpy's and torch's the faster one counts.

1 is returned if one of the TARGETS is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import CALLS, PRODUCTS

ROOT = Path(__file__).resolve().parent.parent
RUNNER = Path(__file__).resolve().parent / "peers.py"

COMMON = ("numpy==2.4.6", "torch==2.15.0", "tqdm==4.70.1", "matplotlib==3.11.2")
PEERS = {
    "pytorch-cka": "pytorch-cka==1.1.3",
    "torch-cka": "torch-cka==0.21",
    "repsim": "repsim==0.1.5",
    "ckatorch": "ckatorch==1.0.3",
    "rsatoolbox": "rsatoolbox==0.3.2",
    "scikit-dimension": "scikit-dimension==0.5.0",
}
US = "fusionscope"

Shape = tuple[int, int, int]  # layers, samples, dimensions
SIZES: tuple[Shape, ...] = ((13, 500, 768), (26, 1000, 768), (26, 2000, 768), (24, 4000, 256))
TARGET_SIZE: Shape = (26, 2000, 768)
RIVAL = "pytorch-cka"  # the call for features, of the fastest public library
FASTER, OVER_FLOOR, ERROR = 3.0, 2.0, 1e-6

TIMED = (US, RIVAL, "pytorch-cka, model", "torch-cka", "repsim, gretton", "repsim, song")
TIMED += ("ckatorch", "rsatoolbox")
COMPARED = (US, "fusionscope, biased", *TIMED[1:])
BATCHED = tuple(name for name, call in CALLS.items() if call.batches)
ON_CHANCE = (*COMPARED, "ckatorch, biased")
OF_DIMENSION = tuple(n for n, c in CALLS.items() if c.estimator not in ("biased", "debiased"))

OFFSETS, SCALES = (0, 50, 200, 1000), (1.0, 1e-3, 1e-5)
CHANCE: Shape = (8, 64, 768)
SIMILAR = 0.5  # from here on a bare number is read as "these layers are similar"
ABOVE_CHANCE = 1.645  # z: one-sided 5 %


# ---- environments and processes


@dataclass(frozen=True)
class Environments:
    """The two interpreters, and why a peer is not installed."""

    peers: Path
    missing: dict[str, str]

    def python(self, tool: str) -> str:
        """The interpreter for a tool's calls."""
        return str(self.peers) if tool in PEERS or tool == "torch" else sys.executable


def cache_folder() -> Path:
    """The user's cache folder."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given)
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def build(wanted: Sequence[str]) -> Environments:
    """The peers' environment; what is already there stays."""
    uv = shutil.which("uv")
    if uv is None:
        sys.exit("uv is not on the path; it builds the environment of the other libraries")
    key = hashlib.sha256("\n".join((*COMMON, sys.version)).encode()).hexdigest()[:8]
    folder = cache_folder() / "fusionscope" / "benchmarks" / f"peers-{key}"
    python = folder / "bin" / "python"
    ready = folder / "common-installed"
    install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    if not ready.exists():
        say(f"building {folder}")
        quietly([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        if problem := quietly([*install, *COMMON]):
            return Environments(python, dict.fromkeys(wanted, f"not installed: {problem}"))
        ready.touch()
    missing = {}
    for peer in wanted:
        # With COMMON, so that no peer changes what the others were installed with.
        if problem := quietly([*install, *COMMON, PEERS[peer]]):
            missing[peer] = f"not installed: {problem}"
    return Environments(python, missing)


def quietly(command: list[str]) -> str:
    """Run it; empty, or the line of its error output that says most."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.returncode:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), (lines or ["failed"])[-1])


class NoAnswerError(Exception):
    """A call gave no matrix: the message is what the tables say."""


class Process:
    """One call in one interpreter, waiting for requests."""

    def __init__(self, name: str, where: Environments, limit_s: float, memory_gib: float) -> None:
        tool = CALLS[name].tool if name in CALLS else name
        if tool in where.missing:
            raise NoAnswerError(where.missing[tool])
        self.limit_s, self.memory_gib = limit_s, memory_gib
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        ours = {} if tool in PEERS else {"PYTHONPATH": str(ROOT)}
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        self._running = subprocess.Popen(
            [where.python(tool), "-P", str(RUNNER), name, "--memory-gib", str(memory_gib)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**kept, **ours, "MPLBACKEND": "Agg"},
            cwd=tempfile.gettempdir(),
        )

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and wait; NoAnswerError when there is no answer to it."""
        assert self._running.stdin and self._running.stdout
        if self._running.stdin.closed:
            raise NoAnswerError("ended before")
        try:
            self._running.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._running.stdin.flush()
        except BrokenPipeError:
            raise NoAnswerError(self._last_words()) from None
        if not select.select([self._running.stdout], [], [], self.limit_s)[0]:
            self.close()
            raise NoAnswerError(f"over {self.limit_s:.0f} s")
        line = self._running.stdout.readline()
        if not line:
            raise NoAnswerError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if problem := answer.get("error"):
            if "MemoryError" in problem or "allocate" in problem:
                problem = f"over {self.memory_gib:g} GiB"
            raise NoAnswerError(problem)
        return answer

    def close(self) -> None:
        """End the process."""
        self._running.kill()
        self._running.communicate()
        self._errors.close()

    def _last_words(self) -> str:
        code = self._running.wait()
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        return f"ended with {code}" + (f": {lines[-1]}" if lines else "")


@dataclass(frozen=True)
class Bench:
    """What every part of the benchmark needs."""

    where: Environments
    folder: Path
    data: Process
    limit_s: float
    memory_gib: float
    tools: frozenset[str]

    def start(self, name: str) -> Process:
        """A process for a call (or a product)."""
        limit_s = self.limit_s if name in CALLS else 600.0
        return Process(name, self.where, limit_s, self.memory_gib)

    def wanted(self, names: Iterable[str]) -> list[str]:
        """Those of the chosen tools."""
        return [name for name in names if CALLS[name].tool in self.tools]

    def make(self, shape: Shape, seed: int, **how: Any) -> str:
        """An array file."""
        path = str(self.folder / f"arrays-{seed}.npy")
        self.data.ask("make", path=path, shape=shape, seed=seed, **how)
        return path


# ---- the parts


@dataclass
class Timed:
    """One row of a table of times."""

    name: str
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    mib: float = float("nan")
    error: float = float("nan")
    problem: str = ""

    @property
    def median(self) -> float:
        """Median seconds; NaN if it never finished."""
        return statistics.median(self.seconds) if self.seconds else float("nan")

    @property
    def cpu(self) -> float:
        """Median seconds of all cores together: what a busy machine distorts less."""
        return statistics.median(self.cpu_s) if self.cpu_s else float("nan")


def multiply_adds(shape: Shape) -> float:
    """Of all pairs of layers: ½Ln²d + ½L²n²."""
    size, n, d = shape
    return 0.5 * n * n * (size * d + size * size)


def time_size(
    bench: Bench, shape: Shape, rounds: int, too_slow: dict[str, str]
) -> tuple[list[Timed], dict[str, Timed]]:
    """Rows of one size, and those of the floor by library."""
    path = bench.make(shape, 0, related=True)
    expected = bench.data.ask("truth", path=path)
    rows = {name: Timed(name) for name in bench.wanted(TIMED)}
    products = {name: Timed(name) for name in PRODUCTS}
    running: dict[str, Process] = {}
    try:
        for name in (*products, *rows):
            if name in rows and name in too_slow:
                rows[name].problem = f"not run: {too_slow[name]}"
                continue
            try:
                running[name] = bench.start(name)
                running[name].ask("load", path=path)
            except NoAnswerError as failure:
                running.pop(name, None)
                (rows | products)[name].problem = str(failure)
        for turn in range(rounds):
            for name in sorted(running, reverse=bool(turn % 2)):
                row = (rows | products)[name]
                if row.problem or (row.seconds and row.seconds[0] > bench.limit_s / 4):
                    continue  # one long round is enough
                try:
                    if name in products:
                        answer = running[name].ask("product", multiply_adds=multiply_adds(shape))
                    else:
                        answer = running[name].ask("run")
                except NoAnswerError as failure:
                    row.problem = str(failure)
                    if row.problem.startswith("over"):
                        too_slow[name] = f"{failure} at {shape}"
                    continue
                if name in rows and not row.seconds:
                    row.mib = answer["mib"]
                    row.error = largest_gap(answer["values"], expected[CALLS[name].estimator])
                row.seconds.append(answer["seconds"])
                row.cpu_s.append(answer["cpu_s"])
    finally:
        for process in running.values():
            process.close()
    return list(rows.values()), products


def largest_gap(values: list[list[float]], expected: list[list[float]]) -> float:
    """Largest absolute difference of two matrices; NaN if one of the values is."""
    rows = zip(values, expected, strict=True)
    gaps = [abs(a - b) for x, y in rows for a, b in zip(x, y, strict=True)]
    return float("nan") if any(gap != gap for gap in gaps) else max(gaps)


def errors(bench: Bench, shape: Shape) -> dict[str, dict[str, float | str]]:
    """By case and call: the largest error of the matrix, or what went wrong."""
    cases: dict[str, dict[str, Any]] = {
        f"offset {offset}, scale {scale:g}": {"offset": offset, "scale": scale}
        for scale in SCALES
        for offset in OFFSETS
    }
    cases["one massive coordinate"] = {"massive": True}
    found: dict[str, dict[str, float | str]] = {}
    paths = {
        case: bench.make(shape, index, related=True, **how)
        for index, (case, how) in enumerate(cases.items(), start=100)
    }
    expected = {case: bench.data.ask("truth", path=path) for case, path in paths.items()}
    for name in bench.wanted(COMPARED):
        given = answers(bench, name, [(path, {}) for path in paths.values()])
        for case, answer in zip(paths, given, strict=True):
            cells = found.setdefault(case, {})
            if isinstance(answer, str):
                cells[name] = answer
            else:
                true = expected[case][CALLS[name].estimator]
                cells[name] = largest_gap(answer["values"], true)
    return found


def answers(
    bench: Bench, name: str, questions: Sequence[tuple[str, dict[str, Any]]]
) -> Iterable[dict[str, Any] | str]:
    """A call's answers, or its failures in words, one for each (array file, options)."""
    process: Process | None = None
    ended = loaded = ""
    try:
        for path, options in questions:
            if ended:
                yield ended
                continue
            try:
                process = process or bench.start(name)
                if path != loaded:
                    process.ask("load", path=path)
                    loaded = path
                yield process.ask("run", **options)
            except NoAnswerError as failure:
                if str(failure).startswith(("over", "ended", "not installed")):
                    ended = str(failure)
                yield str(failure)
    finally:
        if process:
            process.close()


def batches(bench: Bench, shape: Shape) -> dict[str, dict[str, float | str]]:
    """By call: the value of the first two layers at each batch size, and the true one."""
    path = bench.make(shape, 200, related=True)
    true = bench.data.ask("truth", path=path)["debiased"][0][1]
    sizes = (32, 128, shape[1])
    found: dict[str, dict[str, float | str]] = {
        "float64, all data": {f"b = {size}": true for size in sizes}
    }
    for name in bench.wanted(BATCHED):
        given = answers(bench, name, [(path, {"batch": size}) for size in sizes])
        found[name] = {
            f"b = {size}": answer if isinstance(answer, str) else answer["values"][0][1]
            for size, answer in zip(sizes, given, strict=True)
        }
    return found


def chance(bench: Bench, seeds: int) -> dict[str, dict[str, float | str]]:
    """By call, on independent layers: the mean number, and how often it says similar."""
    paths = [bench.make(CHANCE, 300 + seed) for seed in range(seeds)]
    found: dict[str, dict[str, float | str]] = {}
    for name in bench.wanted(ON_CHANCE):
        cells: list[float] = []
        scores: list[float] = []
        for answer in answers(bench, name, [(path, {}) for path in paths]):
            if isinstance(answer, str):
                found[name] = {"mean": answer}
                break
            cells += upper(answer["values"])
            scores += upper(answer["z"] or [])
        else:
            found[name] = {
                "mean": statistics.mean(cells),
                "similar": share(value >= SIMILAR for value in cells),
                "above chance": share(z > ABOVE_CHANCE for z in scores) if scores else "no null",
            }
    return found


def upper(matrix: list[list[float]]) -> list[float]:
    """The cells of different layers, once each."""
    return [value for i, row in enumerate(matrix) for value in row[i + 1 :]]


def share(hits: Iterable[bool]) -> float:
    """Of all, how many."""
    return statistics.mean(float(hit) for hit in hits)


def dimensions(bench: Bench, shape: Shape, rounds: int) -> dict[str, dict[str, float | str]]:
    """By call: the dimension of one layer and the median seconds."""
    path = bench.make((1, *shape[1:]), 400, related=True)
    found: dict[str, dict[str, float | str]] = {}
    for name in bench.wanted(OF_DIMENSION):
        many = list(answers(bench, name, [(path, {})] * rounds))
        good = [answer for answer in many if not isinstance(answer, str)]
        if good:
            seconds = statistics.median(answer["seconds"] for answer in good)
            found[name] = {"value": good[0]["values"][0][0], "seconds": seconds}
        else:
            found[name] = {"value": str(many[0])}
    return found


# ---- what they add up to


def floor(products: dict[str, Timed]) -> tuple[float, float]:
    """Seconds of the faster library's product, of the clock and of the cores."""
    done = [row for row in products.values() if row.seconds]
    nothing = float("nan")
    return (
        min((row.median for row in done), default=nothing),
        min((row.cpu for row in done), default=nothing),
    )


def targets(rows: list[Timed], products: dict[str, Timed]) -> dict[str, tuple[str, bool]]:
    """By target: the numbers, and whether it holds; those without numbers are left out."""
    by_name = {row.name: row for row in rows}
    us, rival = by_name[US], by_name.get(RIVAL)
    found = {}
    if rival and rival.seconds:
        ratio = rival.median / us.median
        numbers = f"{ratio:.1f} x (of core seconds {rival.cpu / us.cpu:.1f} x)"
        found[f"at least {FASTER:g} x as fast as {RIVAL}"] = (numbers, ratio >= FASTER)
        numbers = f"{us.mib:.0f} MiB, {RIVAL} {rival.mib:.0f} MiB"
        found[f"less peak memory than {RIVAL}"] = (numbers, us.mib < rival.mib)
    clock, cores = floor(products)
    over = us.median / clock
    numbers = f"{over:.2f} x (of core seconds {us.cpu / cores:.2f} x)"
    found[f"within {OVER_FLOOR:g} x of the matrix product"] = (numbers, over <= OVER_FLOOR)
    found[f"error at most {ERROR:g}"] = (f"{us.error:.1e}", us.error <= ERROR)
    return found


# ---- printing


def say(text: str = "") -> None:
    """Progress, apart from the tables."""
    print(text, file=sys.stderr, flush=True)


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Left column left, the others right."""
    lines = [list(head), *(list(row) for row in rows)]
    columns = max(len(line) for line in lines)
    widths = [
        max(len(line[i]) for line in lines if i < len(line) and len(line) == columns)
        for i in range(columns)
    ]
    widths[0] = max(len(line[0]) for line in lines)
    print(f"\n{title}")
    for line in lines:
        first = line[0].ljust(widths[0])
        rest = "".join(f"  {cell:>{w}}" for cell, w in zip(line[1:], widths[1:], strict=False))
        if len(line) == 2:  # a row that only says why
            rest = f"  {line[-1]}"
        print((first + rest).rstrip(), flush=True)


def number(value: float | str, form: str) -> str:
    """A formatted number; words stay as they are."""
    return value if isinstance(value, str) else format(value, form)


def print_times(shape: Shape, rows: list[Timed], products: dict[str, Timed]) -> None:
    """The table of one size."""
    least, us = floor(products)[0], next(row for row in rows if row.name == US)
    lines: list[list[str]] = []
    for row in (*products.values(), *rows):
        name = f"floor ({row.name} product)" if row.name in products else row.name
        if not row.seconds:
            lines.append([name, row.problem])
            continue
        cells = [f"{row.median:.3f}", f"{row.cpu:.3f}", f"{row.median / least:.2f}"]
        cells.append(f"{row.median / us.median:.2f}")
        known = row.name in CALLS
        cells += [f"{row.mib:.0f}", f"{row.error:.0e}"] if known else ["", ""]
        cells.append(f"{len(row.seconds)}{row.problem and ', then ' + row.problem}")
        lines.append([name, *cells])
    size, n, d = shape
    head = ["", "seconds", "core s", "/ floor", "/ ours", "peak MiB", "error", "rounds"]
    table(f"All pairs of {size} layers, n = {n}, d = {d}", head, lines)


def print_errors(shape: Shape, found: dict[str, dict[str, float | str]]) -> None:
    """Cases down, calls across; sentences below."""
    names = list(next(iter(found.values())))
    notes: dict[str, str] = {}

    def cell(value: float | str) -> str:
        if not isinstance(value, str):
            return f"{value:.0e}"
        return notes.setdefault(value, f"[{len(notes) + 1}]")

    lines = [[case, *(cell(row[name]) for name in names)] for case, row in found.items()]
    size, n, d = shape
    title = "Largest error against float64 on the same float32 array: (values + offset) x scale"
    table(f"{title}\n{size} layers, n = {n}, d = {d}", ["", *names], lines)
    for text, mark in notes.items():
        print(f"{mark} {text}")


def print_batches(shape: Shape, found: dict[str, dict[str, float | str]]) -> None:
    """Values by batch size."""
    sizes = list(next(iter(found.values())))
    lines = [
        reason_or(row[sizes[0]], name, *(number(row[b], ".6f") for b in sizes))
        for name, row in found.items()
    ]
    title = f"Debiased CKA of two layers by batch size, n = {shape[1]}, d = {shape[2]}"
    table(title, ["", *sizes], lines)


def print_chance(seeds: int, found: dict[str, dict[str, float | str]]) -> None:
    """How often independent layers are called similar."""
    size, n, d = CHANCE
    lines = [
        reason_or(
            row["mean"],
            name,
            number(row["mean"], ".3f"),
            number(row.get("similar", ""), ".1%"),
            number(row.get("above chance", ""), ".1%"),
        )
        for name, row in found.items()
    ]
    cells = seeds * size * (size - 1) // 2
    table(
        f"Independent data, n = {n}, d = {d}, {cells} pairs: how many are called similar\n"
        f"by the bare number (>= {SIMILAR:g}), and by the tool's own test (z > {ABOVE_CHANCE:g})",
        ["", "mean CKA", "by number", "by test"],
        lines,
    )


def print_dimensions(shape: Shape, found: dict[str, dict[str, float | str]]) -> None:
    """Values and times."""
    lines = [
        reason_or(
            row["value"],
            name,
            number(row["value"], ".4f"),
            number(row.get("seconds", ""), ".3f"),
        )
        for name, row in found.items()
    ]
    title = f"Dimension of one layer, n = {shape[1]}, d = {shape[2]}"
    table(title, ["", "value", "seconds"], lines)


def reason_or(value: float | str, name: str, *cells: str) -> list[str]:
    """A row of cells, or the reason why there are none."""
    return [name, value] if isinstance(value, str) else [name, *cells]


def main() -> int:
    """Run all parts, each printed as it is done; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest sizes only")
    parser.add_argument("--only", choices=PEERS, action="append", help="this peer; may be repeated")
    parser.add_argument("--target", action="store_true", help="times of the targets' size only")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds a call may take")
    parser.add_argument("--memory-gib", type=float, default=8.0, help="memory a call may take")
    parser.add_argument("--json", action="store_true", help="tables go to standard error")
    options = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
        found, met = run(options)
    if options.json:
        print(json.dumps(found))
    return int(not met)


def run(options: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """All parts: what was found, and whether no target was missed."""
    peers = list(dict.fromkeys(options.only or PEERS))
    where = build(peers)
    sizes = SIZES[:1] if options.quick else SIZES
    sizes = (TARGET_SIZE,) if options.target else sizes
    error_shape: Shape = (2, 300, 512) if options.quick else (2, 1000, 4096)
    batch_shape: Shape = (2, 1024, 256)
    dimension_shape: Shape = (1, 500, 768) if options.quick else (1, 2000, 768)
    seeds = 3 if options.quick else 10
    found: dict[str, Any] = {"versions": [*(PEERS[peer] for peer in peers), *COMMON]}
    data = Process("data", where, 600.0, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            where, Path(folder), data, options.limit, options.memory_gib, frozenset((US, *peers))
        )
        found["our numpy"] = data.ask("blas")["blas"]
        found["load"] = [os.getloadavg()[0]]
        found["calls"] = {name: CALLS[name].says for name in bench.wanted(CALLS)}
        print(f"{os.cpu_count()} cores, load {found['load'][0]:.1f}; {found['our numpy']}")
        print(", ".join(found["versions"]) + "\n")
        for name, says in found["calls"].items():
            print(f"{name:32}  {says}")
        found["times"], judged = [], {}
        too_slow: dict[str, str] = {}
        for shape in sizes:
            rows, products = time_size(bench, shape, options.rounds, too_slow)
            print_times(shape, rows, products)
            as_dicts = [vars(row) for row in (*products.values(), *rows)]
            found["times"].append({"shape": shape, "rows": as_dicts})
            if shape == TARGET_SIZE:
                judged = targets(rows, products)
        if options.target:
            data.close()
            return report(found, judged)
        print_errors(error_shape, by_case := errors(bench, error_shape))
        print_batches(batch_shape, by_batch := batches(bench, batch_shape))
        print_chance(seeds, on_chance := chance(bench, seeds))
        of_dimension = dimensions(bench, dimension_shape, options.rounds)
        print_dimensions(dimension_shape, of_dimension)
    data.close()
    found |= {"errors": by_case, "batches": by_batch, "chance": on_chance}
    found["dimension"] = of_dimension
    return report(found, judged)


def report(
    found: dict[str, Any], judged: dict[str, tuple[str, bool]]
) -> tuple[dict[str, Any], bool]:
    """The last lines: the load, and which targets hold."""
    found["load"].append(os.getloadavg()[0])
    print(f"\nLoad at the end {found['load'][1]:.1f}")
    print(f"Targets at {TARGET_SIZE}" + ("" if judged else ": not measured"))
    for name, (numbers, holds) in judged.items():
        print(f"{'holds ' if holds else 'MISSED'}  {name}: {numbers}")
    return found | {"targets": judged}, all(holds for _, holds in judged.values())


if __name__ == "__main__":
    raise SystemExit(main())
