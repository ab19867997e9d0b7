from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from backend.data import open_source
from backend.errors import InputError


def append(path: Path, *rows: object) -> None:
    with path.open("a") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def test_every_image_of_a_sentence_is_a_sample(scenes: Path):
    source = open_source(f"nlvr:{scenes}")
    records = list(source.records("test"))
    assert [r.sample_id for r in records] == ["0-0-0", "0-0-1", "0-1-0", "0-1-1"]
    assert [r.labels["truth"] for r in records] == [0, 0, 1, 1]
    assert records[2].text == "There are 1 blocks." and records[2].source == "test.json row 2"
    assert source.tasks["truth"].classes == ("false", "true")
    assert next(source.pairs("test")).sample.images[0].size == (8, 6)
    assert source.report.count == 0


def test_without_train_the_dev_file_is_divided_and_presentations_stay_together(scenes: Path):
    source = open_source(f"nlvr:{scenes}")
    assert source.splits() == ("train", "dev", "test")
    groups = {s: {r.sample_id.split("-")[0] for r in source.records(s)} for s in ("train", "dev")}
    assert groups["train"] and groups["dev"] and not groups["train"] & groups["dev"]
    assert all(r.group == r.sample_id.split("-")[0] for r in source.records("train"))
    assert sum(1 for s in ("train", "dev") for _ in source.records(s)) == 80
    assert any("no train.json" in note for note in source.report.notes)


def test_with_train_the_dev_file_is_whole(scenes: Path):
    shutil.copy(scenes / "test.json", scenes / "train.json")
    shutil.copytree(scenes / "test", scenes / "train")
    for image in list((scenes / "train").iterdir()):
        image.rename(image.with_name(image.name.replace("test", "train")))
    source = open_source(f"nlvr:{scenes}")
    assert [sum(1 for _ in source.records(s)) for s in source.splits()] == [4, 80, 4]


def test_reads_the_repositorys_own_form_with_directories_and_six_orders(tmp_path, draw, jsonl):
    row = {"sentence": "A tower.", "label": "true", "identifier": "5-1", "directory": 3}
    jsonl(tmp_path / "test/test.json", [row])
    for k in range(6):
        draw(tmp_path / f"test/images/3/test-5-1-{k}.png")
    source = open_source(f"nlvr:{tmp_path}")
    assert [r.sample_id for r in source.records("test")] == [f"5-1-{k}" for k in range(6)]
    assert source.splits() == ("test",)


def test_a_directory_that_is_no_name_is_never_part_of_a_path(tmp_path, draw, jsonl):
    row = {"sentence": "A tower.", "identifier": "5-1", "directory": "../../images"}
    jsonl(tmp_path / "test/test.json", [row])
    draw(tmp_path / "test/images/test-5-1-0.png")
    source = open_source(f"nlvr:{tmp_path}")
    assert list(source.records("test")) == []
    reason = "missing image: test/test-5-1-0.png (there is test/images/test-5-1-0.png)"
    assert reason in [problem.reason for problem in source.report.problems]


@pytest.mark.parametrize("k", [0, 1])
def test_one_missing_image_of_two_is_a_problem_and_the_other_stays(scenes: Path, k):
    (scenes / f"test/test-0-1-{k}.png").unlink()
    source = open_source(f"nlvr:{scenes}")
    assert sum(1 for _ in source.records("test")) == 3
    (problem,) = source.report.problems
    assert (problem.row, problem.sample_id) == (2, f"0-1-{k}")
    assert problem.reason == f"missing image: test/test-0-1-{k}.png"


@pytest.mark.parametrize(
    ("row", "reason", "count"),
    [
        ({"identifier": "../../x"}, "identifier is not of the form N-M", 1),
        ({"identifier": None}, "identifier is not of the form N-M", 1),
        ({"identifier": 3}, "identifier is not of the form N-M", 1),
        ({"identifier": "0-1"}, "duplicate id", 1),
        ({"sentence": ""}, "no sentence", 2),
        ({"label": "maybe"}, "label is neither 0 nor 1: maybe", 2),
        ({"directory": "../../.."}, "missing image", 2),
    ],
)
def test_a_bad_row_is_reported_and_skipped(scenes: Path, draw, row, reason, count):
    good = {"sentence": "A box.", "label": "true", "identifier": "9-9", "directory": "1"}
    if "directory" not in row:
        for k in (0, 1):
            draw(scenes / f"test/test-9-9-{k}.png")
    append(scenes / "test.json", good | row)
    source = open_source(f"nlvr:{scenes}")
    assert sum(1 for _ in source.records("test")) == 4
    assert [p.row for p in source.report.problems] == [3] * count
    assert all(p.reason.startswith(reason) for p in source.report.problems)


def test_a_sentence_without_a_label_has_no_task(scenes: Path):
    row = {"sentence": "A box.", "identifier": "0-0", "directory": "1"}
    (scenes / "test.json").write_text(json.dumps(row) + "\n")
    assert [r.labels for r in open_source(f"nlvr:{scenes}").records("test")] == [{}, {}]


def test_strict_stops_and_an_empty_folder_is_refused(scenes: Path, tmp_path: Path):
    append(scenes / "test.json", {"identifier": "x"})
    with pytest.raises(InputError, match=r"test\.json row 3: identifier"):
        list(open_source(f"nlvr:{scenes}", strict=True).records("test"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="nothing here in the layout nlvr"):
        open_source(f"nlvr:{tmp_path / 'empty'}")
