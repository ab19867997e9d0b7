"""One store of a tiny model of every kind, made by the commands that a user has."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from scipy.io import wavfile

from backend.cli import main
from backend.data.macros import Macros
from backend.jobs.measure import missing_in_store, perform_all
from backend.store import Store
from tests.models.saved import save_tiny
from tests.tiny import tiny_checkpoint

N = 24
MACROS = f"macros:n=1,dev=1,test={N}"

FAMILIES = {
    "clip": "clip",
    "siglip": "siglip",
    "siglip2": "siglip2",
    "vision_text_dual": "vision-text-dual-encoder",
    "chinese_clip": "chinese_clip",
    "vilt": "vilt",
    "idefics": "idefics",
    "blip2": "blip-2",
    "llava": "llava",
    "paligemma": "paligemma",
    "lxmert": "lxmert",
    "whisper": "whisper",
    "kosmos2": "kosmos-2",
    "side_by_side": "fusionscope-encoders",
    "captioner": "fusionscope-captioner",
    "stable_diffusion": "StableDiffusionPipeline",
    "pixart": "PixArtAlphaPipeline",
    "stable_diffusion_3": "StableDiffusion3Pipeline",
    **{
        name: name
        for name in (
            *("align", "blip", "gemma3", "idefics3", "instructblip", "internvl", "llava_next"),
            *("llava_onevision", "mllama", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm"),
            *("visual_bert", "bridgetower", "flava", "florence2", "gemma4", "git", "idefics2"),
        )
    },
}
"""{module in tests/models/families: family}, without our own."""

OF_A_FOLDER = ("lxmert", "visual_bert", "whisper")
"""Models that need regions or a recording, which the generated set does not have."""

PROBED = "clip"
"""The model whose run has every measure, and probes."""

MEASURED = ("cka", "dimension", "retrieval")
"""Of the others' measures those that a page shows first; each takes any streams (test_streams)."""

PLACED: dict[str, tuple[int, ...]] = {"none": (), "late": (4,)}
"""{placement: fusion layers of both streams} of our own models."""


@dataclass(frozen=True)
class Made:
    """``every`` run, those of released models alone, and the ids of the runs of both.

    ``runs``: {module of the family, or placement: run id}.
    """

    every: Path
    released: Path
    runs: dict[str, str]


def command(*words: object) -> str:
    """What ``fusionscope WORDS`` prints; AssertionError with its complaint where it fails."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        patch.object(sys, "argv", ["fusionscope", *map(str, words)]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as left:
            code = left.code
    assert not code, err.getvalue()
    return out.getvalue()


def capture(store: Path, model: Path, data: str) -> str:
    """Capture everything of a checkpoint; the run's id."""
    said = command(
        *("capture", "--model", model, "--data", data, "--store", store, "--device", "cpu"),
        *("--split", "test" if data.startswith("macros") else "all"),
    )
    return said.partition("run ")[2].partition(":")[0]


def make(folder: Path, families: Sequence[str], placed: Mapping[str, tuple[int, ...]]) -> Made:
    """Save, capture, measure and project a model of each family and placement."""
    every = folder / "every"
    tables = f"folder:{write_folder(folder / 'things')}" if {*families} & {*OF_A_FOLDER} else ""
    runs = {}
    for module in families:
        model = save_tiny(folder / f"tiny-{module.replace('_', '-')}", module)
        runs[module] = capture(every, model, tables if module in OF_A_FOLDER else MACROS)
    for name, layers in placed.items():
        model = tiny_checkpoint(folder / f"ours-{name}", layers, layers)
        runs[name] = capture(every, model, MACROS)
    if PROBED in families:
        command("measure", "--store", every, "--run", runs[PROBED], "--pooling", "mean")
    store = Store(every)
    tasks = [task for task in missing_in_store(store) if task.part in MEASURED]
    perform_all(store, tasks, workers=1)
    command("project", "--store", every, "--method", "pca")
    released = folder / "released"
    shutil.copytree(
        every, released, ignore=lambda _, names: {*names} & {runs[name] for name in placed}
    )
    return Made(every, released, runs)


def write_folder(folder: Path) -> Path:
    """A dataset of the layout ``folder``: pictures with regions and recordings."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    source = Macros(1, 1, N)
    rows = []
    for at, record in enumerate(source.records("test")):
        names = {"image": f"{at}.png", "regions": f"{at}.npz", "audio": f"{at}.wav"}
        image = source.image(record)
        image.save(folder / names["image"])
        corners = np.sort(rng.uniform(0, 1, (3 + at % 3, 2, 2)), axis=1).reshape(-1, 4)
        np.savez(
            folder / names["regions"],
            features=rng.normal(size=(len(corners), 12)),
            boxes=corners * [*image.size, *image.size],
        )
        t = np.arange(int(8000 * (0.3 + 0.02 * at))) / 8000
        wave = 0.5 * np.sin(2 * np.pi * (200 + 40 * at + 400 * t) * t)
        wavfile.write(folder / names["audio"], 8000, wave.astype(np.float32))
        rows.append({"id": f"thing-{at}", "text": record.text, **names})
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return folder
