"""Outputs of frozen layers: read from disk they train the same model as computed anew."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from backend.data.registry import open_source
from backend.errors import InputError
from backend.train import loop
from backend.train.frozen import cacheable_layers
from backend.train.loop import train_seed
from backend.train.options import GIB, CacheOptions
from backend.train.recipe import TrainPlan
from tests.tiny import tiny_batch, tiny_model
from tests.train.test_training import PLAN, source
from tests.watch import Watch

FROZEN = replace(PLAN, placement="late", freeze="text=3;vision=2", dropout=0.0, epochs=2)
OFF = CacheOptions("off")


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "training.json").read_text())["history"]
    return [row["loss"] for row in history]


def scores(folder: Path) -> list[float]:
    return [row["value"] for row in json.loads((folder / "scores.json").read_text())]


def assert_same(a: Path, b: Path, tolerance: float = 1e-6) -> None:
    assert losses(a) == pytest.approx(losses(b), abs=tolerance)
    assert scores(a) == pytest.approx(scores(b), abs=tolerance)
    left, right = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    assert left.keys() == right.keys()
    for name, values in left.items():
        # A bias of attention keys has no gradient but rounding, which AdamW makes steps of.
        if ".key.bias" not in name and "qkv.bias" not in name:
            torch.testing.assert_close(values, right[name], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_seed(FROZEN, source(), 0, tmp_path_factory.mktemp("plain"), cache=OFF)


def test_training_from_the_cache_gives_the_same_weights_losses_and_scores(
    plain: Path, tmp_path: Path
) -> None:
    """From a scratch directory that goes with the training."""
    assert_same(plain, train_seed(FROZEN, source(), 0, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["seed-0"]


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.1},
        {"placement": "none", "freeze": "encoders"},
        {"placement": "text=2,4;vision=3,4"},
    ],
    ids=["dropout", "no fusion", "a fusion below the last frozen block"],
)
def test_it_does_so_with_dropout_and_for_other_placements(
    changes: dict[str, object], tmp_path: Path
) -> None:
    plan = replace(FROZEN, **changes)  # type: ignore[arg-type]
    assert_same(
        train_seed(plan, source(), 0, tmp_path / "a", cache=OFF),
        train_seed(plan, source(), 0, tmp_path / "b"),
    )


def test_frozen_layers_are_not_run_by_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    steps = Watch()
    real = loop.build

    def watched(plan: TrainPlan, *args: object) -> object:
        model, preprocessor = real(plan, *args)  # type: ignore[arg-type]
        modules = [*list(model.text.blocks)[:3], *list(model.vision.blocks)[:2]]
        for module in modules:
            part = next(module.children())  # the block itself is called, and hands on what is kept
            part.register_forward_hook(lambda *_: ran.append(len(steps.told)))
        return model, preprocessor

    monkeypatch.setattr(loop, "build", watched)
    train_seed(FROZEN, source(), 0, tmp_path, steps)
    during = [at for at in ran if 0 < at < len(steps.told)]
    assert not during
    assert 0 in ran  # computed once before


def test_what_is_frozen_stays_in_evaluation_mode() -> None:
    model = tiny_model((3,), (3,))
    model.freeze(text=2, vision=1)
    model.train()
    frozen = [*model.text.lower_modules(2), *model.vision.lower_modules(1)]
    assert {*model.text.blocks[:2], model.vision.blocks[0]} < {*frozen}
    assert not any(m.training for part in frozen for m in part.modules())
    assert model.text.blocks[2].training
    assert model.vision.blocks[1].training
    assert model.co_attention[0].training
    assert not model.vision.model.pos_drop.training


def test_a_known_layer_gives_the_same_logits_whatever_lies_in_the_padding() -> None:
    model, batch = tiny_model((3,), (4,)), tiny_batch()
    with torch.no_grad():
        whole = model(**batch)
        words = {name: batch[name] for name in ("input_ids", "attention_mask")}
        text = model.text.lower(2, words)
        text[batch["attention_mask"] == 0] = 7.0
        vision = model.vision.lower(3, {"pixel_values": batch["pixel_values"]})
        batch["pixel_values"] = torch.empty(0)
        with model.text.resumed(2, text), model.vision.resumed(3, vision):
            upper = model(**batch)
    for name, values in whole.logits.items():
        torch.testing.assert_close(upper.logits[name], values)


@pytest.mark.parametrize(
    ("text", "vision", "freeze", "lowest", "layers"),
    [
        ((3,), (4,), (2, 3), {}, {"text": 2, "vision": 3}),
        ((2,), (4,), (4, 1), {}, {"text": 1, "vision": 1}),
        ((1,), (4,), (4, 0), {}, {}),
        ((), (), (4, 4), {}, {"text": 4, "vision": 4}),
        ((4,), (4,), (3, -1), {}, {"text": 3}),
        ((4,), (4,), (3, 3), {"text": 1, "vision": 9}, {"text": 1, "vision": 3}),
    ],
)
def test_the_cached_layer_is_frozen_and_below_the_first_fusion(
    text: tuple[int, ...],
    vision: tuple[int, ...],
    freeze: tuple[int, int],
    lowest: dict[str, int],
    layers: dict[str, int],
) -> None:
    model = tiny_model(text, vision)
    model.freeze(*freeze)
    assert cacheable_layers(model, lowest) == layers


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    yield tmp_path / "shared", []


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.npy")}


def test_the_size_is_said_and_another_training_reuses_the_files(
    plain: Path, shared: tuple[Path, list[str]], tmp_path: Path
) -> None:
    folder, said = shared
    cache = CacheOptions(cache_dir=folder, say=said.append)
    assert_same(plain, train_seed(FROZEN, source(), 0, tmp_path / "a", cache=cache))
    assert len(said) == 4  # two streams of two splits
    assert "keeping the frozen text layer 3 of 64 samples: 0.00 GiB of float32 in" in said[0]
    made = files(folder)
    assert len(made) == 4
    # The same placement with another rate, and one whose frozen part below the fusion is the same.
    short = replace(FROZEN, epochs=1)
    train_seed(replace(short, learning_rate=1e-4), source(), 0, tmp_path / "b", cache=cache)
    train_seed(replace(short, placement="none"), source(), 0, tmp_path / "c", cache=cache)
    assert (len(said), files(folder)) == (4, made)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of one training, in a folder that others share."""
    folder = tmp_path_factory.mktemp("made")
    cache = CacheOptions(cache_dir=folder / "shared")
    train_seed(replace(FROZEN, epochs=1), source(), 0, folder / "out", cache=cache)
    return folder / "shared"


@pytest.mark.parametrize(
    ("changes", "seed", "new"),
    [
        ({"max_text_length": 4}, 0, 1),
        ({"image_size": 32}, 0, 1),
        ({"data": "macros:n=64,dev=32,test=32,seed=9"}, 0, 4),
        ({"freeze": "text=2;vision=1"}, 0, 4),
        ({}, 1, 4),  # small encoders of another seed have other weights
    ],
)
def test_whatever_changes_the_values_makes_other_files(
    changes: dict[str, object], seed: int, new: int, made: Path, tmp_path: Path
) -> None:
    before = files(made)
    other = replace(FROZEN, epochs=1, **changes)  # type: ignore[arg-type]
    cache = CacheOptions(cache_dir=made)
    train_seed(other, open_source(other.data), seed, tmp_path, cache=cache)
    assert len(files(made) - before) >= new


def test_a_damaged_file_is_computed_again(
    plain: Path, shared: tuple[Path, list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = shared
    cache = CacheOptions(cache_dir=folder)
    train_seed(replace(FROZEN, epochs=1), source(), 0, tmp_path / "a", cache=cache)
    victim = sorted(folder.glob("*.npy"))[0]
    os.truncate(victim, victim.stat().st_size // 2)
    assert_same(plain, train_seed(FROZEN, source(), 0, tmp_path / "b", cache=cache))
    assert "damaged" in caplog.text


def test_what_exceeds_the_limit_is_not_kept_and_said_so(plain: Path, tmp_path: Path) -> None:
    said: list[str] = []
    cache = CacheOptions(cache_dir=tmp_path / "shared", cache_gib=1000 / GIB, say=said.append)
    assert_same(plain, train_seed(FROZEN, source(), 0, tmp_path / "a", cache=cache))
    assert not files(tmp_path / "shared")
    assert all(line.startswith("not keeping the frozen") for line in said)
    assert "computed in every step instead" in said[0]


def test_files_unused_for_longest_make_room(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    old = folder / "text-3-old.npy"
    np.save(old, np.zeros(200_000, dtype=np.float32))
    os.utime(old, (1, 1))
    cache = CacheOptions(cache_dir=folder, cache_gib=1 / 2000)
    train_seed(replace(FROZEN, epochs=1), source(), 0, tmp_path / "a", cache=cache)
    assert not old.exists()
    assert files(folder)


def test_half_precision_is_close(plain: Path, tmp_path: Path) -> None:
    half = train_seed(FROZEN, source(), 0, tmp_path, cache=CacheOptions("float16"))
    assert losses(half) == pytest.approx(losses(plain), abs=1e-3)
    assert losses(half) != losses(plain)


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backend.train.frozen.os.fsync", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left") as caught:
        train_seed(FROZEN, source(), 0, tmp_path)
    assert "`frozen_cache` off" in str(caught.value)


@pytest.mark.parametrize("dtype", ["float64", ""])
def test_an_unknown_type_is_refused(dtype: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"frozen_cache: .* is not one of auto, off"):
        train_seed(FROZEN, source(), 0, tmp_path, cache=CacheOptions(dtype))
