"""What features are said to stand for, as Neuronpedia exports it.

One JSON object a feature with ``index`` and ``description``: a list of them, or one a line, plain
or gzipped; a folder holds several such files.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.errors import InputError
from backend.sae.autoencoder import SparseAutoencoder

_MOST_BYTES = 2**30
_MOST_LETTERS = 500
_SIZES = {"k": 1_000, "m": 1_000_000}
"""16k are 16,384 features, 65k 65,536, 1m 1,048,576."""
_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def read_descriptions(path: Path, sae: SparseAutoencoder) -> dict[int, str]:
    """{feature: description}, features counted from 0; the first one where there are several.

    InputError where they are of another autoencoder, and would all be wrong: for a feature that
    this one does not have, and where Neuronpedia's name of the source (``12-gemmascope-res-16k``)
    says another block or another width.
    """
    count = sae.count
    described: dict[int, str] = {}
    for file in _files(path):
        for at, entry in enumerate(_entries(file), 1):
            index, text = _feature(entry, f"{file.name} entry {at}")
            _check_source(str(entry.get("layer") or ""), sae, f"{file.name} entry {at}")
            if not 0 <= index < count:
                raise InputError(
                    f"describes feature {index:,}; the autoencoder has {count:,}",
                    where=f"{file.name} entry {at}",
                    hint="These are the descriptions of another autoencoder.",
                )
            if text:
                described.setdefault(index, text)
    if not described:
        raise InputError("describes no feature", where=str(path))
    return described


def _check_source(told: str, sae: SparseAutoencoder, where: str) -> None:
    block, width = re.match(r"(\d{1,4})(?!\d)", told), re.search(r"-(\d{1,4})([km])(?![a-z])", told)
    own = re.search(r"\.(\d{1,4})(?!\d)", sae.source.hook)
    says = f"are of the source {told[:80]!r}"
    if block and own and int(block[1]) != int(own[1]):
        problem = f"{says}; the autoencoder is of {sae.source.hook}"
    elif width and sae.count // _SIZES[width[2]] != int(width[1]):
        problem = f"{says}; the autoencoder has {sae.count:,} features"
    else:
        return
    raise InputError(
        problem, where=where, hint="These are the descriptions of another autoencoder."
    )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(p for p in path.glob("*") if p.name.endswith(_ENDINGS)) if path.is_dir() else []
    if not files:
        raise InputError(
            "has no descriptions", where=str(path), hint=f"They end in {', '.join(_ENDINGS)}."
        )
    return files


def _entries(file: Path) -> Iterator[Any]:
    try:
        if file.name.endswith(".gz"):
            with gzip.open(file) as stream:
                raw = stream.read(_MOST_BYTES + 1)
        else:
            with file.open("rb") as stream:
                raw = stream.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise InputError(f"has more than {_MOST_BYTES:,} bytes", where=file.name)
        text = raw.decode("utf-8-sig").strip()
        if text.startswith("["):
            yield from json.loads(text)
        else:
            yield from (json.loads(line) for line in text.split("\n") if line.strip())
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"is no JSON that can be read ({str(error)[:80]})", where=file.name) from (
            error
        )


def _feature(entry: Any, where: str) -> tuple[int, str]:
    if not isinstance(entry, dict) or "index" not in entry:
        raise InputError(
            "has no index", where=where, hint="An entry is {index: ..., description: ...}."
        )
    index, text = entry["index"], entry.get("description")
    if isinstance(index, bool) or not str(index).isdecimal() or len(str(index)) > 9:
        raise InputError(f"index is {str(index)[:40]!r}, no whole number", where=where)
    if not isinstance(text, str | None):
        raise InputError("description is no text", where=where)
    return int(index), " ".join((text or "").split())[:_MOST_LETTERS]
