"""What the tests of measures and study do not notice: small faults in the code, one at a time.

    uv run --with mutmut python benchmarks/mutants.py --sample 300
    uv run --with mutmut python benchmarks/mutants.py --sample 50 --only 'backend/study/*' --seed 1

mutmut makes the faults (a sign, a comparison, a number, an argument left out) and knows which tests
run a function; a random sample of them is tried in a copy of the checkout (``mutant_trials.py``),
since all would take a day. With ``--work`` the copy is kept: the same command goes on where it was
ended, and another ``--seed`` or a larger ``--sample`` tries more. Left out are faults that change
words alone. A fault that no test could notice, since the program does the same, is none: those that
were looked at are in ``mutants.toml``, each with why.
Printed are what lived, as a diff, and the share that was killed; 1 is returned below ``--least``.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KNOWN = Path(__file__).with_suffix(".toml")
PLACES = ("backend/measures/*", "backend/study/*")
TESTS = ("tests/measures", "tests/study")
SURVIVED = 0
"""What pytest returns where no test noticed; any other end is a death, a timeout too."""


@dataclass(frozen=True)
class Mutant:
    """One fault: mutmut's name for it, the module, and the function before and after."""

    name: str
    module: str
    before: str
    after: str

    @property
    def change(self) -> tuple[list[str], list[str]]:
        """(lines that went, lines that came), without what is around them."""
        # The name of the function says which mutant it is.
        before, after = (
            [line for line in source.splitlines() if "__mutmut_" not in line]
            for source in (self.before, self.after)
        )
        lines = list(difflib.ndiff(before, after))
        return (
            [line[2:].strip() for line in lines if line.startswith("- ")],
            [line[2:].strip() for line in lines if line.startswith("+ ")],
        )

    @property
    def of_words(self) -> bool:
        """Whether nothing but the text of strings differs."""
        return _without_words(self.before) == _without_words(self.after)


def _without_words(source: str) -> str:
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.name = ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def copied(work: Path, only: Sequence[str]) -> None:
    """Everything that is tracked or new, and the settings of mutmut."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, work / name)
    beside = ("fusionscope", "dashboard", "cache", "docs", "README.md")
    settings = {
        "source_paths": ["backend"],
        "only_mutate": list(only),
        "also_copy": list(beside),
        "pytest_add_cli_args": ["-n", "0"],
        "pytest_add_cli_args_test_selection": list(TESTS),
    }
    with (work / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("\n[tool.mutmut]\n")
        file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


def mutmut(work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run mutmut in the copy."""
    return subprocess.run(
        [sys.executable, "-m", "mutmut", *words], cwd=work, capture_output=True, text=True
    )


def mutants(work: Path) -> Iterator[Mutant]:
    """All that were made."""
    for meta in sorted((work / "mutants").rglob("*.py.meta")):
        path = meta.with_suffix("")
        names = json.loads(meta.read_text())["exit_code_by_key"]
        if not names:
            continue
        source = path.read_text(encoding="utf-8")
        lines = source.splitlines()
        sources = {
            node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno])
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef)
        }
        module = ".".join(path.relative_to(work / "mutants").with_suffix("").parts)
        for name in names:
            short = name.removeprefix(f"{module}.")
            original = f"{short.rpartition('__mutmut_')[0]}__mutmut_orig"
            if short in sources and original in sources:
                yield Mutant(name, module, sources[original], sources[short])


def tried(work: Path, names: Sequence[str], workers: int) -> dict[str, int]:
    """{name: how its tests ended}; what was tried before is not tried again."""
    ends, plan = (work / f"trials.{end}" for end in ("ends", "plan"))
    before = _read(ends)
    stats = json.loads((work / "mutants" / "mutmut-stats.json").read_text(encoding="utf-8"))
    runs, lasts = stats["tests_by_mangled_function_name"], stats["duration_by_test"]
    # A fault in what no test runs lives: it is tried on nothing.
    todo = {
        name: sorted(runs.get(name.rpartition("__mutmut_")[0], ()), key=lasts.__getitem__)
        for name in names
        if name not in before
    }
    if todo:
        plan.write_text(json.dumps(todo), encoding="utf-8")
        script = Path(__file__).with_name("mutant_trials.py")
        subprocess.run(
            [sys.executable, script, plan, ends, str(workers)],
            cwd=work / "mutants", stdout=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    return {name: end for name, end in _read(ends).items() if name in set(names)}


def _read(ends: Path) -> dict[str, int]:
    lines = ends.read_text(encoding="utf-8").splitlines() if ends.is_file() else []
    return dict(map(json.loads, lines))


def is_known(mutant: Mutant, known: Sequence[dict[str, str]]) -> bool:
    """Whether it has been looked at and found to change nothing."""
    gone, come = mutant.change
    return any(
        one["module"] == mutant.module and one["from"] in gone and one["to"] in come
        for one in known
    )


def main() -> int:
    """Try a sample and say what lived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="files to put faults into, as a glob")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", help="a folder to work in, empty at first, which is kept")
    parser.add_argument("--least", type=float, default=0.95)
    given = parser.parse_args()
    known = tomllib.loads(KNOWN.read_text(encoding="utf-8"))["same"]
    with tempfile.TemporaryDirectory() as made:
        work = Path(given.work or made)
        if not (work / "mutants").exists():
            copied(work, given.only or PLACES)
            # Of no fault: it makes all of them, and finds out which tests run which function.
            found = mutmut(work, "run", "none")
            if not (work / "mutants" / "mutmut-stats.json").is_file():
                print(found.stdout[-2000:], found.stderr[-2000:])
                return 1
        every = sorted(mutants(work), key=lambda one: one.name)
        random.Random(given.seed).shuffle(every)
        sample = [*islice((one for one in every if not one.of_words), given.sample)]
        ends = tried(work, [one.name for one in sample], given.workers)
        ran = [one for one in sample if one.name in ends]
        if not ran:
            print("no fault could be tried: see what pytest says of tests/measures and tests/study")
            return 1
        lived = [one for one in ran if ends[one.name] == SURVIVED]
        same = [one for one in lived if is_known(one, known)]
    for one in lived:
        if one not in same:
            gone, come = one.change
            print(one.name, *(f"  - {line}" for line in gone), *(f"  + {line}" for line in come),
                  sep="\n")  # fmt: skip
    counted = len(ran) - len(same)
    share = 1 - (len(lived) - len(same)) / counted
    print(
        f"{len(every):,} faults, {len(sample)} of them tried at random (seed {given.seed}), "
        f"{len(sample) - len(ran)} not run, {len(same)} change nothing, "
        f"{len(lived) - len(same)} of {counted} lived: {share:.1%} killed"
    )
    return int(share < given.least or len(ran) < len(sample))


if __name__ == "__main__":
    raise SystemExit(main())
