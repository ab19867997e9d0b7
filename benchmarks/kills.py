"""Commands that are killed at random times: nothing is lost, no half run shows, nothing stays.

    uv run python benchmarks/kills.py --kills 1000
    uv run python benchmarks/kills.py --kills 1 --first 4711        # one trial again

A trial is one command (capture, import-activations, measure, compare, project, pack) on a copy of
one tiny store: SIGKILL comes at a random part of the time that the command takes when it is left
alone. Then every run that was there must be there bit by bit, nothing may be broken, and the
command is given again. Afterwards ``verify`` finds nothing, no temporary file, lock or partial
directory is left, and the store is as that of a command that was left alone. Printed are the trials
in which that did not hold, and the counts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.hostile_stores import make_tiny
from tests.tiny import tiny_checkpoint

RUNS = ("late-seed0", "none-seed0")


def main() -> None:
    """Read the options, kill, print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="The first seed.")
    parser.add_argument("--only", default="", help="One of the commands.")
    asked = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        trials = {
            name: Trial(name, place, words)
            for name, words in commands(place).items()
            if asked.only in ("", name)
        }
        with contextlib.suppress(KeyboardInterrupt):  # the counts so far are printed
            for seed in range(asked.first, asked.first + asked.kills):
                trial = list(trials.values())[seed % len(trials)]
                faults = trial.run(seed)
                counts[f"{trial.name} {'lost something' if faults else 'well'}"] += 1
                counts["finished before the kill"] += trial.finished
                for fault in faults:
                    print(f"seed {seed}: {trial.name}: {fault}", flush=True)
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    sys.exit(any(name.endswith("lost something") for name in counts))


def commands(place: Path) -> dict[str, Callable[[Path], list[str]]]:
    """{name: the words of the command on a store}, with the files that they need."""
    make_tiny(place / "tiny")
    checkpoint = tiny_checkpoint(place / "model")
    rng = np.random.default_rng(0)
    arrays = {f"vision.{k}": rng.standard_normal((400, 64), dtype=np.float32) for k in range(6)}
    np.savez(place / "made.npz", **arrays)  # type: ignore[arg-type]
    out = ("--store",)
    return {
        "capture": lambda store: [
            *("capture", "--model", str(checkpoint), "--data", "macros:n=48,dev=24,test=24"),
            *("--device", "cpu", *out, str(store)),
        ],
        "import": lambda store: [
            *("import-activations", str(place / "made.npz"), "--pattern", "{stream}.{layer}"),
            *("--pooling", "mean", "--run-id", "made", *out, str(store)),
        ],
        "measure": lambda store: ["measure", "--run", RUNS[0], *out, str(store)],
        "compare": lambda store: ["compare", *RUNS, *out, str(store)],
        "project": lambda store: [
            *("project", "--method", "pca", "--run", RUNS[0], *out, str(store)),
        ],
        "pack": lambda store: ["pack", str(store), str(store.parent / "out.duckdb")],
    }


class Trial:
    """One command; what it makes when it is left alone, and how long that takes."""

    def __init__(self, name: str, place: Path, words: Callable[[Path], list[str]]) -> None:
        self.name, self._words, self._place = name, words, place
        self.finished = False
        whole = self._fresh("whole")
        began = time.monotonic()
        if code := _wait(_start(words(whole))):
            raise SystemExit(f"{name} ends with {code} when it is left alone")
        self._seconds = time.monotonic() - began
        self._made = _files(whole.parent)
        self._before = _files(place / "tiny")

    def run(self, seed: int) -> list[str]:
        """Kill, give the command again, and say what does not hold."""
        from backend.store import Store, verify

        rng = random.Random(seed)
        store = self._fresh("trial")
        child = _start(self._words(store))
        time.sleep(rng.uniform(0, self._seconds))
        os.killpg(child, signal.SIGKILL) if rng.random() < 0.5 else os.kill(child, signal.SIGKILL)
        self.finished = _wait(child) == 0
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # workers, which end by themselves after a moment
        faults = []
        now = _files(store)
        lost = [name for name, content in self._before.items() if now.get(name) != content]
        if lost:
            faults.append(f"{lost[0]} is not what it was")
        listing = Store(store).listing()
        faults += [f"broken: {one.run_id}: {one.reason}" for one in listing.broken]
        faults += [
            f"after the kill: {one}" for one in verify(Store(store)) if one.kind == "problem"
        ]
        code = _wait(_start(self._words(store)))
        if code and not (self.name in ("capture", "import", "pack") and code == 2):
            faults.append(f"given again it ends with {code}")
        faults += [f"after it was given again: {one}" for one in verify(Store(store))]
        made = _files(store.parent)
        faults += [f"left over: {name}" for name in sorted(made) if _is_left(name)]
        if made.keys() != self._made.keys():
            faults.append(f"other files: {sorted(made.keys() ^ self._made.keys())[:3]}")
        return faults

    def _fresh(self, name: str) -> Path:
        folder = self._place / f"{self.name}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(self._place / "tiny", folder / "store"))


def _start(words: list[str]) -> int:
    """The command in a process group of its own, forked from this one."""
    child = os.fork()
    if child:
        with contextlib.suppress(PermissionError):
            os.setpgid(child, child)
        return child
    os.setpgid(0, 0)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    code = 1
    try:
        from backend.cli import main as command

        sys.argv = ["fusionscope", *words]
        command()
        code = 0
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 0
    finally:
        os._exit(code)


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _files(root: Path) -> dict[str, bytes]:
    """Every file and its bytes; run.json and packed files, which hold times, by name only."""
    timed = ("run.json", ".duckdb")
    return {
        str(path.relative_to(root)): b"" if path.name.endswith(timed) else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _is_left(name: str) -> bool:
    return any(part.startswith((".tmp-", ".partial-", ".deleted-")) for part in Path(name).parts)


if __name__ == "__main__":
    main()
