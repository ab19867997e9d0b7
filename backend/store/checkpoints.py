"""Whether a run's checkpoint is whole, without loading it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def checkpoint_problems(directory: Path) -> Iterator[tuple[Path, str]]:
    """(file, what is wrong with it) for a save_pretrained directory."""
    weights = sorted(directory.glob("*.safetensors"))
    if not (directory / "config.json").is_file():
        yield directory / "config.json", "file is missing"
    if not weights:
        yield directory, "no safetensors file"
    for path in weights:
        if problem := _safetensors_problem(path):
            yield path, problem


def _safetensors_problem(path: Path) -> str:
    """What is wrong with the file's layout: 8 bytes of header length, JSON header, then data."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if size < 8 or length > size - 8:
            return "truncated safetensors header"
        try:
            header = json.loads(handle.read(length))
        except ValueError:
            return "unreadable safetensors header"
    tensors = [value for key, value in header.items() if key != "__metadata__"]
    end = max((value["data_offsets"][1] for value in tensors), default=0)
    return "" if size == 8 + length + end else f"{size} bytes, expected {8 + length + end}"
