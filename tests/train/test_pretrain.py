"""Pretraining: resumable, a checkpoint without heads, and a start for training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from backend.cli import main
from backend.data.registry import open_source
from backend.errors import InputError
from backend.jobs.capture import CaptureRequest, open_request
from backend.models.registry import open_model
from backend.train.compute import Compute
from backend.train.loop import train_seed
from backend.train.pretrain import pretrain_seed
from backend.train.recipe import PretrainPlan, TrainPlan, starting_from
from tests.watch import Watch

DATA = "macros:n=64,dev=32,test=32"
PLAN = PretrainPlan(
    data=DATA,
    placement="late",
    text_encoder="small:depth=4,width=16,heads=2",
    vision_encoder="small:depth=4,width=16,heads=2,patch=16",
    epochs=3,
    batch_size=16,
    device="cpu",
)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrain_seed(PLAN, open_source(DATA), 0, tmp_path_factory.mktemp("pre"))


def plan(pretrained: Path, /, **changes: object) -> TrainPlan:
    start = TrainPlan(
        data=DATA, placement="late", epochs=1, batch_size=16, pretrained=str(pretrained)
    )
    return replace(start, device="cpu", **changes)  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_the_checkpoint_is_a_fusion_model_without_heads_that_can_be_captured(
    pretrained: Path, tmp_path: Path
) -> None:
    adapter = open_model(str(pretrained))
    assert adapter.tasks == () and adapter.seed == 0
    assert adapter.placement is not None and adapter.placement.name == "late"
    assert not any("heads" in name or "word_bias" in name for name in weights(pretrained))
    request = CaptureRequest(model=str(pretrained), data=DATA, store=str(tmp_path))
    assert open_request(request).expected == 32


def test_the_history_has_every_objective_on_train_and_dev(pretrained: Path) -> None:
    content = json.loads((pretrained / "pretraining.json").read_text())
    assert content["command"].startswith("fusionscope pretrain --data macros")
    assert [row["epoch"] for row in content["history"]] == [1, 2, 3]
    for row in content["history"]:
        assert row["loss"] == pytest.approx(row["mlm"] + row["alignment"] + row["image"], rel=1e-4)
        assert [one["objective"] for one in row["dev"]] == ["mlm", "alignment", "image"]
        assert all(0 <= one["accuracy"] <= 1 and one["n"] > 0 for one in row["dev"])
    dev_n = [[one["n"] for one in row["dev"]] for row in content["history"]]
    assert dev_n[0] == dev_n[1] == dev_n[2]  # the same words and patches are hidden each time


def test_a_killed_pretraining_goes_on_to_the_same_weights(pretrained: Path, tmp_path: Path) -> None:
    in_epoch_2 = Watch(lambda done, *_: done == 4 + 2)  # of four batches an epoch
    with pytest.raises(KeyboardInterrupt):
        pretrain_seed(PLAN, open_source(DATA), 0, tmp_path, in_epoch_2)
    assert in_epoch_2.told[-1][2].startswith("epoch 2/3, loss ")  # and no score of dev
    again = weights(pretrain_seed(PLAN, open_source(DATA), 0, tmp_path))
    whole = weights(pretrained)
    assert all((again[name] == whole[name]).all() for name in whole)


def test_training_starts_from_its_weights_with_fresh_heads_of_the_seed(
    pretrained: Path, tmp_path: Path
) -> None:
    still = plan(pretrained, learning_rate=0.0)
    first = train_seed(still, open_source(DATA), 0, tmp_path)
    other = train_seed(still, open_source(DATA), 1, tmp_path)
    start, one, two = weights(pretrained), weights(first), weights(other)
    assert all((start[name] == one[name]).all() for name in start)
    heads = [name for name in one if name not in start]
    assert heads and all(name.startswith("heads.") for name in heads)
    assert any((one[name] != two[name]).any() for name in heads)
    config = json.loads((first / "config.json").read_text())["trained_on"]
    assert config["pretrained_on"] == "macros" and len(config["pretrained_digest"]) == 16
    assert open_model(str(first)).name == "bert-4x16 + vit-4x16"


def test_a_finished_training_from_other_weights_is_not_taken_for_this_one(
    pretrained: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "pre"
    moved.mkdir()
    for file in pretrained.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    train_seed(plan(moved), open_source(DATA), 0, tmp_path / "out")
    other = pretrain_seed(replace(PLAN, epochs=1), open_source(DATA), 0, tmp_path / "other")
    (moved / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match="already exists, from other options"):
        train_seed(plan(moved), open_source(DATA), 0, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"placement": "early"}, "has placement late, not early"),
        ({"image_size": 48}, "image_size: is the checkpoint's own"),
        ({"text_encoder": "elsewhere"}, "text_encoder: is the checkpoint's own"),
        ({"pretrained": "/nowhere"}, "pretrained: /nowhere is not a checkpoint"),
    ],
)
def test_what_cannot_start_from_it_is_one_line(
    pretrained: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train_seed(plan(pretrained, **changes), open_source(DATA), 0, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objectives": ("mlm", "colour")},
            "objectives: 'colour' is not one of mlm, alignment",
        ),
        ({"objectives": ()}, "there must be at least one"),
        ({"objectives": ("mlm", "mlm")}, "objectives: 'mlm' is given twice"),
        ({"text_mask": 1.5}, "text_mask: 1.5 is not less than 1"),
        ({"image_mask": 0.0}, "image_mask: 0.0 is not more than 0"),
        ({"batch_size": 1}, "needs at least 2 samples"),
    ],
)
def test_a_pretraining_that_cannot_be_is_one_line(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        pretrain_seed(replace(PLAN, **changes), open_source(DATA), 0, tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_the_rate_is_that_of_the_checkpoints_encoders(pretrained: Path, tmp_path: Path) -> None:
    assert plan(pretrained).rate == 1e-3  # small encoders, from scratch
    config = json.loads((pretrained / "config.json").read_text())
    del config["trained_on"]["from_scratch"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert plan(tmp_path).rate == 4e-5
    trained = TrainPlan(data=DATA, placement="late", text_encoder="minilm", vision_encoder="vit")
    assert starting_from(trained, str(pretrained)).rate == 4e-5
    assert plan(tmp_path, learning_rate=0.5).rate == 0.5


def test_a_pretraining_is_not_taken_for_a_training_of_the_same_options(tmp_path: Path) -> None:
    options = {"data": DATA, "placement": "late", "epochs": 1, "batch_size": 32, "device": "cpu"}
    small = {"text_encoder": PLAN.text_encoder, "vision_encoder": PLAN.vision_encoder}
    pretrain_seed(PretrainPlan(**options, **small), open_source(DATA), 0, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="already exists, from other options"):
        train_seed(TrainPlan(**options, **small), open_source(DATA), 0, tmp_path)  # type: ignore[arg-type]


def test_what_a_training_started_from_may_lie_elsewhere_later(
    pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = train_seed(plan(pretrained), open_source(DATA), 0, tmp_path)
    monkeypatch.chdir(pretrained.parent)
    assert train_seed(plan(Path("seed-0")), open_source(DATA), 0, tmp_path) == done
    with pytest.raises(InputError, match="is not a checkpoint"):  # not: of other options
        train_seed(plan(tmp_path / "gone"), open_source(DATA), 0, tmp_path)


def test_another_kind_of_checkpoint_is_refused(tmp_path: Path) -> None:
    BertModel(
        BertConfig(hidden_size=8, num_attention_heads=2, intermediate_size=8)
    ).save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match="bert"):
        train_seed(plan(tmp_path / "bert", placement="none"), open_source(DATA), 0, tmp_path)


def test_one_process_may_train_in_another_precision_than_it_pretrained_in(
    pretrained: Path, tmp_path: Path
) -> None:
    train_seed(plan(pretrained, precision="bf16"), open_source(DATA), 0, tmp_path)
    again = replace(PLAN, epochs=1, precision="bf16", accumulate=3)
    folder = pretrain_seed(again, open_source(DATA), 0, tmp_path / "bf16")
    assert all(torch.isfinite(one).all() for one in weights(folder).values())


@pytest.mark.parametrize(
    ("precision", "native", "told"),
    [("bf16", False, True), ("bf16", True, False), ("auto", False, False), ("no", False, False)],
)
def test_a_processor_that_only_imitates_bfloat16_is_told_of(
    precision: str,
    native: bool,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("backend.train.compute._has_bfloat16", lambda: native)
    Compute(torch.device("cpu"), precision)
    assert ("no bfloat16 arithmetic" in caplog.text) == told


def test_data_without_labels_and_without_dev_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    (tmp_path / "img").mkdir()
    rows = []
    for at in range(6):
        Image.new("RGB", (8, 8), (40 * at, 0, 0)).save(tmp_path / "img" / f"{at}.png")
        rows.append({"id": at, "img": f"img/{at}.png", "text": f"shade {at} of red"})
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    data = f"hateful_memes:{tmp_path}"
    words = ["fusionscope", "pretrain", "--data", data, "--placement", "none"]
    words += ["--text-encoder", PLAN.text_encoder, "--vision-encoder", PLAN.vision_encoder]
    words += ["--epochs", "1", "--objectives", "mlm,image", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    assert "seed-0: loss" in capsys.readouterr().out.replace("\n", "")
