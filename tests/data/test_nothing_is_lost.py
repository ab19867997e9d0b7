"""Splits that mean the same are one, those that do not are two, and what is not read is named."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from backend.data import check_all, open_source, parquetfile
from backend.data.rows import RowError, check_group, check_id
from backend.errors import InputError
from tests.data.test_hf import columns, table, write_arrow, write_parquet


def images(folder: Path, count: int = 2) -> None:
    folder.mkdir(parents=True)
    for n in range(count):
        Image.new("RGB", (8, 8), (20 * n, len(folder.name), 0)).save(folder / f"{n}.png")


def good(source: str) -> dict[str, int]:
    return dict(check_all(open_source(source)).good)


def test_two_saved_splits_that_mean_the_same_are_one(tmp_path: Path) -> None:
    for at, split in enumerate(("train", "restval", "test")):
        write_arrow(tmp_path / split / "data.arrow", table(columns(range(4 * at, 4 * at + 4))))
        state = {"_data_files": [{"filename": "data.arrow"}], "_split": split}
        (tmp_path / split / "state.json").write_text(json.dumps(state))
    splits = {"splits": ["train", "restval", "test"]}
    (tmp_path / "dataset_dict.json").write_text(json.dumps(splits))
    found = good(f"hf:{tmp_path}")
    assert found["train"] + found.get("dev", 0) == 8 and found["test"] == 4


def test_two_folders_that_mean_the_same_split_are_one(tmp_path: Path) -> None:
    for split in ("train", "restval", "test"):
        for name in ("cat", "dog"):
            images(tmp_path / split / name, 5)
    found = good(f"imagefolder:{tmp_path}")
    assert found["train"] + found.get("dev", 0) == 20 and found["test"] == 10


def test_files_beside_those_of_splits_are_named_and_two_dev_splits_stay_two(tmp_path: Path) -> None:
    for at, name in enumerate(("train-00000-of-00001", "dev_seen", "dev_unseen", "extra")):
        write_parquet(tmp_path / f"{name}.parquet", table(columns(range(4 * at, 4 * at + 4))))
    source = open_source(f"hf:{tmp_path}")
    report = check_all(source)
    assert {"dev_seen", "dev_unseen"} <= set(report.good)
    assert any("1 file, such as extra.parquet, names no split" in note for note in report.notes)


def test_a_splits_folder_without_metadata_beside_others_is_named(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        images(tmp_path / split)
        if split != "test":
            lines = ["file_name,text", *(f"{n}.png,text {split} {n}" for n in range(2))]
            (tmp_path / split / "metadata.csv").write_text("\n".join(lines))
    report = check_all(open_source(f"imagefolder:{tmp_path}"))
    assert any("test/ has images but no metadata" in note for note in report.notes)


def test_a_column_that_nobody_uses_refuses_no_table(tmp_path: Path) -> None:
    images(tmp_path / "i", 3)
    parquet.write_table(
        pa.table(
            {
                "id": ["a", "b", "c"],
                "image": [f"i/{n}.png" for n in range(3)],
                "text": ["one", "two", "three"],
                "when": pa.array([10**8] * 3, pa.int32()).cast(pa.date32()),  # no date of Python's
            }
        ),
        tmp_path / "captions.parquet",
    )
    assert sum(good(f"folder:{tmp_path}").values()) == 3


@pytest.mark.parametrize(("value", "name"), [(1.0, "1"), (7, "7"), ("1.0", "1.0"), ("a", "a")])
def test_an_id_is_what_it_was_before_a_gap_made_it_a_fraction(value: object, name: str) -> None:
    assert check_id(value) == name
    with pytest.raises(RowError):
        check_id(1.5)


@pytest.mark.parametrize("value", [3, 3.0, "3", "3.0", " 3.0 "])
def test_a_group_has_one_name_in_every_format(value: object) -> None:
    assert check_group(value) == "3"


@pytest.mark.parametrize(
    ("layout", "file", "content"),
    [
        ("folder", "captions.csv", "id,image,text\na,i/0.png,secret\n"),
        ("imagefolder", "metadata.csv", "file_name,text\ni/0.png,secret\n"),
        ("hateful_memes", "train.jsonl", '{"id": 1, "img": "i/0.png", "text": "secret"}\n'),
        ("flickr", "captions.txt", "image,caption\n0.png,secret\n"),
        ("mmimdb", "split.json", '{"train": ["1"]}'),
    ],
)
def test_a_table_that_is_a_link_out_of_the_folder_is_refused_unless_links_are_followed(
    tmp_path: Path, layout: str, file: str, content: str
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / file).write_text(content)
    images(tmp_path / "set" / "i")
    (tmp_path / "set" / file).symlink_to(tmp_path / "outside" / file)
    with pytest.raises(InputError, match=r"leaves the dataset's folder.*--follow-links allows"):
        check_all(open_source(f"{layout}:{tmp_path}/set"))
    followed = open_source(f"{layout}:{tmp_path}/set", follow_links=True)
    assert "link" not in str(check_all(followed))


def test_links_that_lead_back_under_two_spellings_end_soon(tmp_path: Path) -> None:
    for name in ("a", "A"):
        (tmp_path / name).symlink_to(".")
    images(tmp_path / "i")
    rows = "id,image,text\n" + "".join(f"{n},{'a/' * 40}{n}.png,text\n" for n in range(20))
    (tmp_path / "captions.csv").write_text(rows)
    assert not sum(good(f"folder:{tmp_path}").values())


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_picture_that_comes_again_and_again_is_read_and_kept_once(
    tmp_path: Path, wrapped: bool
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    one = {"bytes": out.getvalue(), "path": "a.png"} if wrapped else out.getvalue()
    made = pa.table({"image": [one] * 2_000, "text": [f"text {n}" for n in range(2_000)]})
    parquet.write_table(made, tmp_path / "test.parquet", compression="zstd")
    before = pa.total_allocated_bytes()
    column = parquetfile._column(tmp_path / "test.parquet", "image", 0)
    assert pa.total_allocated_bytes() - before < 2**20
    assert column[1_999].as_py() == out.getvalue()
    pair = next(iter(open_source(f"hf:{tmp_path},id=").pairs("test")))
    assert np.array_equal(np.asarray(pair.sample.images[0]), noise)
    parquetfile._KEPT.clear()


@pytest.fixture
def group_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Write 200 rows, every picture twice and far apart, in row groups; which of them are read."""

    def write(groups: int) -> list[int]:
        rows = []
        for n in range(200):
            out = io.BytesIO()
            Image.new("RGB", (8, 8), (n % 100, 0, 0)).save(out, "PNG")
            picture = {"bytes": out.getvalue(), "path": f"{n}.png"}
            rows.append({"image": picture, "text": f"text {n}", "label": n // 50})
        file = tmp_path / "captions.parquet"
        parquet.write_table(pa.Table.from_pylist(rows), file, row_group_size=200 // groups)
        return read

    read: list[int] = []
    whole = parquet.ParquetFile.read_row_group
    monkeypatch.setattr(
        parquet.ParquetFile,
        "read_row_group",
        lambda self, group, **more: read.append(group) or whole(self, group, **more),
    )
    parquetfile._KEPT.clear()
    return write


@pytest.mark.parametrize("groups", [1, 10, 200])
def test_pictures_of_a_table_are_read_once_to_know_which_belong_together(
    tmp_path: Path, group_reads: Callable[[int], list[int]], groups: int
) -> None:
    read = group_reads(groups)
    source = open_source(f"folder:{tmp_path}")
    splits = {record.sample_id: record.split for record in source.records("all")}
    assert read == list(range(groups))
    assert all(splits[str(n)] == splits[str(n + 100)] for n in range(1, 101))


@pytest.mark.parametrize("groups", [4, 20])
def test_the_first_of_every_class_of_a_sorted_table_take_no_row_group_twice(
    tmp_path: Path, group_reads: Callable[[int], list[int]], groups: int
) -> None:
    read = group_reads(groups)
    pairs = list(open_source(f"folder:{tmp_path}").pairs("all", limit=120))
    assert [pair.record.labels["label"] for pair in pairs][:4] == [0, 1, 2, 3]
    assert sorted(read) == sorted(set(read))


@pytest.mark.parametrize(("most", "kept"), [(1.0, 1), (2.5, 2), (9.0, 4)])
def test_row_groups_of_pictures_are_kept_up_to_a_bound(
    tmp_path: Path, group_reads: Callable[[int], list[int]], monkeypatch, most: float, kept: int
) -> None:
    group_reads(4)
    size = parquetfile._decoded_column(tmp_path / "captions.parquet", "image", 0).nbytes
    monkeypatch.setattr(parquetfile, "MAX_KEPT_BYTES", int(most * size))
    assert len(list(open_source(f"folder:{tmp_path}").pairs("all"))) == 200
    assert len(parquetfile._KEPT) == kept
