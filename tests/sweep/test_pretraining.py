"""A sweep that pretrains: once a placement, shared by its cells, with the encoders of [train]."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backend.errors import InputError
from backend.store import Store
from backend.sweep.making import run_cell
from backend.sweep.study import read_study
from tests.watch import Watch

STUDY = """\
store = "{folder}/store"
placements = ["none", "late"]
seeds = [0, 1]
measure = []
project = []

[[datasets]]
data = "macros:n=32,dev=16,test=16"

[pretrain]
data = "macros:n=48,dev=16,test=16"
epochs = 1
objectives = ["mlm", "alignment"]

[train]
text_encoder = "small:depth=4,width=16,heads=2"
vision_encoder = "small:depth=4,width=16,heads=2,patch=16"
epochs = 1
batch_size = 16
"""


def write(folder: Path, text: str = STUDY) -> Path:
    path = folder / "study.toml"
    path.write_text(text.replace("{folder}", str(folder)))
    return path


def test_every_placement_is_pretrained_once_and_its_cells_start_from_that(tmp_path: Path) -> None:
    _, cells = read_study(write(tmp_path))
    late = [cell for cell in cells if cell.placement == "late"]
    watch = Watch()
    for cell in late:
        run_cell(cell, "cpu", lambda: 0.0, watch)
    made = [path for path in (tmp_path / "store-work/pretrained").iterdir() if path.is_dir()]
    assert [path.name.split("-")[0] for path in made] == ["late"]
    assert list(dict.fromkeys(what for _, _, what in watch.told)) == [
        "pretrain",
        "train",
        "capture",
        "measure",
        "project",
    ]
    configs = [
        json.loads((cell.folder / f"seed-{cell.seed}/config.json").read_text()) for cell in late
    ]
    assert {c["trained_on"]["pretrained_on"] for c in configs} == {"macros"}
    assert len({c["trained_on"]["pretrained_digest"] for c in configs}) == 1
    origin = Store(tmp_path / "store").run(late[0].run_id).manifest.origin
    assert "--pretrained" in origin.train and "pretrained/late-" in origin.train


def test_results_depend_on_the_pretraining(tmp_path: Path) -> None:
    _, cells = read_study(write(tmp_path))
    _, longer = read_study(write(tmp_path), ["pretrain.epochs=2"])
    _, without = read_study(write(tmp_path, re.sub(r"\[pretrain\][^\[]*(\[\"mlm.*\n)?", "", STUDY)))
    digests = [[cell.digest() for cell in some] for some in (cells, longer, without)]
    assert len({one for some in digests for one in some}) == 3 * len(cells)
    assert without[0].pretraining is None
    assert cells[0].pretraining is not None
    assert cells[0].pretraining.plan.text_encoder.startswith("small:depth=4")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("epochs = 1\nobj", "epoch = 1\nobj", "epoch = 1", "unknown key 'epoch'. Did you mean"),
        ('"macros:n=48,', '"nothing:n=48,', "nothing", "unknown layout 'nothing'"),
        (
            '["mlm", "alignment"]',
            '["colour"]',
            "objectives",
            "pretrain.objectives: 'colour' is not one of mlm, alignment",
        ),
        ("[pretrain]\ndata", "[pretrain]\ntext_encoder", "text_encoder", "unknown key"),
    ],
)
def test_a_bad_pretraining_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, line: str, message: str
) -> None:
    text = STUDY.replace(old, new)
    assert text != STUDY
    at = next(i for i, row in enumerate(text.splitlines(), start=1) if line in row)
    if "text_encoder" in line:
        at = text[: text.index("[pretrain]")].count("\n") + 2
    with pytest.raises(InputError) as caught:
        read_study(write(tmp_path, text))
    assert f"study.toml, line {at}" in str(caught.value)
    assert message in str(caught.value)
