from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.data import check_all, open_source
from backend.data.jsonarrays import array_objects
from backend.data.textfile import MAX_LINE_BYTES
from backend.errors import InputError

Images = dict[str, list[tuple[int, str, int]]]
"""{split with its year: (caption id, caption, image id) as the file has them}."""

CAPTIONS: Images = {
    "train2017": [(11, "A cat.", 9), (5, "A dog runs.", 25), (12, "A cat sleeps.", 9)],
    "val2017": [(40, "Two birds.", 36)],
}


@pytest.fixture
def coco(tmp_path: Path, draw):
    """Write COCO's annotation files and images into a folder; return it."""

    def write(captions: Images = CAPTIONS, below: str = "", **more: object) -> Path:
        root = tmp_path / "coco"
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        for split, rows in captions.items():
            images = sorted({image for _, _, image in rows})
            for image in images:
                draw(root / below / split / f"{image:012d}.jpg")
            whole = {
                "info": {"year": 2017, "about": 'a "quoted" {brace] \\'},
                "annotations": [{"image_id": i, "id": n, "caption": c} for n, c, i in rows],
                "licenses": [{"id": 1, "of": [[1, 2], {"x": None}]}, "2", 3.5e2, True],
                "images": [{"id": i, "file_name": f"{i:012d}.jpg", "license": 3} for i in images],
            }
            text = json.dumps(whole | more, indent=1 if "val" in split else None)
            (root / "annotations" / f"captions_{split}.json").write_text(text)
        return root

    return write


@pytest.mark.parametrize("below", ["", "images"])
def test_every_caption_is_a_sample_and_an_image_its_group(coco, below):
    source = open_source(f"coco:{coco(below=below)}")
    assert source.splits() == ("train", "dev") and source.tasks == {}
    records = list(source.records("train"))
    assert [(r.sample_id, r.text, r.group, r.image.name) for r in records] == [
        ("11", "A cat.", "9", "000000000009.jpg"),
        ("5", "A dog runs.", "25", "000000000025.jpg"),
        ("12", "A cat sleeps.", "9", "000000000009.jpg"),
    ]
    report = check_all(source)
    assert report.count == 0 and report.good == {"train": 3, "dev": 1}
    assert report.together["train"] == "2 groups (given), the largest of 2 samples"
    (pair,) = source.pairs("val")
    assert pair.sample.images[0].size == (8, 6) and pair.record.source.endswith("row 1")


def test_a_split_without_its_images_is_left_out_and_said(coco):
    root = coco()
    for image in (root / "train2017").iterdir():
        image.unlink()
    (root / "train2017").rmdir()
    source = open_source(f"coco:{root}")
    assert source.splits() == ("dev",)
    assert any("no folder train2017" in note for note in source.report.notes)


def test_two_years_are_the_same_images_and_refused(coco):
    root = coco(CAPTIONS | {"val2014": CAPTIONS["val2017"]})
    with pytest.raises(InputError, match="captions of 2014 and 2017, which share their images"):
        open_source(f"coco:{root}")


def test_captions_that_cannot_be_used_are_reported_one_by_one(coco):
    rows = [
        {"image_id": 9, "id": 1, "caption": "Good."},
        {"image_id": 10, "id": 2, "caption": "Of no image."},
        {"image_id": [9], "id": 3, "caption": "Of no image."},
        {"image_id": 9, "id": 4},
        {"image_id": 9, "id": 1, "caption": "Again."},
        {"image_id": 8, "id": 6, "caption": "Outside."},
    ]
    images = [{"id": 9, "file_name": "000000000009.jpg"}, {"id": 8, "file_name": "../../x.jpg"}]
    root = coco({"val2017": [(1, "", 9)]}, annotations=rows, images=images)
    source = open_source(f"coco:{root}")
    assert [r.sample_id for r in source.records("dev")] == ["1"]
    assert source.report.by_reason == {
        "no such image_id": 2,
        "no caption": 1,
        "duplicate id": 1,
        "image path leaves the dataset's folder": 1,
    }


def test_karpathys_split_has_five_captions_an_image_and_restval_is_train(tmp_path: Path, draw):
    root = tmp_path / "coco"
    images = []
    for number, (split, folder) in enumerate(
        [("train", "train2014"), ("restval", "val2014"), ("val", "val2014"), ("test", "val2014")]
    ):
        name = f"COCO_{folder}_{number:012d}.jpg"
        draw(root / folder / name)
        sentences = [{"raw": f"No. {number}.{k}", "sentid": k, "tokens": []} for k in range(5)]
        images.append(
            {"filepath": folder, "filename": name, "split": split, "sentences": sentences}
        )
    images.append({"filepath": "../..", "filename": "x", "split": "test", "sentences": sentences})
    images.append({"filepath": "val2014", "filename": "y", "split": "test"})
    (root / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))
    source = open_source(f"coco:{root}")
    assert source.splits() == ("train", "dev", "test")
    train = list(source.records("train"))
    assert [r.sample_id for r in train[:6]] == [
        *(f"COCO_train2014_{0:012d}.jpg#{k}" for k in range(5)),
        f"COCO_val2014_{1:012d}.jpg#0",
    ]
    assert len(train) == 10 and len({r.group for r in train}) == 2
    assert sum(1 for _ in source.records("test")) == 5
    assert source.report.by_reason == {
        "image path leaves the dataset's folder": 5,
        "no sentences": 1,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "broken JSON: cut short"),
        ("[]", "is no JSON object"),
        ('{"a": [{"b": 1}', "broken JSON: cut short"),
        ('{"a": [{"b": 1}, {"b": ', "broken JSON: cut short or broken in a 2"),
        ('{"a": [{"b": 1}], "c": [[1, {"d": "e', "broken JSON: cut short"),
        ('{"a": [{"b": 1}], "c": 12', "broken JSON: cut short"),
        ('{"a": [{"b": 1}, 2]}', "broken JSON: a 2 is no object"),
        ('{"a" [1]}', "broken JSON: no value of 'a'"),
        ("{1: 2}", "broken JSON: a name is missing"),
        ('{"a": [{"b": ' + "[" * 100_000, "broken JSON: (a 1|cut short)"),
        (
            '{"a": [{"b": "' + "x" * (MAX_LINE_BYTES + 10**6),
            "broken JSON: a 1 is broken or too long",
        ),
    ],
    ids=lambda text: text[:20],
)
def test_a_large_json_that_is_cut_or_broken_is_one_line(tmp_path: Path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"x\.json: {message}"):
        list(array_objects(path, {"a"}))


def test_objects_are_whole_wherever_a_piece_of_the_file_ends(tmp_path: Path):
    words = ['"', "\\", "ab\\u00e9", "{[", "]}", "é" * 7, ""]
    rows = [{"n": n, "text": words[n % 7] * (n % 5), "of": [n, [n]]} for n in range(9_000)]
    skipped = {"x": [words, -12.5e3, None, {"y": words}] * 3_000, "n": 123456, "s": '\\"'}
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**skipped, "a": rows, **{f"{k}2": v for k, v in skipped.items()}}))
    assert [row for _, _, row in array_objects(path, {"a"})] == rows
