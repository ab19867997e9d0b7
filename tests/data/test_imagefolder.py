from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from backend.data import check_all, open_source
from backend.errors import InputError


@pytest.fixture
def metadata(tmp_path: Path, draw, jsonl, csv_text):
    """Write a metadata file with the images that its rows name into a folder; returns the root."""
    root = tmp_path / "set"

    def write(
        rows: list[dict[str, object]], folder: str = "", kind: str = "csv", images: bool = True
    ) -> Path:
        path = root / folder / f"metadata.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        for row in rows:
            if images and isinstance(row.get("file_name"), str):
                draw(path.parent / row["file_name"])
        if kind == "jsonl":
            jsonl(path, rows)
        elif kind == "parquet":
            parquet.write_table(pa.Table.from_pylist(rows), path)
        else:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            body = [[row.get(c, "") for c in columns] for row in rows]
            path.write_text(csv_text([columns, *body]), newline="")
        return root

    return write


def row(n: int, **more: object) -> dict[str, object]:
    return {"file_name": f"{n:04d}.png", "text": f"picture {n}", **more}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("above", ["", "data/"])
def test_metadata_of_split_folders_names_files_beside_itself(metadata, kind, above):
    for split, numbers in (("train", (1, 2)), ("validation", (1,)), ("test", (7, 8, 9))):
        rows = [row(n, label="cat" if n % 2 else "dog") for n in numbers]
        root = metadata(rows, f"{above}{split}", kind)
    source = open_source(f"imagefolder:{root}")
    assert source.splits() == ("train", "dev", "test")
    records = {split: list(source.records(split)) for split in source.splits()}
    assert [r.sample_id for r in records["test"]] == [f"{above}test/{n:04d}.png" for n in (7, 8, 9)]
    assert [(r.text, r.labels) for r in records["train"]] == [
        ("picture 1", {"label": 0}),
        ("picture 2", {"label": 1}),
    ]
    assert records["dev"][0].image == root / above / "validation/0001.png"
    assert records["dev"][0].source.startswith(f"{above}validation/metadata.{kind} row ")
    report = check_all(source)
    assert report.count == 0 and report.good == {"train": 2, "dev": 1, "test": 3}


def test_captions_of_one_image_are_samples_of_one_group(metadata):
    rows = [row(n, text=f"caption {k} of {n}") for k in range(3) for n in (1, 2)]
    source = open_source(f"imagefolder:{metadata(rows, 'train')}")
    records = [*source.records("train"), *source.records("dev")]
    assert {(r.sample_id, r.text, r.group) for r in records} == {
        (f"train/{n:04d}.png#{k}", f"caption {k} of {n}", f"train/{n:04d}.png")
        for k in range(3)
        for n in (1, 2)
    }


def test_a_list_of_captions_is_a_sample_each(metadata):
    rows = [{"file_name": "a.png", "captions": ["one", "two"]}]
    source = open_source(f"imagefolder:{metadata(rows, 'test', 'jsonl')}")
    assert [(r.sample_id, r.text, r.group) for r in source.records("test")] == [
        ("test/a.png#0", "one", "test/a.png"),
        ("test/a.png#1", "two", "test/a.png"),
    ]


def test_one_file_for_all_splits_is_divided_by_folder_by_column_or_here(metadata, tmp_path):
    rows = [row(n) | {"file_name": f"{s}/{n}.png"} for n, s in enumerate(["train", "dev"] * 2)]
    source = open_source(f"imagefolder:{metadata(rows)}")
    assert source.splits() == ("train", "dev")
    assert [r.sample_id for r in source.records("dev")] == ["dev/1.png", "dev/3.png"]
    rows = [row(n, split="test" if n else "train") for n in range(3)]
    source = open_source(f"imagefolder:{metadata(rows)}")
    assert sum(1 for _ in source.records("test")) == 2
    source = open_source(f"imagefolder:{metadata([row(n) for n in range(100)])}")
    assert source.splits() == ("train", "dev", "test")
    assert sum(1 for _ in source.records("all")) == 100


def test_without_metadata_folders_are_classes(tmp_path: Path, draw):
    for split in ("train", "val"):
        for name in ("cat", "dog", "owl"):
            for n in range(4):
                draw(tmp_path / split / name / f"{n}.png")
    draw(tmp_path / "train" / "loose.png")
    (tmp_path / "train" / "notes").mkdir()
    (tmp_path / "train" / "cat" / ".hidden.png").write_text("no picture")
    source = open_source(f"imagefolder:{tmp_path}")
    assert source.splits() == ("train", "dev")
    assert source.tasks["label"].classes == ("cat", "dog", "owl")
    records = list(source.records("train"))
    assert [(r.sample_id, r.labels) for r in records[:2]] == [
        ("train/loose.png", {}),
        ("train/cat/0.png", {"label": 0}),
    ]
    assert len(records) == 13 and {r.text for r in records} == {""}
    assert any("images alone" in note for note in source.report.notes)
    assert check_all(source).count == 0


def test_the_text_is_found_by_what_it_holds_and_two_candidates_name_the_option(metadata):
    plain = [{"file_name": f"{n}.png", "width": n, "alt": f"word {n}"} for n in range(3)]
    source = open_source(f"imagefolder:{metadata(plain, 'train')}")
    assert [*source.records("dev"), *source.records("train")][0].text.startswith("word ")
    two = [each | {"poem": f"A verse {n}"} for n, each in enumerate(plain)]
    root = metadata(two, "train")
    message = r"train/metadata.csv: text could be 'alt' and 'poem'\. .*imagefolder|LAYOUT:PATH,text"
    with pytest.raises(InputError, match=message):
        open_source(f"imagefolder:{root}")
    source = open_source(f"imagefolder:{root},text=poem")
    assert [*source.records("dev"), *source.records("train")][0].text.startswith("A verse")


BAD = [
    ({"picture": "a.png", "text": "x"}, r"no column 'file_name'.*'picture', 'text'"),
    ({"file_names": ["a.png", "b.png"], "text": "x"}, "'file_names' lists several images a sample"),
    ({"a_file_name": "a.png", "b_file_name": "b.png"}, "image could be 'a_file_name' and 'b_file"),
]


@pytest.mark.parametrize(("each", "message"), BAD, ids=lambda value: str(value)[:30])
def test_metadata_without_one_column_of_images_is_one_line(metadata, each, message):
    root = metadata([each], "train", "jsonl")
    with pytest.raises(InputError, match=rf"train/metadata\.jsonl: .*{message}"):
        open_source(f"imagefolder:{root}")


def test_a_hostile_folder_gives_problems_of_its_rows_and_nothing_from_outside(
    metadata, tmp_path: Path, draw
):
    outside = draw(tmp_path / "outside.png")
    (tmp_path / "elsewhere").mkdir()
    draw(tmp_path / "elsewhere" / "x.png")
    names = ["../outside.png", str(outside), "link.png", "none.png", "", "a\0.png", "deep/x.png"]
    rows = [row(n) | {"file_name": name} for n, name in enumerate(names)] + [row(99)]
    root = metadata(rows, "train", "jsonl", images=False)
    draw(root / "train" / "0099.png")
    (root / "train" / "link.png").symlink_to(outside)
    (root / "train" / "deep").symlink_to(tmp_path / "elsewhere")
    source = open_source(f"imagefolder:{root}")
    good = [*source.records("train"), *source.records("dev")]
    assert [r.sample_id for r in good] == ["train/0099.png"]
    assert source.report.by_reason == {
        "image path leaves the dataset's folder": 4,
        "missing image": 1,
        "no file_name": 1,
        "NUL character in id": 1,
    }


def test_two_metadata_files_in_one_folder_are_ambiguous(metadata):
    metadata([row(1)], "train", "jsonl")
    with pytest.raises(InputError, match=r"train/metadata\.csv and train/metadata\.jsonl: which"):
        open_source(f"imagefolder:{metadata([row(1)], 'train')}")
