"""Hostile checkpoints: each must be opened or refused in one line, at once, and run nothing.

    uv run python benchmarks/hostile_checkpoints.py --cases 300
    uv run python benchmarks/hostile_checkpoints.py --cases 1 --first 47     # one case again

From tiny whole checkpoints (CLIP, ViLT, our own) each case makes a damaged or malicious one: bytes
of a header flipped, tensors removed, renamed, reshaped, made NaN or whole numbers, values of JSON
files replaced by others of other types and sizes, names of code and of hub repositories, links,
pipes, directories in place of files, pickles under other names. `models DIR` and, twice, `capture`
open it, each in a fresh process under limits of time and memory, without a network. Printed are the
outcomes by kind of damage and their sums: tracebacks, over time, over memory, executed or asked the
network, and accepted with two different outputs.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pickle
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from backend.cli import main as run_command
from backend.jobs import capture  # noqa: F401 -- imported once, not in every process
from backend.models import describe  # noqa: F401
from backend.models.registry import open_model
from backend.models.trial import take_sample
from fusionscope import Store
from tests.models.saved import save_tiny

FAMILIES = ("clip", "vilt", "dual_stream")
WEIGHTS, CONFIG = "model.safetensors", "config.json"
SECONDS, BYTES = 20.0, 1536 * 2**20
_BAD = ("traceback", "over time", "over memory", "executed", "two outputs")

Damage = Callable[[Path, random.Random, Path], None]
"""Changes the checkpoint; what runs of it must write the marker to be seen."""


class Evil:
    """Runs when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def flip_header(folder: Path, rng: random.Random, marker: Path) -> None:
    """Other bytes in the header or its length."""
    data = bytearray((folder / WEIGHTS).read_bytes())
    length = int.from_bytes(data[:8], "little")
    for _ in range(rng.randint(1, 6)):
        data[rng.randrange(8 + length)] = rng.randrange(256)
    (folder / WEIGHTS).write_bytes(data)


def rewrite_header(folder: Path, rng: random.Random, marker: Path) -> None:
    """A header that is JSON and wrong."""
    data = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    name = rng.choice([name for name in header if name != "__metadata__"])
    entry = header[name]
    start, end = entry["data_offsets"]
    change = rng.randrange(8)
    if change == 0:
        entry["data_offsets"] = [start, end + 10 ** rng.randint(1, 15)]
    elif change == 1:
        entry["data_offsets"] = [end, start]
    elif change == 2:
        entry["dtype"] = rng.choice(["F128", "OBJECT", "F8_E4M3", "I32", 7, None])
    elif change == 3:
        entry["shape"] = rng.choice([[2**40, 2**40], [-1], ["a"], [], [1.5], None])
    elif change == 4:
        header[name] = rng.choice([None, 3, [], "x"])
    elif change == 5:
        header["__metadata__"] = rng.choice([{"format": "pickle"}, 5, {"a": {"b": 1}}, None])
    elif change == 6:
        header["x" * 100_000] = entry
    text = json.dumps(header)
    if change == 7:
        text = text[:-1] + f", {json.dumps(name)}: {json.dumps(entry)}}}"
    new = text.encode()
    size = len(new) if rng.random() < 0.8 else rng.choice([0, 1, 2**31, 2**62, 2**64 - 1])
    (folder / WEIGHTS).write_bytes(size.to_bytes(8, "little") + new + data[8 + length :])


def change_tensors(folder: Path, rng: random.Random, marker: Path) -> None:
    """Weights that are missing, renamed, of other shapes, types and values."""
    tensors = load_file(folder / WEIGHTS)
    for _ in range(rng.choice([1, 1, 1, 5])):
        name = rng.choice(sorted(tensors))
        tensor = tensors[name]
        change = rng.randrange(9)
        if change == 0:
            del tensors[name]
        elif change == 1:
            tensors[f"{name}_"] = tensors.pop(name)
        elif change == 2:
            tensors[name] = torch.cat([tensor.reshape(-1), torch.zeros(rng.randint(1, 3))])
        elif change == 3:
            tensors[name] = torch.full_like(tensor, rng.choice([float("nan"), float("inf")]))
        elif change == 4:
            tensors[name] = (tensor * 10).to(rng.choice([torch.int8, torch.int64, torch.bool]))
        elif change == 5:
            prefix = rng.choice(["module.", "model.", "_orig_mod.", "0.auto_model.", "evil."])
            tensors = {prefix + key: value for key, value in tensors.items()}
        elif change == 6:
            layers = [key for key in tensors if ".1." in key] or [name]
            tensors = {key: value for key, value in tensors.items() if key not in layers}
        elif change == 7:
            tensors[name] = tensor.to(torch.float64) * 1e300
        else:
            tensors["extra." + name] = tensor.clone()
        if not tensors:
            break
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / WEIGHTS)


def other_value(value: Any, rng: random.Random) -> Any:
    """Something else in a value's place."""
    return rng.choice(
        [
            *(0, -1, 1, 10**3, 10**6, 10**9, 2**63, 10**30, 1e300, 0.5, float("nan")),
            *(True, None, "", "x", "x" * 10**6, [], {}, [10**9], {"a": 1}, "lab/evil"),
            *(value, [value], str(value)),
        ]
    )


def change_json(name: str) -> Damage:
    """Other values in one of the JSON files."""

    def change(folder: Path, rng: random.Random, marker: Path) -> None:
        path = folder / name
        if not path.is_file():
            return
        content = json.loads(path.read_text())
        for _ in range(rng.choice([1, 1, 2, 4])):
            part = content
            while True:
                keys = list(part) if isinstance(part, dict) else list(range(len(part)))
                if not keys:
                    break
                key = rng.choice(keys)
                if isinstance(part[key], dict | list) and part[key] and rng.random() < 0.8:
                    part = part[key]
                    continue
                part[key] = other_value(part[key], rng)
                break
        path.write_text(json.dumps(content))

    return change


def name_elsewhere(folder: Path, rng: random.Random, marker: Path) -> None:
    """Names of code, of hub repositories and of files elsewhere."""
    code = f"import os\nos.mkdir({str(marker)!r})\nclass Evil: pass\n"
    (folder / "evil.py").write_text(code)
    (folder / "modeling_evil.py").write_text(code)
    name = rng.choice([CONFIG, "tokenizer_config.json", "processor_config.json"])
    path = folder / name
    content = json.loads(path.read_text()) if path.is_file() else {}
    entries: list[tuple[str, Any]] = [
        ("auto_map", {"AutoConfig": "evil.Evil", "AutoModel": "lab/evil--evil.Evil"}),
        ("auto_map", {"AutoTokenizer": ["evil.Evil", "evil.Evil"], "AutoProcessor": "evil.Evil"}),
        ("_attn_implementation", "kernels-community/evil"),
        ("attn_implementation", {"text_config": "lab/kernel:run", "": "lab/kernel"}),
        ("_attn_implementation_internal", "lab/kernel"),
        ("experts_implementation", "lab/experts"),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}),
        ("base_model_name_or_path", "lab/base"),
        ("backbone", "lab/backbone"),
        ("use_timm_backbone", False),
        ("use_pretrained_backbone", True),
        ("_name_or_path", "lab/evil"),
        ("tokenizer_class", rng.choice(["Evil", "os", "PreTrainedModel", "evil.Evil", 3])),
        ("processor_class", rng.choice(["Evil", "CLIPModel", "evil.Evil", None])),
        ("image_processor_type", rng.choice(["Evil", "CLIPModel", 5])),
        ("vocab_file", "/etc/passwd"),
        ("tokenizer_file", "../../../etc/passwd"),
        ("audio_tokenizer", {"audio_tokenizer_name_or_path": "lab/dac"}),
        ("transformers_weights", "../elsewhere.safetensors"),
        ("model_type", rng.choice(["timm_wrapper", "detr", "bert", "llava", "../x", ""])),
        ("dtype", rng.choice(["load", "hub", "float8_e4m3fn", "int8"])),
    ]
    for key, value in rng.sample(entries, 3):
        part = content
        inner = [value for value in content.values() if isinstance(value, dict)]
        if inner and rng.random() < 0.4:
            part = rng.choice(inner)
        part[key] = value
    path.write_text(json.dumps(content))


def grow_tokenizer(folder: Path, rng: random.Random, marker: Path) -> None:
    """A tokenizer that makes much of little, or something else each time."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())

    def replacing(by: str) -> dict[str, Any]:
        return {"type": "Replace", "pattern": {"Regex": "."}, "content": by}

    change = rng.randrange(7)
    if change == 0:
        content["normalizer"] = replacing("a" * 10**6)
    elif change == 1:
        content["normalizer"] = {"type": "Sequence", "normalizers": [replacing("aa")] * 40}
    elif change == 2:
        content["normalizer"] = {"type": "Prepend", "prepend": "a" * 10**6}
    elif change == 3:
        content["model"]["dropout"] = 0.5
    elif change == 4:
        content["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "x", "type_id": 0}}] * 2000
            + [{"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
            ],
            "special_tokens": {"x": {"id": "x", "ids": [1] * 2000, "tokens": ["a"] * 2000}},
        }
    elif change == 5:
        content["padding"] = {
            "strategy": {"Fixed": 10**9},
            "direction": "Right",
            "pad_to_multiple_of": 10**9,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        }
    else:
        content["model"]["vocab"] = {} if isinstance(content["model"].get("vocab"), dict) else []
    path.write_text(json.dumps(content))


def replace_files(folder: Path, rng: random.Random, marker: Path) -> None:
    """Something else where a file should be."""
    path = folder / rng.choice(sorted(file.name for file in folder.iterdir()))
    path.unlink()
    change = rng.randrange(11)
    if change == 0:
        os.mkfifo(path)
    elif change == 1:
        path.mkdir()
    elif change == 2:
        path.symlink_to(path.name)
    elif change == 3:
        path.symlink_to(rng.choice(["/dev/zero", "/dev/stdin", "/etc/passwd", "/proc/self/mem"]))
    elif change == 4:
        path.write_bytes(b"")
    elif change == 5:
        path.write_text("<!DOCTYPE html><html><body>Log in</body></html>")
    elif change == 6:
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    elif change == 7:
        path.write_text("[" * 200_000)
    elif change == 8:
        path.write_bytes(pickle.dumps(Evil(marker)))
    elif change == 9:
        torch.save({"a": Evil(marker)}, path)
    # or it is missing


def pickled(folder: Path, rng: random.Random, marker: Path) -> None:
    """Pickles that run code, under several names."""
    if rng.random() < 0.5:
        (folder / WEIGHTS).unlink()
    name = rng.choice(["pytorch_model.bin", "model.pt", WEIGHTS, "model.safetensors.index.json"])
    if rng.random() < 0.5:
        torch.save({"weight": Evil(marker)}, folder / name)
    else:
        (folder / name).write_bytes(pickle.dumps(Evil(marker)))
    if rng.random() < 0.3:
        (folder / "adapter_config.json").write_text(
            json.dumps({"base_model_name_or_path": "lab/base", "peft_type": "LORA"})
        )


def bad_index(folder: Path, rng: random.Random, marker: Path) -> None:
    """An index that leads elsewhere or is none."""
    (folder / WEIGHTS).rename(folder / "model-00001-of-00001.safetensors")
    named = rng.choice(
        [
            *("../model.safetensors", "/etc/passwd", "model-00001-of-00001.safetensors", "x.bin"),
            *(7, None, ["a"], "missing.safetensors", "evil.safetensors/"),
        ]
    )
    index: Any = rng.choice(
        [{"weight_map": {"a": named}}, {"weight_map": [named]}, {"weight_map": named}, [named], {}]
    )
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


DAMAGES: dict[str, Damage] = {
    "header bytes": flip_header,
    "header": rewrite_header,
    "tensors": change_tensors,
    "config": change_json(CONFIG),
    "tokenizer": change_json("tokenizer.json"),
    "tokenizer_config": change_json("tokenizer_config.json"),
    "processor": change_json("processor_config.json"),
    "elsewhere": name_elsewhere,
    "growing tokenizer": grow_tokenizer,
    "files": replace_files,
    "pickles": pickled,
    "index": bad_index,
}


@dataclass(frozen=True)
class Outcome:
    """How a command ended: ``said`` is its last line, ``seconds`` its processor time."""

    kind: str
    said: str
    seconds: float
    bytes: int


def run(arguments: list[str], marker: Path, asked: Path, patience_s: float) -> Outcome:
    """A command in a fresh process, ended after ``patience_s`` on the clock."""
    reading, writing = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _in_child(arguments, writing, asked)
    os.close(writing)
    over = False
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - began > patience_s:
            over = True
            os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            break
        time.sleep(0.01)
    seconds = usage.ru_utime + usage.ru_stime
    with os.fdopen(reading, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read(100_000)
    peak = usage.ru_maxrss * 1024
    code = os.waitstatus_to_exitcode(status)
    last = said.strip().splitlines()[-1][:300] if said.strip() else ""
    if marker.exists() or asked.exists():
        kind = "executed"
    elif over or seconds > SECONDS:
        kind = "over time"
    elif peak > BYTES or code == -signal.SIGKILL:
        kind = "over memory"
    elif code == 0:
        kind = "accepted"
    elif code == 2 and "Traceback" not in said:
        kind = "refused"
    else:
        kind = "traceback"
    return Outcome(kind, last, seconds, peak)


def _in_child(arguments: list[str], writing: int, asked: Path) -> None:
    def connect(*args: object) -> None:
        asked.mkdir(exist_ok=True)
        raise OSError("no network here")

    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (4 * BYTES, 4 * BYTES))
        socket.socket.connect = connect  # type: ignore[method-assign, assignment]
        socket.getaddrinfo = connect  # type: ignore[assignment]
        sys.argv = ["fusionscope", *arguments]
        run_command()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # to be counted
        os.write(writing, traceback.format_exc()[-4000:].encode())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def same_vectors(stores: list[Path]) -> bool:
    """Whether two captures hold the same numbers, NaNs alike."""
    first, second = (Store(path).run("case") for path in stores)
    for stream in first.manifest.streams:
        for pooling in first.manifest.poolings:
            for layer in (0, stream.depth):
                try:
                    pair = [run.vectors(stream.name, layer, pooling) for run in (first, second)]
                except ValueError:  # a pooling that this stream has not
                    continue
                if not np.array_equal(*pair, equal_nan=True):
                    return False
    return True


def one_case(
    case: int, bases: dict[str, Path], data: Path, room: Path, patience_s: float
) -> tuple[str, Outcome]:
    """Make a checkpoint, open it three times; the worst outcome and what was damaged."""
    rng = random.Random(case)
    family = FAMILIES[case % len(FAMILIES)]
    name = list(DAMAGES)[case // len(FAMILIES) % len(DAMAGES)]
    folder, marker, asked = (room / part for part in ("model", "marker", "asked"))
    shutil.copytree(bases[family], folder)
    DAMAGES[name](folder, rng, marker)
    outcome = run(["models", str(folder)], marker, asked, patience_s)
    if outcome.kind in (*_BAD, "refused"):
        return name, outcome
    stores = [room / "first", room / "second"]
    for store in stores:
        captured = run(
            [
                *("capture", "--model", str(folder), "--data", f"folder:{data}"),
                *("--store", str(store), "--run-id", "case", "--device", "cpu"),
            ],
            marker,
            asked,
            patience_s,
        )
        if captured.kind != "accepted":
            return name, captured
    if not same_vectors(stores):
        return name, Outcome("two outputs", "two captures differ", 0.0, 0)
    return name, captured


def write_data(folder: Path) -> Path:
    """Six pictures with a text each, of a split that is called test."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for at in range(6):
        Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).save(
            folder / f"{at}.png"
        )
        rows.append(
            {"id": f"s{at}", "image": f"{at}.png", "text": f"a red dog {at}", "split": "test"}
        )
    lines = "\n".join(json.dumps(row) for row in rows)
    (folder / "captions.jsonl").write_text(lines + "\n", encoding="utf-8")
    return folder


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument(
        "--slack", type=float, default=1.0, help="How many times slower a busy machine may be."
    )
    parser.add_argument("--verbose", action="store_true", help="Print every case.")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    counts: Counter[tuple[str, str]] = Counter()
    slowest, most = 0.0, 0
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        with contextlib.redirect_stderr(io.StringIO()):
            bases = {family: save_tiny(top / family, family) for family in FAMILIES}
            for base in bases.values():  # what a process would import is there when it is forked
                take_sample(open_model(str(base)))
        data = write_data(top / "data")
        for case in range(asked.first, asked.first + asked.cases):
            room = top / f"case-{case}"
            room.mkdir()
            damage, outcome = one_case(case, bases, data, room, SECONDS * asked.slack)
            shutil.rmtree(room)
            counts[damage, outcome.kind] += 1
            slowest, most = max(slowest, outcome.seconds), max(most, outcome.bytes)
            if outcome.kind in _BAD or asked.verbose:
                print(f"case {case}: {damage}: {outcome.kind}: {outcome.said}", flush=True)
    kinds = ("refused", "accepted", *_BAD)
    print(f"{'damage':<20}" + "".join(f"{kind:>14}" for kind in kinds))
    for damage in DAMAGES:
        if any(counts[damage, kind] for kind in kinds):
            cells = "".join(f"{counts[damage, kind]:>14}" for kind in kinds)
            print(f"{damage:<20}{cells}")
    sums = {kind: sum(n for (_, k), n in counts.items() if k == kind) for kind in kinds}
    print(f"{'all':<20}" + "".join(f"{sums[kind]:>14}" for kind in kinds))
    print(f"slowest {slowest:.1f} s of a processor, peak {most / 2**20:.0f} MiB")
    sys.exit(1 if any(sums[kind] for kind in _BAD) else 0)


if __name__ == "__main__":
    main()
