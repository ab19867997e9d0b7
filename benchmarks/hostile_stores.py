"""Stores that mean harm: each must be opened with one line for what is wrong, and nothing worse.

    uv run python benchmarks/hostile_stores.py --stores 500
    uv run python benchmarks/hostile_stores.py --stores 1 --first 4711      # one case again

From one tiny store one is made a seed, with one to three faults: values of run.json, bytes, what a
file is (FIFO, socket, folder, link out, loop), names, columns and rows of tables, files that
become large, files that are gone. It is opened in a process of its own by ``runs``, ``verify``,
``table`` and ``findings`` and by the page Runs and others. Printed are the cases that ended in
a traceback, took more than 20 s of a processor (or did not end), or more than 1.5 GB, and the
counts.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import pkgutil
import random
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S, LIMIT_BYTES = 20, 1.5e9
PAGES = (
    *("transitions", "compare", "alignment", "dimensionality", "probes", "projection"),
    *("training", "study", "trace"),
)
_IMPORTED = (
    *("streamlit.testing.v1", "streamlit.material_icon_names", "typer.testing", "backend.cli"),
    *("pyarrow.dataset", "plotly.animation", "plotly.colors", "scipy.stats", "rich._emoji_codes"),
)
COMMANDS = ("runs", "verify", "table", "findings")

_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**31, 10**9, 2**63, 10**30, 0.5, "", "x", "../../etc", "[/red]"),
    *("\x1b[2J\x1b]0;x\x07", "<script>alert(1)</script>", "=1+1", "x" * 10**5, "\udcff", "\u202e"),
    *([], {}, [[[]]], ["x"] * 2_000, {"x": 1}, list(range(100))),
)
_NUMBERS = ("1e400", "NaN", "-Infinity", "9" * 6000, "[" * 100_000, '{"a":' * 100_000)
_NAMES = (b"caf\xe9", b"[red]", b"\x1b[31m", b"a b", b"-" * 200, b"run\n", b".run", b"~", b"x~y")


def main() -> None:
    """Read the options, open the stores, print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stores", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="The first seed.")
    parser.add_argument("--pages", type=int, default=3, help="Pages to open: Runs and others.")
    parser.add_argument("--wall", type=int, default=400, help="Seconds until there is no end.")
    parser.add_argument("--keep", type=Path, help="Keep the hostile stores here.")
    asked = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        tiny = make_tiny(Path(folder) / "tiny")
        _preload()
        with contextlib.suppress(KeyboardInterrupt):  # the counts so far are printed
            for seed in range(asked.first, asked.first + asked.stores):
                path = (asked.keep or Path(folder)) / f"store-{seed}"
                faults = make_hostile(tiny, path, seed)
                for name, ending in opened(path, seed, asked.pages, asked.wall):
                    counts[ending.split(":")[0]] += 1
                    if ending != "well":
                        print(f"seed {seed}: {', '.join(faults)}: {name}: {ending}", flush=True)
                counts["stores"] += 1
                if not asked.keep:
                    shutil.rmtree(path, ignore_errors=True)
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    sys.exit(any(name not in ("stores", "well") for name in counts))


def make_tiny(path: Path) -> Path:
    """The store that all others are made from: two placements, two seeds, most kinds of tables."""
    spec = importlib.util.spec_from_file_location("make_store", ROOT / "tests" / "make_store.py")
    if spec is None or spec.loader is None:
        raise SystemExit("tests/make_store.py is missing")
    factory = importlib.util.module_from_spec(spec)
    sys.modules["make_store"] = factory
    spec.loader.exec_module(factory)
    factory.make_store(
        path, ("none", "late"), (0, 1), 24, training=lambda *_: [(0, 0), (1, 5), (2, 10)]
    )
    return path


def _preload() -> None:
    """What the processes would import, each for itself and for longer than they work."""
    for name in _IMPORTED:
        importlib.import_module(name)
    for package in ("backend.study", "backend.views", "backend.store", "dashboard"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{module.name}")


# The faults


def make_hostile(tiny: Path, path: Path, seed: int) -> list[str]:
    """A store with the faults of a seed at ``path``; what they are."""
    rng = random.Random(seed)
    shutil.copytree(tiny, path)
    done = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        fault = rng.choice(_FAULTS)
        files = sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink())
        if files:
            done.append(f"{fault.__name__} {fault(rng, path, files)}")
    return done


def _json(rng: random.Random, path: Path, _files: list[Path]) -> str:
    """Another value somewhere in a run.json, or a text that no value can be."""
    file = rng.choice(sorted(path.glob("runs/*/run.json")) or [path])
    if not file.is_file():
        return "none"
    try:
        raw = json.loads(file.read_bytes())
    except ValueError:
        return "none"
    *_, (holder, key) = _walk(rng, raw)
    value = rng.choice((*_VALUES, *_NUMBERS))
    if value in _NUMBERS:
        holder[key] = "@"
        file.write_text(json.dumps(raw).replace('"@"', value))
    elif rng.random() < 0.15:
        del holder[key]
        file.write_text(json.dumps(raw))
    else:
        holder[key] = value
        file.write_text(json.dumps(raw))
    return f"{key}={str(value)[:20]!r}"


def _walk(rng: random.Random, value: Any) -> list[tuple[Any, Any]]:
    """A way into a value: (what holds it, its key) at each step."""
    steps = []
    while isinstance(value, dict | list) and value:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        steps.append((value, key))
        value = value[key]
    return steps


def _bytes(rng: random.Random, _path: Path, files: list[Path]) -> str:
    """Bits flipped, cut off, or nothing left."""
    file = rng.choice(files)
    content = bytearray(file.read_bytes())
    for _ in range(rng.randrange(1, 20) if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    cut = rng.choice((None, None, 0, rng.randrange(len(content) + 1)))
    file.write_bytes(content[:cut])
    return file.name


def _nature(rng: random.Random, _path: Path, files: list[Path]) -> str:
    """Another thing of that name."""
    file = rng.choice(files)
    file.unlink()
    what = rng.choice(("fifo", "socket", "folder", "loop", "/dev/zero", "/etc/passwd", "nothing"))
    if what == "fifo":
        os.mkfifo(file)
    elif what == "socket":
        here = Path.cwd()
        os.chdir(file.parent)
        socket.socket(socket.AF_UNIX).bind(file.name)
        os.chdir(here)
    elif what == "folder":
        file.mkdir()
    else:
        file.symlink_to({"loop": file.name, "nothing": "gone"}.get(what, what))
    return f"{file.name}={what}"


def _name(rng: random.Random, path: Path, files: list[Path]) -> str:
    """Another name of a run, a folder or a file."""
    target = rng.choice([*path.glob("runs/*"), rng.choice(files), rng.choice(files).parent])
    name = os.fsdecode(rng.choice(_NAMES))
    if target != path and not (target.parent / name).exists():
        target.rename(target.parent / name)
    return ascii(name)


def _gone(rng: random.Random, path: Path, files: list[Path]) -> str:
    """A file or folder that is not there."""
    target = rng.choice([rng.choice(files), rng.choice(files).parent])
    if target in (path, path / "runs"):
        return "none"
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    return target.name


def _table(rng: random.Random, _path: Path, files: list[Path]) -> str:
    """Other columns or rows in a table."""
    file = rng.choice([p for p in files if p.suffix == ".parquet"] or files)
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowException):
        return "none"
    name = rng.choice(table.column_names)
    change = rng.choice((*_COLUMNS, *_ROWS))
    try:
        table = change(rng, table, name)
        pq.write_table(table, file, compression="zstd", store_schema=rng.random() < 0.7)
    except (pa.ArrowException, ValueError, OverflowError, TypeError):
        return "none"
    return f"{file.parent.name}/{file.name} {name} {change.__name__}"


def _first(rng: random.Random, table: pa.Table, name: str) -> pa.Table:
    kind = table.schema.field(name).type
    values = table[name].to_pylist()
    at = rng.randrange(len(values) or 1)
    values[at : at + 1] = [
        rng.choice((None, -1, 10**9, 2**62, 1e308, float("inf"), float("nan"), "", "x" * 10**5,
                    "\x1b[2J", "stranger", b"", b"x" * 9, [], ["x"], True))
    ]  # fmt: skip
    return _with(table, name, pa.array(values, kind))


def _widened(rng: random.Random, table: pa.Table, name: str) -> pa.Table:
    kinds = (pa.int64(), pa.float64(), pa.large_string(), pa.string(), pa.binary(), pa.uint8())
    return _with(table, name, table[name].cast(rng.choice(kinds)))


def _all_null(_rng: random.Random, table: pa.Table, name: str) -> pa.Table:
    return _with(table, name, pa.nulls(len(table), table.schema.field(name).type))


def _listed(_rng: random.Random, table: pa.Table, name: str) -> pa.Table:
    return _with(table, name, pc.dictionary_encode(table[name]))


def _repeated(_rng: random.Random, table: pa.Table, name: str) -> pa.Table:
    """One long text, three thousand times: 3 GB that are written once."""
    rows = pa.concat_tables([table.slice(0, 1)] * 3_000)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * len(rows)), ["x" * 10**6])
    return _with(rows, name, texts)


def _emptied(_rng: random.Random, table: pa.Table, _name: str) -> pa.Table:
    return table.slice(0, 0)


def _doubled(_rng: random.Random, table: pa.Table, _name: str) -> pa.Table:
    return pa.concat_tables([table, table])


def _turned(_rng: random.Random, table: pa.Table, _name: str) -> pa.Table:
    return table.take(list(range(len(table)))[::-1])


def _dropped(_rng: random.Random, table: pa.Table, name: str) -> pa.Table:
    return table.drop_columns([name])


def _many(_rng: random.Random, table: pa.Table, _name: str) -> pa.Table:
    return pa.table({f.name: pa.nulls(2_000_000, f.type) for f in table.schema})


def _with(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


_COLUMNS = (_first, _first, _first, _widened, _all_null, _listed, _repeated)
_ROWS = (_emptied, _doubled, _turned, _dropped, _many)
_FAULTS: tuple[Callable[[random.Random, Path, list[Path]], str], ...] = (
    *(_json, _json, _table, _table, _table, _bytes, _nature, _name, _gone),
)


# Opening them


def opened(path: Path, seed: int, pages: int, wall_s: int) -> list[tuple[str, str]]:
    """(what opened it, how that ended) of everything that is asked of a store."""
    others = random.Random(seed).sample(PAGES, max(0, pages - 1))
    asked = [*COMMANDS, *(["runs page"] if pages else []), *others]
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        with os.fdopen(write, "w") as answers:
            _ask(path, asked, lambda line: print(line, file=answers, flush=True))
        os._exit(0)
    os.close(write)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(wall_s)
    with os.fdopen(read) as answers:
        endings = [line.rstrip("\n").split("\t", 1) for line in answers]
    signal.alarm(0)
    os.waitpid(child, 0)
    out = [(name, ending) for name, ending in endings]
    if len(out) < len(asked):
        out.append((asked[len(out)], "no end"))
    return out


def _ask(path: Path, asked: list[str], answer: Callable[[str], None]) -> None:
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.environ["FUSIONSCOPE_STORE"] = str(path)
    for name in asked:
        began = time.process_time()
        try:
            fault = _command(name, path) if name in COMMANDS else _page(name)
        except BaseException:  # whatever it is, it is what is looked for
            fault = _told(traceback.format_exc().splitlines())
        took = time.process_time() - began
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ending = "well"
        if fault:
            ending = f"traceback: {fault}"
        elif took > LIMIT_S:
            ending = f"over time: {took:.0f} s"
        elif peak > LIMIT_BYTES:
            ending = f"over memory: {peak / 1e9:.1f} GB"
        answer(f"{name}\t{ending}")


def _command(name: str, path: Path) -> str:
    from typer.testing import CliRunner

    from backend.cli import app
    from backend.errors import InputError

    done = CliRunner().invoke(app, [name, "--store", str(path)])
    if done.exception is None or isinstance(done.exception, InputError | SystemExit):
        shown = done.output.encode(errors="surrogatepass")
        return "a terminal is steered" if b"\x1b[2J" in shown or b"\x1b]" in shown else ""
    return _told("".join(traceback.format_exception(done.exception)).splitlines())


def _told(lines: Sequence[str]) -> str:
    """A traceback in one line: the last of our own frames, and what was raised."""
    own = [line.split(str(ROOT))[-1] for line in lines if f'File "{ROOT}/' in line]
    frames = [line for line in own if "site-packages" not in line and ".venv" not in line]
    return " ".join(" < ".join([lines[-1], *frames[:-4:-1]]).split())[:600]


def _page(name: str) -> str:
    from streamlit.testing.v1 import AppTest

    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=3_600).run()
    if name != "runs page" and not at.exception:
        at.switch_page(f"pages/{name}.py").run()
    return "; ".join(_told([*one.stack_trace, one.message]) for one in at.exception)


if __name__ == "__main__":
    main()
