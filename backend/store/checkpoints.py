"""Whether a run's checkpoint is whole, without loading it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from backend.store.wall import FAULTS, MAX_JSON_BYTES, parsed, regular


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
    try:
        size = regular(path).st_size
        with path.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if size < 8 or length > size - 8:
                return "truncated safetensors header"
            header = parsed(handle.read(min(length, MAX_JSON_BYTES + 1)), str(path))
        if not isinstance(header, dict):
            return "unreadable safetensors header"
        tensors = [value for key, value in header.items() if key != "__metadata__"]
        end = max((int(value["data_offsets"][1]) for value in tensors), default=0)
    except (*FAULTS, LookupError, TypeError):
        return "unreadable safetensors header"
    return "" if size == 8 + length + end else f"{size} bytes, expected {8 + length + end}"
