"""Hostile data sets: 300 folders that an attacker or an accident makes, each checked on its own.

    python benchmarks/hostile_data.py [--sets 300] [--seed 0] [--first 0]

Each set is made from a seed (tables, images, names, sizes) and given to `fusionscope check` in a
process of its own with 1.5 GB of memory and 20 s of the processor (so that a busy machine does not
count). Prints how many ended in a traceback, over time or over memory, and names them; a set is
made again by its number (`--first N --sets 1 --keep DIR`). Exit code 1 if there was any.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import io
import json
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image

MEMORY = 1536 * 2**20
SECONDS = 20
Rows = list[dict[str, object]]
Rng = random.Random

STRANGE: list[object] = [
    None, "", " ", "\0", "\ud800", "\x1b[2J", "[/red]", "a" * 100_000, "'", '"', '""', ",", "\n",
    "\r", "=1+1", "../../etc/passwd", "/dev/zero", "C:\\x", "NaN", "1e400", "-0", "9" * 4_000, "é",
    "e\u0301", "\u202e", "[" * 5_000, "[['a']]", "['a', 'b'", "|" * 1_000, 1e308, float("nan"),
    float("inf"), -1, 2**63, 2**200, True, [], {}, [[]], {"a": {"b": []}}, [None], ["a"] * 1_000,
    [0, 1], {"bytes": "x"},
]  # fmt: skip


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header says this size, whatever lies in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = data or zlib.compress(b"\0" * min(width * 3 * height, 10**6))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def picture(rng: Rng, form: str = "PNG") -> bytes:
    """A small picture in one of Pillow's formats."""
    out = io.BytesIO()
    side = rng.randint(1, 24)
    Image.new("RGB", (side, rng.randint(1, 24)), (rng.randrange(256), 0, 9)).save(out, form)
    return out.getvalue()


def images(root: Path, rng: Rng) -> list[str]:
    """A few images with hostile names and contents; their names as a table would say them."""
    names = []
    for number in range(rng.randint(1, 12)):
        stem = rng.choice(
            [str(number), f"a b{number}", f"é{number}", "x" * 200 + str(number), f"%41{number}"]
        )
        name = stem + rng.choice([".png", ".jpg", ".PNG", "", ".webp", ".gif"])
        path = root / name
        kind = rng.randrange(15)
        raw = picture(rng, rng.choice(["PNG", "JPEG", "WEBP", "GIF", "BMP"]))
        if kind == 0:
            raw = png(rng.choice([1, 60_000, 2**31 - 1]), rng.choice([1, 60_000, 2**31 - 1]))
        elif kind == 1:
            raw = raw[: rng.randrange(len(raw))]
        elif kind == 2:
            flipped = bytearray(raw)
            for _ in range(rng.randint(1, 20)):
                flipped[rng.randrange(len(flipped))] = rng.randrange(256)
            raw = bytes(flipped)
        elif kind == 3:
            raw = rng.randbytes(rng.randrange(2_000))
        elif kind == 4 and rng.random() < 0.2:
            big = io.BytesIO()
            Image.new("RGB", (7_000, 7_000)).save(big, rng.choice(["PNG", "WEBP"]))
            raw = big.getvalue()
        if kind == 5 and not path.exists():
            os.mkfifo(path)
        elif kind == 6:
            path.mkdir(exist_ok=True)
        elif kind == 7 and not path.exists():
            path.symlink_to(rng.choice([name, "/dev/zero", "/etc/passwd", "..", "gone"]))
        elif not path.exists():
            path.write_bytes(raw)
        names.append(name)
    return names


def rows(names: list[str], rng: Rng) -> Rows:
    """Rows of a table, some cells strange, some columns odd."""
    columns = ["id", "image", "text"]
    columns += [
        c for c in ("split", "label", "label_x", "group", "Label", "audio") if rng.random() < 0.3
    ]
    out: Rows = []
    for number in range(rng.choice([0, 1, 5, 40, 400])):
        row: dict[str, object] = {
            "id": f"s{number}",
            "image": rng.choice(names),
            "text": f"t {number}",
        }
        for column in columns[3:]:
            row[column] = rng.choice(["train", "dev", "test", "a", "b", 0, 1])
        for column in columns:
            if rng.random() < 0.08:
                row[column] = rng.choice(STRANGE)
        if rng.random() < 0.02:
            row[str(rng.choice(STRANGE))[:50] or "x"] = 1
        out.append(row)
    return out


def as_json(table: Rows, rng: Rng) -> bytes:
    """JSON lines, an array, or something between."""
    form = rng.randrange(4)
    if form == 0:
        return json.dumps(table).encode("utf-8", "surrogatepass")
    if form == 1:
        return "".join(json.dumps(row) for row in table).encode("utf-8", "surrogatepass")
    lines = [json.dumps(row, ensure_ascii=False) for row in table]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def as_csv(table: Rows, rng: Rng) -> bytes:
    """CSV by hand: quotes are now and then left open, separators and line ends vary."""
    separator, end = rng.choice(",;\t|"), rng.choice(["\n", "\r\n", "\r"])
    columns = list(dict.fromkeys(c for row in table for c in row)) or ["id", "image", "text"]
    lines = [separator.join(columns)]
    for row in table:
        cells = [str("" if row.get(c) is None else row[c]) for c in columns]
        if rng.random() < 0.7:
            cells = [
                '"' + cell.replace('"', rng.choice(['""', '\\"', '"'])) + '"' for cell in cells
            ]
        lines.append(separator.join(cells))
    return end.join(lines).encode("utf-8", "surrogatepass")


def as_parquet(table: Rows, rng: Rng) -> bytes:
    """Parquet of texts, since Arrow wants one type; or one whose few bytes hold gigabytes."""
    import pyarrow as pa
    from pyarrow import parquet

    out = io.BytesIO()
    if rng.random() < 0.3:
        n = rng.choice([10**5, 10**7])
        value = pa.array(["x" * rng.choice([1, 1_000])]).dictionary_encode()
        index = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), value.dictionary)
        made = pa.table({"id": index, "image": index, "text": index})
    else:
        columns = list(dict.fromkeys(c for row in table for c in row)) or ["id"]
        texts = {
            c: [
                None if r.get(c) is None else str(r[c]).encode("utf-8", "replace").decode()
                for r in table
            ]
            for c in columns
        }
        made = pa.table(texts)
        if rng.random() < 0.4:
            made = made.append_column(
                "image2", pa.array([{"bytes": b"x", "path": "p"}] * len(table))
            )
    parquet.write_table(made, out)
    raw = bytearray(out.getvalue())
    if rng.random() < 0.4:
        for _ in range(rng.randint(1, 30)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw)


def odd_bytes(table: Rows, rng: Rng) -> bytes:
    """What is hardly a table: bombs, depths, endless lines, other kinds of files."""
    made: list[Callable[[], bytes]] = [
        lambda: rng.randbytes(rng.randrange(10_000)),
        lambda: gzip.compress(b"0" * 70_000_000, 1),
        lambda: gzip.compress(gzip.compress(b"id,text\n")),
        lambda: b'{"a":' * 200_000,
        lambda: b"[" * 200_000,
        lambda: b"a" * 20_000_000,
        lambda: b"\n" * 1_000_000,
        lambda: b",".join(b"c%d" % n for n in range(200_000)) + b"\n",
        lambda: b"{" + b",".join(b'"c%d":1' % n for n in range(100_000)) + b"}\n",
        lambda: b'id,image,text\n"' + b"x\n" * 200_000,
        lambda: b"id,image,text\n" + b'a,b,"\n' * 200_000,
        lambda: b'[{"id":"' + b"\\" * 3_000_000,
        lambda: (
            b"id,text,label\n" + b"".join(b"%d,t,[%s]\n" % (n, b"'a' " * 900) for n in range(300))
        ),
        lambda: b"id,text,split\n" + b"".join(b"%d,t,s%d\n" % (n, n) for n in range(5_000)),
        lambda: b"id,text,label\n" + b"".join(b"%d,t%d,%d\n" % (n, n, n) for n in range(50_000)),
        lambda: b"\xff\xfe" + rng.randbytes(5_000),
        lambda: b"PAR1" + rng.randbytes(5_000) + b"PAR1",
        lambda: as_json(table, rng).replace(b"\n", b"\r"),
    ]
    return rng.choice(made)()


def hostile(root: Path, number: int, seed: int) -> str:
    """Make data set ``number``; returns what to call it for `check`."""
    rng = Rng(f"{seed} {number}")
    names = images(root, rng)
    table = rows(names, rng)
    layout = rng.choice(["folder"] * 6 + ["hateful_memes", "nlvr", "food101", "mmimdb"])
    if layout == "folder":
        forms = {
            "csv": as_csv,
            "tsv": as_csv,
            "jsonl": as_json,
            "json": as_json,
            "parquet": as_parquet,
        }
        form = rng.choice(list(forms))
        make = odd_bytes if rng.random() < 0.3 else forms[form]
        (root / f"captions.{form}").write_bytes(make(table, rng))
        if rng.random() < 0.03:
            (root / "captions.jsonl").unlink(missing_ok=True)
            os.mkfifo(root / "captions.jsonl")
        return f"folder:{root}"
    make = odd_bytes if rng.random() < 0.2 else as_json
    if layout == "hateful_memes":
        memes = [{**row, "img": row["image"]} for row in table]
        (root / "train.jsonl").write_bytes(make(memes, rng))
    elif layout == "nlvr":
        scenes = [
            {**row, "identifier": rng.choice([f"{n}-0", "x", 3]), "sentence": row["text"]}
            for n, row in enumerate(table)
        ]
        (root / "dev.json").write_bytes(make(scenes, rng))
    elif layout == "food101":
        (root / "images/train/pie").mkdir(parents=True)
        (root / "train_titles.csv").write_bytes(as_csv(table, rng))
    else:
        (root / "dataset").mkdir()
        ids = [row["id"] for row in table]
        split = {"train": ids, "dev": rng.choice([ids, {}, 3, [[]]]), "test": []}
        (root / "split.json").write_bytes(json.dumps(split).encode("utf-8", "replace"))
        for row in table[:20]:
            if isinstance(row["id"], str) and row["id"].isalnum() and len(row["id"]) < 50:
                film = {"plot": row["text"], "genres": rng.choice([["Drama"], "War", None, [3]])}
                (root / "dataset" / f"{row['id']}.json").write_text(json.dumps(film))
    return f"{layout}:{root}"


def apart(work: Callable[[], int], said: Path) -> tuple[int, float, int]:
    """(exit code, processor seconds, peak bytes) of work in a process of its own, under limits.

    A fork of this process, in which the libraries are imported already. What it prints goes to the
    file ``said``. The code is negative where a signal ended it.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
            signal.alarm(30 * SECONDS)  # of the clock: it waits for something
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status, usage = os.wait4(child, 0)
    return (
        os.waitstatus_to_exitcode(status),
        usage.ru_utime + usage.ru_stime,
        1024 * usage.ru_maxrss,
    )


def command(spec: str) -> int:
    """`fusionscope check`; its exit code."""
    from backend.cli import main as run

    sys.argv = ["fusionscope", "check", "--data", spec]
    try:
        run()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def checked(number: int, seed: int, root: Path) -> tuple[str, float, int, str]:
    """(how it ended, processor seconds, peak bytes, the last lines) of one set."""
    root.mkdir(parents=True)
    spec_file, said = root.with_suffix(".spec"), root.with_suffix(".said")

    def make() -> int:
        spec_file.write_text(hostile(root, number, seed))
        return 0

    code, _, _ = apart(make, said)
    if code:
        return "was not made", 0.0, 0, said.read_text(errors="replace")[-2_000:]
    code, seconds, peak = apart(lambda: command(spec_file.read_text()), said)
    text = said.read_text(errors="replace")
    tail = "\n".join(text.strip()[-4_000:].splitlines()[-8:])
    if "Traceback" in text:
        return "traceback", seconds, peak, tail
    if code < 0:
        return "over time", seconds, peak, f"signal {-code}\n{tail}"
    if peak > MEMORY:
        return "over memory", seconds, peak, tail
    return {0: "read", 2: "refused"}.get(code, f"exit {code}"), seconds, peak, tail


def main() -> int:
    """Make and check the sets, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sets", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Folder in which the sets are left.")
    options = parser.parse_args()
    # What a check imports, once for all the processes that are forked from this one.
    for name in ("backend.cli", "backend.data.check", "backend.data.belonging", "pyarrow.parquet"):
        importlib.import_module(name)
    for name in ("folder", "hateful_memes", "nlvr", "food101", "mmimdb"):
        importlib.import_module(f"backend.data.{name}")
    ends: Counter[str] = Counter()
    slowest, most = 0.0, 0
    for number in range(options.first, options.first + options.sets):
        with tempfile.TemporaryDirectory(prefix="hostile-") as temporary:
            root = (options.keep or Path(temporary)) / f"set{number}"
            ended, seconds, peak, said = checked(number, options.seed, root)
        ends[ended] += 1
        slowest, most = max(slowest, seconds), max(most, peak)
        if ended not in ("read", "refused"):
            print(
                f"set {number}: {ended}, {seconds:.1f} s, {peak / 2**20:,.0f} MiB\n{said}",
                flush=True,
            )
    print(f"{ends.total()} sets: {', '.join(f'{n} {end}' for end, n in ends.most_common())}")
    print(f"slowest {slowest:.1f} s of processor, most memory {most / 2**20:,.0f} MiB")
    return int(any(end not in ("read", "refused") for end in ends))


if __name__ == "__main__":
    raise SystemExit(main())
