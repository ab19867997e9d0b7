"""The dev scores of every epoch go from the checkpoint's record into the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.capture.options import CaptureOptions
from backend.errors import InputError
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.store import Store
from backend.store.kinds import TRAINING_SCORES
from backend.train.epochs import read_training_scores
from tests.tiny import tiny_checkpoint


def record(folder: Path, values: list[float], kept: int, **more: object) -> Path:
    """A training.json of one task with one metric."""
    history = [
        {
            "epoch": at,
            "loss": 1 / at,
            "dev": [{"task": "irony", "metric": "auroc", "split": "dev", "value": value}],
        }
        for at, value in enumerate(values, start=1)
    ]
    folder.mkdir(exist_ok=True)
    content = {"best_epoch": kept, "history": history, "command": "fusionscope train", **more}
    (folder / "training.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_record_is_read_as_rows_and_one_epoch_is_the_kept_one(tmp_path: Path) -> None:
    rows = read_training_scores(record(tmp_path, [0.5, 0.9, 0.8], kept=2))
    assert rows is not None
    assert list(rows.columns) == TRAINING_SCORES.schema.names
    assert rows["epoch"].tolist() == [1, 2, 3]
    assert rows["value"].tolist() == [0.5, 0.9, 0.8]
    assert rows["kept"].tolist() == [False, True, False]
    assert rows["split"].eq("dev").all()


def test_no_record_and_one_without_scores_say_nothing(tmp_path: Path) -> None:
    assert read_training_scores(tmp_path) is None
    (tmp_path / "training.json").write_text(
        json.dumps({"best_epoch": 1, "history": [{"epoch": 1, "loss": 2.0}]}), encoding="utf-8"
    )
    assert read_training_scores(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"best_epoch": 1}', '{"best_epoch": 1, "history": 3}']
)
def test_a_broken_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "training.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"training\.json is broken"):
        read_training_scores(tmp_path)


def test_a_capture_keeps_them_with_the_run(tmp_path: Path) -> None:
    checkpoint = record(tiny_checkpoint(tmp_path / "model"), [0.5, 0.7], kept=2)
    request = CaptureRequest(
        model=str(checkpoint),
        data="macros",
        store=str(tmp_path / "store"),
        run_id="run",
        options=CaptureOptions(limit=8, device="cpu"),
    )
    run_capture(request, open_request(request))
    rows = Store(tmp_path / "store").run("run").table(TRAINING_SCORES).to_pylist()
    assert [(row["epoch"], row["value"], row["kept"]) for row in rows] == [
        (1, 0.5, False),
        (2, 0.7, True),
    ]


@pytest.mark.parametrize(
    ("epochs", "kept", "said"),
    [
        ([1, 3], [False, True], "does not count from 1"),
        ([0, 1], [False, True], "outside 1..100000"),
        ([1, 2], [False, False], "does not mark one epoch"),
        ([1, 2], [True, True], "does not mark one epoch"),
        ([1, 2, 2], [False, True, False], "does not mark one epoch"),
    ],
)
def test_rows_that_no_training_has_are_refused(
    epochs: list[int], kept: list[bool], said: str
) -> None:
    n = len(epochs)
    columns = {"task": ["a"] * n, "metric": ["b"] * n, "split": ["dev"] * n, "value": [0.5] * n}
    table = TRAINING_SCORES.schema.empty_table().from_pydict(
        {"epoch": epochs, **columns, "kept": kept}, schema=TRAINING_SCORES.schema
    )
    with pytest.raises(ValueError, match=said):
        TRAINING_SCORES.check(table)
