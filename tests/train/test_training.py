"""Training: repeatable, resumable, and clear about what it cannot do. Real, tiny, on the macros."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from backend.data.base import PairSource
from backend.data.registry import open_source
from backend.errors import InputError
from backend.models.registry import open_model
from backend.train.build import build
from backend.train.loop import train_seed
from backend.train.plan import chosen_tasks
from backend.train.predictions import read_predictions
from backend.train.recipe import TrainPlan
from backend.types import Record
from tests.watch import Watch

PLAN = TrainPlan(
    data="macros:n=64,dev=32,test=32",
    placement="late",
    text_encoder="small:depth=4,width=16,heads=2",
    vision_encoder="small:depth=4,width=16,heads=2,patch=16",
    epochs=3,
    batch_size=16,
    patience=9,
    device="cpu",
)


def source() -> PairSource:
    return open_source(PLAN.data)


def weights(folder: Path) -> dict[str, object]:
    return load_file(folder / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    left, right = weights(a), weights(b)
    return left.keys() == right.keys() and all((left[k] == right[k]).all() for k in left)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_seed(PLAN, source(), 0, tmp_path_factory.mktemp("out"))


def test_a_checkpoint_is_a_directory_that_capture_can_load(trained: Path) -> None:
    adapter = open_model(str(trained))
    assert adapter.seed == 0
    assert adapter.placement is not None
    assert (adapter.placement.name, adapter.placement.text) == ("late", (4,))
    assert adapter.name == "bert-4x16 + vit-4x16"
    assert adapter.trained_on == "macros"
    assert [t.name for t in adapter.tasks] == ["irony", "topics", "object"]


def test_scores_are_those_that_each_task_asks_for(trained: Path) -> None:
    scores = json.loads((trained / "scores.json").read_text())
    assert {(s["task"], s["metric"]) for s in scores if s["split"] == "test"} == {
        ("irony", "auroc"),
        ("irony", "macro_f1"),
        ("irony", "accuracy"),
        ("topics", "auroc"),
        ("topics", "macro_f1"),
        ("object", "accuracy"),
        ("object", "macro_f1"),
    }
    assert {s["split"] for s in scores} == {"dev", "test"}


def test_the_predictions_are_those_that_the_scores_are_of(trained: Path) -> None:
    rows = read_predictions(trained)
    assert rows is not None and set(rows["split"]) == {"test"}
    given = {
        (s["task"], s["metric"]): s["value"]
        for s in json.loads((trained / "scores.json").read_text())
        if s["split"] == "test"
    }
    by = {
        task: (
            part.pivot(index="sample_id", columns="class", values="probability"),
            part.pivot(index="sample_id", columns="class", values="target"),
        )
        for task, part in rows.groupby("task")
    }
    tasks = {task.name: task for task in source().tasks.values()}
    probability, target = (table[list(tasks["irony"].classes)] for table in by["irony"])
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    assert (target.sum(axis=1) == 1).all()
    ironic = target.iloc[:, 1]
    assert roc_auc_score(ironic, probability.iloc[:, 1]) == pytest.approx(given["irony", "auroc"])
    assert given["irony", "accuracy"] == pytest.approx(
        (ironic == (probability.iloc[:, 1] > 0.5)).mean()
    )
    probability, target = by["object"]
    right = probability.to_numpy().argmax(axis=1) == target.to_numpy().argmax(axis=1)
    assert right.mean() == pytest.approx(given["object", "accuracy"])
    probability, target = by["topics"]
    assert roc_auc_score(target, probability) == pytest.approx(given["topics", "auroc"])


def test_another_seed_gives_other_weights(trained: Path, tmp_path: Path) -> None:
    assert not same(trained, train_seed(PLAN, source(), 1, tmp_path))


def test_the_same_seed_gives_the_same_weights_also_where_the_training_was_killed(
    trained: Path, tmp_path: Path
) -> None:
    in_epoch_2 = Watch(lambda done, *_: done == 4 + 3)  # of four batches an epoch
    with pytest.raises(KeyboardInterrupt):
        train_seed(PLAN, source(), 0, tmp_path, in_epoch_2)
    assert not (tmp_path / "seed-0").exists()
    rest = Watch()
    again = train_seed(PLAN, source(), 0, tmp_path, rest)
    assert [(done, total) for done, total, _ in rest.told] == [(n, 12) for n in range(5, 13)]
    assert re.fullmatch(r"epoch 2/3, loss \d\.\d{3}, best dev 0\.\d{3}", rest.told[0][2])
    assert same(trained, again)
    assert [p.name for p in tmp_path.iterdir()] == ["seed-0"]


@pytest.mark.parametrize(
    ("writer", "error"),
    [
        ("backend.train.state.torch.save", RuntimeError("failed: No space left on device (28)")),
        ("backend.train.state.os.fsync", OSError(28, "No space left on device")),
        ("backend.train.loop._Training.save_model", OSError(122, "Disk quota exceeded")),
        ("backend.train.loop.write_json", OSError(28, "No space left on device")),
        ("backend.train.engine.Path.mkdir", OSError(28, "No space left on device")),
    ],
)
def test_a_full_disk_is_one_line_and_the_training_goes_on_after_the_last_epoch(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, error: Exception
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    def after_epoch_1(done: float, *_: object) -> bool:
        if done == 5:
            monkeypatch.setattr(writer, full)
        return False

    out = tmp_path / "out"
    if "mkdir" in writer:
        monkeypatch.setattr(writer, full)
    with pytest.raises(InputError, match=r"the disk is full.*Make room and give") as caught:
        train_seed(PLAN, source(), 0, out, Watch(after_epoch_1))
    assert str(caught.value).startswith(str(out)) and "\n" not in str(caught.value)
    monkeypatch.undo()
    assert not list(out.glob(".seed-0.partial/.*.tmp"))
    rest = Watch()
    assert same(trained, train_seed(PLAN, source(), 0, out, rest))
    assert not rest.told or rest.told[0][0] == (5 if "state" in writer else 1)
    assert [p.name for p in out.iterdir()] == ["seed-0"]


def test_a_finished_checkpoint_is_kept_and_one_of_another_plan_is_not_overwritten(
    trained: Path,
) -> None:
    before = (trained / "model.safetensors").stat().st_mtime_ns
    assert train_seed(PLAN, source(), 0, trained.parent) == trained
    assert (trained / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="already exists, from other options"):
        train_seed(replace(PLAN, epochs=4), source(), 0, trained.parent)


def test_training_stops_when_dev_no_longer_improves(tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=12, patience=2, learning_rate=0.0)
    folder = train_seed(plan, source(), 0, tmp_path)
    assert len(json.loads((folder / "training.json").read_text())["history"]) == 3


def test_one_task_can_be_chosen(tmp_path: Path) -> None:
    plan = replace(PLAN, tasks=("object",), epochs=1, placement="none")
    adapter = open_model(str(train_seed(plan, source(), 0, tmp_path)))
    assert [t.name for t in adapter.tasks] == ["object"]


def test_frozen_layers_do_not_move(tmp_path: Path) -> None:
    plan = replace(PLAN, freeze="text=2;vision=0", epochs=1)
    moved = weights(train_seed(plan, source(), 0, tmp_path))
    model, _ = build(plan, source(), chosen_tasks(plan, source()), 0)
    fresh = {name: values for name, values in model.state_dict().items() if name in moved}
    assert fresh.keys() == moved.keys()
    changed = {name for name in moved if (moved[name] != fresh[name]).any()}
    assert not any(".embeddings." in n or ".encoder.layer.0." in n for n in changed)
    assert not any("patch_embed" in n or "pos_embed" in n for n in changed)
    assert any(".encoder.layer.3." in n for n in changed)
    assert any("vision.model.blocks.0." in n for n in changed)


def test_a_checkpoint_saved_in_half_precision_is_the_same_model_rounded(
    trained: Path, tmp_path: Path
) -> None:
    half = train_seed(replace(PLAN, saved_precision="float16"), source(), 0, tmp_path)
    whole, rounded = weights(trained), weights(half)
    assert whole.keys() == rounded.keys()
    for name, values in rounded.items():
        assert values.dtype == torch.float16
        assert (values == whole[name].half()).all(), name
    assert {p.dtype for p in open_model(str(half)).module.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"placement": "sooner"}, "placement: 'sooner': no placement is called so"),
        ({"placement": "text=5;vision=4"}, "fusion layer 5 is outside the text encoder"),
        ({"tasks": ("humour",)}, "tasks: no task 'humour'. It has: irony, topics, object"),
        ({"freeze": "text=9"}, "freeze: .* does not name a layer"),
        ({"epochs": 0}, "epochs: 0 is less than 1"),
        ({"dropout": 1.0}, "dropout: 1.0 is not less than 1"),
        ({"learning_rate": float("nan")}, "learning_rate: nan is less than 0"),
        ({"class_weights": "some"}, "class_weights: 'some' is not one of balanced, none"),
        ({"precision": "fp8"}, "precision: 'fp8' is not one of auto, no"),
        ({"saved_precision": "int8"}, "saved_precision: 'int8' is not one of float32, float16"),
        ({"device": "tpu"}, "no such device"),
        ({"text_encoder": "small:depth=x"}, "text_encoder: .*'depth=x' is not one of"),
        ({"vision_encoder": "small:width=15,heads=2"}, "not a multiple of 2 heads"),
        ({"image_size": 50}, "image_size: image size 50 is not a multiple of the patch size 16"),
        ({"text_encoder": "no/such-directory-or-model"}, "the hub cannot be reached"),
        ({"vision_encoder": "resnet18"}, "not a Vision Transformer"),
        ({"vision_encoder": "vit_huge_patch99"}, "timm has no model"),
        ({"vision_encoder": "vit_tiny_patch16_224:gone.safetensors"}, "no such file"),
        ({"vision_encoder": "vit_tiny_patch16_224:w.pt"}, "no such file|safetensors files only"),
    ],
)
def test_an_impossible_plan_is_one_line_and_leaves_no_checkpoint(
    tmp_path: Path, changes: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://localhost:9")
    with pytest.raises(InputError, match=said) as caught:
        train_seed(replace(PLAN, **changes), source(), 0, tmp_path)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "seed-0").exists()


def test_the_command_of_a_plan_names_what_differs_from_the_defaults() -> None:
    plan = TrainPlan(data="macros", placement="text=7,8;vision=4,6", tasks=("irony",), epochs=3)
    assert plan.command(1) == (
        "fusionscope train --data macros --placement 'text=7,8;vision=4,6' --epochs 3 "
        "--task irony --seeds 1"
    )


def test_new_options_at_their_default_keep_old_digests() -> None:
    assert PLAN.digest() == replace(PLAN, device="auto").digest()
    assert PLAN.digest() != replace(PLAN, epochs=4).digest()


def folder_of_pictures(root: Path, n: int = 30) -> PairSource:
    """Every third of them train, dev and test."""
    (root / "img").mkdir(parents=True)
    rows = ["id,image,text,split,label"]
    for i in range(n):
        Image.new("RGB", (48, 48), (8 * i, 20, 90)).save(root / "img" / f"{i}.png")
        split = ("train", "dev", "test")[i % 3]
        rows.append(f"{i},img/{i}.png,word {i},{split},{i // 3 % 2}")
    (root / "captions.csv").write_text("\n".join(rows))
    return open_source(f"folder:{root}")


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_data_that_vanish_while_they_are_read_are_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    pictures = folder_of_pictures(tmp_path / "data")
    decode = pictures.image

    def then_gone(record: Record) -> Image.Image:
        image = decode(record)
        if record.split == split and int(record.sample_id) > 9 and (tmp_path / "data/img").exists():
            (tmp_path / "data/img").rename(tmp_path / "away")
        return image

    monkeypatch.setattr(pictures, "image", then_gone)
    plan = replace(PLAN, data=f"folder:{tmp_path / 'data'}", epochs=1)
    said = rf"data data: vanished while it was read: of \d samples of split '{split}' 0 are left"
    with pytest.raises(InputError, match=said):
        train_seed(plan, pictures, 0, tmp_path / "out")
    assert not (tmp_path / "out/seed-0").exists()


def test_a_picture_that_cannot_be_read_is_no_vanished_dataset(tmp_path: Path) -> None:
    pictures = folder_of_pictures(tmp_path / "data")
    (tmp_path / "data/img/3.png").write_bytes(b"no picture")
    plan = replace(PLAN, data=f"folder:{tmp_path / 'data'}", epochs=1)
    assert train_seed(plan, pictures, 0, tmp_path / "out").is_dir()


def test_an_unfinished_training_on_other_samples_is_not_taken_up(
    tmp_path: Path, trained: Path
) -> None:
    """Such as on those that could be read before a disk was unplugged."""
    other = open_source("macros:n=64,dev=32,test=32,seed=1")
    with pytest.raises(KeyboardInterrupt):
        train_seed(PLAN, other, 0, tmp_path, Watch(lambda done, *_: done == 5))
    assert (tmp_path / ".seed-0.partial/state.pt").is_file()
    assert same(train_seed(PLAN, source(), 0, tmp_path), trained)


def test_batches_that_are_accumulated_make_the_steps_of_one_large_batch(tmp_path: Path) -> None:
    """Without dropout the gradient of a mean does not depend on how its samples are cut up."""
    plan = replace(PLAN, placement="none", epochs=1, dropout=0.0, head={"dropout": 0.0})
    plan = replace(plan, class_weights="none", tasks=("object",))
    large = weights(train_seed(replace(plan, batch_size=32), source(), 0, tmp_path / "large"))
    cut = replace(plan, batch_size=8, accumulate=4)
    steps = Watch()
    small = weights(train_seed(cut, source(), 0, tmp_path / "small", steps))
    assert [done for done, _, _ in steps.told] == list(range(1, 9))
    assert all(torch.allclose(small[name], large[name], atol=2e-4) for name in large)
    other = weights(train_seed(replace(cut, accumulate=1), source(), 0, tmp_path / "other"))
    assert not all(torch.allclose(other[name], large[name], atol=2e-4) for name in large)


def test_the_last_step_of_an_epoch_may_be_of_fewer_batches(tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=1, batch_size=24, accumulate=2)  # 64 samples: 24 + 24, 16

    told: list[tuple[int, ...]] = []

    class Told:
        def begin(self, *_: object) -> None: ...

        def stepped(self, *step: int) -> None:
            told.append(step)

        def evaluated(self, *_: object) -> None: ...

        def finish(self, _: Path) -> None: ...

    train_seed(plan, source(), 0, tmp_path, observer=Told())
    assert told == [(1, 1, 2), (1, 2, 2)]


def test_what_a_training_killed_at_its_very_end_left_is_removed(tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=1)
    made = train_seed(plan, source(), 0, tmp_path)
    left = tmp_path / ".seed-0.partial"
    left.mkdir()
    (left / "state.pt").write_bytes(b"of no use any more")
    assert train_seed(plan, source(), 0, tmp_path) == made
    assert [path.name for path in tmp_path.iterdir()] == ["seed-0"]
