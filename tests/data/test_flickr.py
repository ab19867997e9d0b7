from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.data import check_all, open_source
from backend.errors import InputError

NAMES = [f"{n}_{n:x}f.jpg" for n in range(1000, 1040)]
SPLITS = {"train": NAMES[:30], "dev": NAMES[30:34], "test": NAMES[34:38]}


def caption(name: str, number: int) -> str:
    return f'A "dog" , no. {number} of {name} .'


@pytest.fixture
def flickr(tmp_path: Path, draw):
    """Flickr's images, and one of the forms of its captions; returns the folder."""

    def write(form: str, images: str = "Flicker8k_Dataset", lists: bool = True) -> Path:
        root = tmp_path / "flickr"
        for name in NAMES:
            draw(root / images / name)
        rows = [(name, number) for name in NAMES for number in range(5)]
        if form.endswith(".json"):
            whole = [
                {
                    "filename": name,
                    "split": split.replace("dev", "val"),
                    "sentences": [{"raw": caption(name, k), "sentid": k} for k in range(5)],
                }
                for split, own in SPLITS.items()
                for name in own
            ]
            (root / form).write_text(json.dumps({"images": whole, "dataset": "flickr"}))
        elif form == "captions.txt":
            quoted = ['"{}"'.format(caption(n, k).replace('"', '""')) for n, k in rows]
            lines = [f"{n},{text}" for (n, _), text in zip(rows, quoted, strict=True)]
            (root / form).write_text("\n".join(["image,caption", *lines, ""]))
        else:
            (root / form).parent.mkdir(exist_ok=True)
            (root / form).write_text("".join(f"{n}#{k}\t{caption(n, k)}\n" for n, k in rows))
        for split, own in SPLITS.items() if lists else ():
            (root / f"Flickr_8k.{split}Images.txt").write_text("\n".join(own) + "\n")
        return root

    return write


@pytest.mark.parametrize(
    ("form", "images"),
    [
        ("Flickr8k.token.txt", "Flicker8k_Dataset"),
        ("Flickr8k_text/Flickr8k.token.txt", "Flickr8k_Dataset"),
        ("captions.txt", "Images"),
        ("results_20130124.token", "flickr30k_images"),
        ("dataset_flickr30k.json", "flickr30k-images"),
        ("dataset_flickr8k.json", "."),
    ],
)
def test_every_form_gives_the_same_captions_in_groups_of_an_image(flickr, form, images):
    source = open_source(f"flickr:{flickr(form, images)}")
    assert source.splits() == ("train", "dev", "test") and source.tasks == {}
    records = list(source.records("train"))
    assert [(r.sample_id, r.text, r.group) for r in records[:6]] == [
        *((f"{NAMES[0]}#{k}", caption(NAMES[0], k), NAMES[0]) for k in range(5)),
        (f"{NAMES[1]}#0", caption(NAMES[1], 0), NAMES[1]),
    ]
    assert len(records) == 150
    report = check_all(source)
    assert report.count == 0
    assert report.together["test"] == "4 groups (given), the largest of 5 samples"


def test_without_lists_images_are_divided_whole_and_all_is_everything(flickr):
    source = open_source(f"flickr:{flickr('Flickr8k.token.txt', lists=False)}")
    parts = {split: list(source.records(split)) for split in source.splits()}
    assert sum(map(len, parts.values())) == 200
    groups = [{r.group for r in records} for records in parts.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40
    assert len(parts["train"]) > 100
    for record in source.records("all"):
        assert record.sample_id in {r.sample_id for r in parts[record.split]}


def test_lines_that_cannot_be_used_are_reported_one_by_one(flickr):
    root = flickr("Flickr8k.token.txt", lists=False)
    with (root / "Flickr8k.token.txt").open("a") as out:
        out.write("2258277193_586949ec62.jpg.1#0\tpeople waiting\n")
        out.write(f"{NAMES[0]}#5\t\n{NAMES[0]} no number\n{NAMES[0]}#0\tagain\n../x.jpg#0\tout\n")
    source = open_source(f"flickr:{root}")
    assert sum(1 for _ in source.records("all")) == 200
    assert source.report.by_reason == {
        "missing image": 1,
        "no caption": 1,
        "not <image>#<number> TAB <caption>": 1,
        "duplicate id": 1,
        "image path leaves the dataset's folder": 1,
    }


def test_an_image_in_two_lists_is_refused(flickr):
    root = flickr("Flickr8k.token.txt")
    (root / "Flickr_8k.testImages.txt").write_text(f"{NAMES[0]}\n")
    with pytest.raises(InputError, match=f"{NAMES[0]} is in two lists of images"):
        open_source(f"flickr:{root}")


def test_a_missing_list_is_said(flickr):
    root = flickr("Flickr8k.token.txt")
    (root / "Flickr_8k.devImages.txt").unlink()
    source = open_source(f"flickr:{root}")
    assert source.splits() == ("train", "test")
    assert any("Flickr_8k.devImages.txt" in note for note in source.report.notes)
