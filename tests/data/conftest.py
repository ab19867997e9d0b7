"""Tiny datasets in the exact official layouts, made by the tests."""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image

Draw = Callable[..., Path]


@pytest.fixture
def draw() -> Draw:
    """Write a small picture; the file name's ending gives the format, its name the colour."""

    def write(path: Path, size: tuple[int, int] = (8, 6), colour: object = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        own = tuple(zlib.crc32(path.name.encode()).to_bytes(4, "big")[:3])
        Image.new("RGB", size, colour or own).save(path)
        return path

    return write


@pytest.fixture
def jsonl() -> Callable[[Path, Iterable[object]], Path]:
    """Write JSON lines; a str or bytes item is written as it is, without a line end of its own."""

    def write(path: Path, rows: Iterable[object]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            for row in rows:
                if isinstance(row, bytes):
                    out.write(row)
                else:
                    out.write((row if isinstance(row, str) else json.dumps(row) + "\n").encode())
        return path

    return write


@pytest.fixture
def csv_text() -> Callable[[Iterable[Iterable[object]]], str]:
    """Rows as the text of a CSV file."""

    def write(rows: Iterable[Iterable[object]]) -> str:
        out = io.StringIO()
        csv.writer(out).writerows(rows)
        return out.getvalue()

    return write


@pytest.fixture
def memes(tmp_path: Path, draw: Draw, jsonl) -> Path:
    """A good Hateful Memes folder: 6 train, 2 dev_seen, 3 test_seen without labels."""
    root = tmp_path / "hm"
    number = 0
    for split, count in (("train", 6), ("dev_seen", 2), ("test_seen", 3)):
        rows = []
        for _ in range(count):
            number += 1
            image = f"img/{number:05d}.png"
            draw(root / image)
            row = {"id": number, "img": image, "label": number % 2, "text": f"meme number {number}"}
            if split == "test_seen":
                del row["label"]
            rows.append(row)
        jsonl(root / f"{split}.jsonl", rows)
    return root


@pytest.fixture
def films(tmp_path: Path, draw: Draw) -> Path:
    """A good MM-IMDb folder: 3 train, 1 dev, 1 test."""
    root = tmp_path / "mmimdb"
    split = {"train": ["0000001", "0000002", "0000003"], "dev": ["0000004"], "test": ["0000005"]}
    for sample_id in chain.from_iterable(split.values()):
        draw(root / "dataset" / f"{sample_id}.jpeg")
        film = {"plot": ["Short.", f"The longer plot of {sample_id}."], "genres": ["Drama", "War"]}
        (root / "dataset" / f"{sample_id}.json").write_text(json.dumps(film))
    (root / "split.json").write_text(json.dumps(split))
    return root


@pytest.fixture
def food(tmp_path: Path, draw: Draw, csv_text) -> Path:
    """A good UPMC Food-101 folder: 2 classes, 60 train and 4 test rows, hard titles."""
    root = tmp_path / "food"
    for split, each in (("train", 30), ("test", 2)):
        rows = []
        for dish in ("baklava", "apple_pie"):
            for number in range(each):
                file = f"{dish}_{split}_{number}.jpg"
                draw(root / "images" / split / dish / file)
                rows.append((file, f'The "best" {dish}, ever, no. {number}', dish))
        (root / f"{split}_titles.csv").write_text(csv_text(rows))
    return root


@pytest.fixture
def scenes(tmp_path: Path, draw: Draw, jsonl) -> Path:
    """A good NLVR folder without train: 40 dev and 2 test sentences of 2 images each."""
    root = tmp_path / "nlvr"
    for split, count in (("dev", 40), ("test", 2)):
        rows = []
        for n in range(count):
            identifier = f"{n // 2}-{n % 2}"
            for k in (0, 1):
                draw(root / split / f"{split}-{identifier}-{k}.png")
            rows.append(
                {
                    "sentence": f"There are {n} blocks.",
                    "label": "true" if n % 2 else "false",
                    "identifier": identifier,
                    "directory": "1",
                }
            )
        jsonl(root / f"{split}.json", rows)
    return root
