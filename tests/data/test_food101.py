from __future__ import annotations

import random
from pathlib import Path

import pytest

from backend.data import open_source
from backend.errors import InputError


def ids(source, split: str) -> list[str]:
    return [record.sample_id for record in source.records(split)]


def test_titles_keep_their_commas_and_quotes_and_classes_are_the_sorted_folders(food: Path):
    source = open_source(f"food101:{food}")
    first = next(source.records("test"))
    assert first.text == 'The "best" baklava, ever, no. 0'
    assert first.sample_id == "baklava_test_0.jpg" and first.labels == {"dish": 1}
    assert source.tasks["dish"].classes == ("apple_pie", "baklava")
    assert source.tasks["dish"].kind == "multiclass"
    assert next(source.pairs("train")).sample.images[0].size == (8, 6)


def test_dev_is_a_share_of_train_that_does_not_depend_on_order_or_other_rows(food: Path):
    source = open_source(f"food101:{food}")
    assert source.splits() == ("train", "dev", "test")
    train, dev = ids(source, "train"), ids(source, "dev")
    assert len(train) + len(dev) == 60 and not set(train) & set(dev) and 1 <= len(dev) <= 15
    assert {record.split for record in source.records("dev")} == {"dev"}
    path = food / "train_titles.csv"
    lines = path.read_text().splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    path.write_text("".join(lines[:40]))
    again = set(ids(open_source(f"food101:{food}"), "dev"))
    assert again <= set(dev) and again


def test_a_bad_row_of_the_shared_file_counts_once_though_two_splits_meet_it(food: Path):
    path = food / "train_titles.csv"
    path.write_text(path.read_text() + "only,two\n")
    source = open_source(f"food101:{food}")
    ids(source, "train"), ids(source, "dev")
    assert source.report.count == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a.jpg,title", "broken CSV: 2 fields where 3 are expected"),
        ("a.jpg,a,b,baklava", "broken CSV: 4 fields where 3 are expected"),
        ("gone.jpg,title,baklava", "missing image: images/test/baklava/gone.jpg"),
        ("extra.jpg,,baklava", "no title"),
        (",title,baklava", "no id"),
        ("extra.jpg,title,pizza", "unknown class: pizza"),
        ("x.jpg,title,..", "unknown class: .."),
        ("../x.jpg,title,baklava", "image path leaves the dataset's folder"),
        ("baklava_test_1.jpg,other title,baklava", "duplicate id"),
        ("extra.jpg,nul\0,baklava", "NUL character in title"),
    ],
)
def test_a_bad_row_is_reported_and_skipped(food: Path, draw, line, reason):
    draw(food / "images/test/baklava/extra.jpg")
    path = food / "test_titles.csv"
    path.write_text(path.read_text().replace("\r\n", "\n") + line + "\n")
    source = open_source(f"food101:{food}")
    good = ids(source, "test")
    assert len(good) == 4
    (problem,) = source.report.problems
    assert (problem.file, problem.row) == ("test_titles.csv", 5)
    assert problem.reason.startswith(reason)


def test_windows_line_ends_a_bom_and_a_latin_title(food: Path):
    path = food / "test_titles.csv"
    content = b"\xef\xbb\xbf" + path.read_bytes() + b"apple_pie_test_0.jpg,caf\xe9,apple_pie\r\n"
    path.write_bytes(content)
    source = open_source(f"food101:{food}")
    assert ids(source, "test")[0] == "baklava_test_0.jpg"
    assert source.report.by_reason == {"duplicate id": 1}
    path.write_bytes(b"apple_pie_test_0.jpg,caf\xe9,apple_pie\r\n")
    source = open_source(f"food101:{food}")
    assert ids(source, "test") == [] and source.report.by_reason == {"title is not UTF-8": 1}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "first", ["x.jpg,a, b,c;d", "x.jpg;one;two", "x.jpg|a;b, c|d;e", "x.jpg", '"x,;']
)
def test_the_separator_is_that_of_most_rows_not_of_the_first(food: Path, first, separator):
    path = food / "test_titles.csv"
    rows = [f"{n}_test_{k}.jpg" for n in ("baklava", "apple_pie") for k in range(2)]
    lines = [separator.join((name, f"title {at}", name[:-11])) for at, name in enumerate(rows)]
    path.write_text("\n".join([first, *lines]))
    source = open_source(f"food101:{food}")
    assert {r.sample_id for r in source.records("test")} == set(rows)
    assert {problem.row for problem in source.report.problems} == {1}


def test_a_missing_split_file_is_said(food: Path):
    (food / "test_titles.csv").unlink()
    source = open_source(f"food101:{food}", strict=True)
    assert source.splits() == ("train", "dev")
    assert "missing split file test_titles.csv: no split 'test'" in source.report.notes


def test_without_class_folders_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "train_titles.csv").write_text("a.jpg,b,c\n")
    with pytest.raises(InputError, match="no class folders"):
        open_source(f"food101:{tmp_path}")


def test_the_first_samples_are_of_all_dishes_though_the_file_is_sorted_by_class(food: Path):
    source = open_source(f"food101:{food}")
    first = [record.labels["dish"] for record in source.records("test", limit=4)]
    assert first == [1, 0, 1, 0]
    train = [record.labels["dish"] for record in source.records("train", limit=12)]
    assert 3 <= sum(train) <= 9  # not exactly half: dev takes some of either dish
    assert len(set(ids(source, "train"))) == len(ids(source, "train"))
