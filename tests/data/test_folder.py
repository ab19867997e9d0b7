from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy.io import wavfile

from backend.data import open_source
from backend.errors import InputError

FORMATS = ("csv", "jsonl", "parquet")


@pytest.fixture
def table(tmp_path: Path, draw, jsonl, csv_text):
    """Write captions in one of the three formats into a folder with their images; return it."""
    root = tmp_path / "set"
    draw(root / "img/1.png")

    def write(rows: list[dict[str, object]], kind: str = "csv") -> Path:
        for each in rows:
            if each.get("image") == f"img/{each.get('id')}.png":
                draw(root / each["image"])
        path = root / f"captions.{kind}"
        if kind == "jsonl":
            jsonl(path, rows)
        elif kind == "parquet":
            parquet.write_table(pa.Table.from_pylist(rows), path)
        else:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            body = [["" if row.get(c) is None else row[c] for c in columns] for row in rows]
            path.write_text(csv_text([columns, *body]), newline="")
        return root

    return write


def row(number: object, **more: object) -> dict[str, object]:
    name = "1" if number is None else number
    return {"id": number, "image": f"img/{name}.png", "text": f"caption, no. {number}", **more}


def read(root: Path, split: str = "all", **options):
    source = open_source(f"folder:{root}", **options)
    return list(source.records(split)), source


@pytest.mark.parametrize("kind", FORMATS)
def test_the_three_formats_give_the_same_samples(table, kind):
    rows = [
        row(1, split="train", label_mood="sad", label_odd=0, label_tags="a|b"),
        row(2, split="dev", label_mood="glad", label_odd=1, label_tags="b|c"),
        row(3, split="test", label_mood=None, label_odd=None, label_tags=None),
    ]
    source = open_source(f"folder:{table(rows, kind)}")
    assert source.splits() == ("train", "dev", "test") and source.report.count == 0
    (first,), (second,), (third,) = (list(source.records(s)) for s in source.splits())
    assert (first.sample_id, first.text, first.split) == ("1", "caption, no. 1", "train")
    assert first.labels == {"mood": 1, "odd": 0, "tags": (0, 1)}
    assert second.labels == {"mood": 0, "odd": 1, "tags": (1, 2)}
    assert third.labels == {}
    kinds = {name: (task.kind, task.classes) for name, task in source.tasks.items()}
    assert kinds == {
        "mood": ("binary", ("glad", "sad")),
        "odd": ("binary", ("not odd", "odd")),
        "tags": ("multilabel", ("a", "b", "c")),
    }
    assert next(source.pairs("train")).sample.images[0].size == (8, 6)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_lists_are_multilabel_and_an_empty_list_is_a_label(table, kind):
    records, source = read(table([row(1, label_x=["b", "a"]), row(2, label_x=[])], kind))
    assert source.tasks["x"].classes == ("a", "b")
    assert {r.sample_id: r.labels for r in records} == {"1": {"x": (0, 1)}, "2": {"x": ()}}


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        ([0, 1], "binary", ("not x", "x")),
        ([True, False], "binary", ("not x", "x")),
        ([0.0, 1.0], "binary", ("not x", "x")),
        (["0", "1"], "binary", ("not x", "x")),
        ([1, 1], "binary", ("not x", "x")),
        ([10, 9, 2], "multiclass", ("2", "9", "10")),
        (["b", "a"], "binary", ("a", "b")),
        (["yes", "no"], "binary", ("no", "yes")),
        (["a", "a|b"], "multilabel", ("a", "b")),
        ([["a"], "b"], "multilabel", ("a", "b")),
        ([["1"], ["0"]], "multilabel", ("0", "1")),
    ],
)
def test_the_kind_of_a_task_follows_from_its_values(table, values, kind, classes):
    rows = [row(n, label_x=value) for n, value in enumerate(values)]
    _, source = read(table(rows, "jsonl"))
    assert (source.tasks["x"].kind, source.tasks["x"].classes) == (kind, classes)


@pytest.mark.parametrize("value", [1.5, {"a": 1}, [None], [float("nan")], float("inf"), "a\0"])
def test_a_value_that_is_no_class_is_a_problem_of_its_row(table, value):
    records, source = read(table([row(1, label_x=0), row(2, label_x=value)], "jsonl"))
    assert [r.sample_id for r in records] == ["1"]
    assert source.report.problems[0].row == 2 and "label" in source.report.problems[0].reason


def test_an_empty_label_column_is_noted_and_gives_no_task(table):
    _, source = read(table([row(1, label_x=None), row(2, label_x="")]))
    assert source.tasks == {} and "the label column 'label_x' is empty" in source.report.notes


def test_the_user_can_name_every_column(table):
    rows = [{"key": 1, "file": "img/1.png", "title": "t", "part": "test", "topic": "a", "label": 0}]
    names = {"id": ("key",), "image": ("file",), "text": ("title",), "split": ("part",)}
    (record,), source = read(table(rows), "test", columns=names | {"label": ("topic",)})
    assert (record.sample_id, record.text, record.labels) == ("1", "t", {"topic": 0})
    assert set(source.tasks) == {"topic"}


def test_a_plain_label_column_is_a_task(table):
    assert set(read(table([row(1, label=1)]))[1].tasks) == {"label"}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_missing_column_names_those_that_are_there(table, kind):
    root = table([{"id": 1, "seen": "img/1.png", "heard": "x"}], kind)
    message = rf"captions\.{kind}: no columns 'image', 'text'\. .*'id', 'seen', 'heard'"
    with pytest.raises(InputError, match=message):
        open_source(f"folder:{root}")


def test_a_missing_label_column_names_those_that_are_there(table):
    with pytest.raises(InputError, match=r"no column 'mood'.*'id', 'image', 'text'"):
        open_source(f"folder:{table([row(1)])},label=mood")


def test_without_a_split_column_samples_are_divided_by_id_and_all_gives_everything(table):
    root = table([row(f"s{n}") for n in range(300)])
    source = open_source(f"folder:{root}")
    assert source.splits() == ("train", "dev", "test")
    parts = {s: [r.sample_id for r in source.records(s)] for s in source.splits()}
    assert sum(map(len, parts.values())) == 300
    assert len(set(parts["train"]) | set(parts["dev"]) | set(parts["test"])) == 300
    assert 210 < len(parts["train"]) < 270 and len(parts["dev"]) > 10 and len(parts["test"]) > 10
    for record in source.records("all"):
        assert record.sample_id in parts[record.split]
    table([row(f"s{n}") for n in range(0, 300, 7)][::-1])
    again = open_source(f"folder:{root}")
    assert {r.sample_id for r in again.records("dev")} <= set(parts["dev"])


def test_with_train_but_no_dev_a_tenth_of_train_is_dev(table):
    rows = [row(n, split="training" if n % 3 else "test") for n in range(300)]
    source = open_source(f"folder:{table(rows)}")
    assert source.splits() == ("train", "test", "dev")
    counts = {s: sum(1 for _ in source.records(s)) for s in source.splits()}
    assert counts["train"] + counts["dev"] == 200 and 5 < counts["dev"] < 40


def test_there_is_no_split_all_beside_a_split_column(table):
    source = open_source(f"folder:{table([row(1, split='a'), row(2, split='b')])}")
    with pytest.raises(InputError, match="There are: a, b"):
        source.records("all")


def test_a_split_named_all_is_a_split_like_any_other(table):
    records, source = read(table([row(1, split="all"), row(2, split="x")]))
    assert source.splits() == ("all", "x")
    assert [(r.sample_id, r.split) for r in records] == [("1", "all")]


@pytest.mark.parametrize("kind", FORMATS)
def test_bad_rows_are_reported_and_skipped(table, kind):
    rows = [
        row("1", split="train"),
        row("2", split=None),
        row("3", split="train") | {"image": "../../etc/passwd"},
        row("4", split="train") | {"text": None},
        row("1", split="train"),
        row(None, split="train"),
    ]
    source = open_source(f"folder:{table(rows, kind)}")
    good = [r.sample_id for r in [*source.records("train"), *source.records("dev")]]
    assert good == ["1"]
    assert source.report.by_reason == {
        "no split": 1,
        "image path leaves the dataset's folder": 1,
        "no text": 1,
        "duplicate id": 1,
        "no id": 1,
    }
    first = 1 if kind != "csv" else 2
    assert [p.row for p in source.report.problems][:1] == [first + 1]


def test_strict_stops_at_the_first_problem(table):
    with pytest.raises(InputError, match=r"captions\.csv row 3 \(id 2\): no text"):
        read(table([row(1), row(2) | {"text": ""}]), strict=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("captions.csv", b"", "captions.csv: empty file"),
        ("captions.csv", b'id,"image\n', "captions.csv: broken CSV"),
        ("captions.csv", b"id,image,text,text\n", "the column 'text' is there twice"),
        ("captions.jsonl", b"", "captions.jsonl: no rows"),
        ("captions.jsonl", b"{\n[]\n", "captions.jsonl: no rows"),
        ("captions.parquet", b"PAR1 nonsense PAR1", "captions.parquet: not a Parquet file"),
        ("captions.parquet", b"", "captions.parquet: not a Parquet file"),
        ("readme.txt", b"", "nothing here in the layout folder.*captions.csv"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(tmp_path: Path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_source(f"folder:{tmp_path}")


def test_a_parquet_file_damaged_inside_is_one_line(table):
    root = table([row(n) for n in range(2000)], "parquet")
    path = root / "captions.parquet"
    raw = bytearray(path.read_bytes())
    raw[100:8000] = b"\xff" * 7900
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"captions\.parquet: broken Parquet"):
        read(root)


def test_a_table_of_nothing_but_a_header_has_no_samples_and_says_so(table, tmp_path: Path):
    (table([row(1)]) / "captions.csv").write_text("id,image,text\n")
    records, source = read(tmp_path / "set")
    assert records == [] and source.report.by_reason == {
        "no rows below the names of the columns": 1
    }


def test_two_tables_are_ambiguous(table):
    table([row(1)], "jsonl")
    with pytest.raises(InputError, match=r"captions\.csv and captions\.jsonl: which one"):
        open_source(f"folder:{table([row(1)], 'csv')}")


def test_a_bom_and_windows_line_ends_in_a_csv(table):
    root = table([row(1, label_x="a")])
    path = root / "captions.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (record,), _ = read(root)
    assert record.sample_id == "1" and record.labels == {"x": 0}


def test_bytes_inside_parquet_that_are_no_image_are_named(table):
    source = open_source(f"folder:{table([row(1) | {'image': b'bytes'}], 'parquet')}")
    assert list(source.pairs("all")) == []
    assert source.report.problems[0].reason.startswith("unreadable image: in column image: not a")


@pytest.mark.parametrize(
    "column", ["label_", "label_ ", "label_日本", "label_?", "label_..", "label_/"]
)
def test_a_label_column_that_gives_no_task_name_is_refused(table, column):
    with pytest.raises(InputError, match="gives no task name"):
        open_source(f"folder:{table([row(1, **{column: 1})])}")


def write_media(root: Path) -> None:
    wavfile.write(root / "a.wav", 8000, np.zeros(40, dtype=np.int16))
    (root / "not.wav").write_bytes(b"ID3 and so on")
    np.savez(root / "r.npz", features=np.ones((2, 5)), boxes=np.ones((2, 4)))
    np.savez(root / "bad.npz", features=np.ones((2, 5)), boxes=np.ones((2, 3)))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_row_may_name_a_recording_and_regions(table, kind):
    root = table([row(1, audio="a.wav", regions="r.npz"), row(2, audio="a.wav", regions="x")], kind)
    write_media(root)
    source = open_source(f"folder:{root}")
    (sample,) = (pair.sample for pair in source.pairs("all"))
    assert (sample.text, len(sample.images)) == ("caption, no. 1", 1)
    assert (sample.audio.rate, sample.audio.samples.shape) == (8000, (40,))
    assert (sample.regions.features.shape, sample.regions.boxes.shape) == ((2, 5), (2, 4))
    assert source.report.by_reason == {"missing regions": 1}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_table_of_recordings_needs_no_image_and_has_none(table, kind):
    rows = [{"id": 1, "text": "said", "audio": "a.wav"}]
    root = table(rows, kind)
    write_media(root)
    (pair,) = open_source(f"folder:{root}").pairs("all")
    assert pair.record.image is None and pair.sample.images == ()
    assert pair.sample.audio is not None and pair.sample.regions is None


def test_regions_are_of_an_image(table):
    rows = [{"id": 1, "text": "said", "audio": "a.wav", "regions": "r.npz"}]
    with pytest.raises(InputError, match=r"captions\.csv: no column 'image'"):
        open_source(f"folder:{table(rows)}")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"audio": "none.wav"}, "missing audio: none.wav"),
        ({"audio": "../a.wav"}, "audio path leaves the dataset's folder: ../a.wav"),
        ({"audio": ""}, "no audio path"),
        ({"audio": "not.wav"}, "unreadable audio: not.wav: not a WAV file"),
        ({"regions": "../r.npz"}, "regions path leaves the dataset's folder: ../r.npz"),
        ({"regions": "a.wav"}, "unreadable regions: a.wav: neither an .npz"),
        ({"regions": "bad.npz"}, "unreadable regions: bad.npz: boxes are of shape (2, 3)"),
    ],
)
def test_a_recording_or_regions_that_cannot_be_read_are_a_problem_of_their_row(
    table, files, reason
):
    good = {"audio": "a.wav", "regions": "r.npz"}
    root = table([row(1, **good), row(2, **(good | files))])
    write_media(root)
    source = open_source(f"folder:{root}")
    assert [pair.record.sample_id for pair in source.pairs("all")] == ["1"]
    (problem,) = source.report.problems
    assert problem.reason.startswith(reason) and (problem.row, problem.sample_id) == (3, "2")


def test_the_user_can_name_the_columns_of_recordings_and_regions(table):
    root = table([row(1, sound="a.wav", detected="r.npz")])
    write_media(root)
    (pair,) = open_source(f"folder:{root},audio=sound,regions=detected").pairs("all")
    assert pair.sample.audio is not None and pair.sample.regions is not None


def test_training_says_at_once_that_there_is_no_image(table):
    from backend.train.examples import Examples

    root = table([{"id": 1, "text": "said", "audio": "a.wav"}])
    write_media(root)
    with pytest.raises(InputError, match="sample 1 has no image, which training needs"):
        Examples(open_source(f"folder:{root}"), "all", [], None)


def test_a_model_that_needs_images_says_which_sample_has_none(table):
    from tests.models.families.clip import tiny

    root = table([{"id": 1, "text": "said", "audio": "a.wav"}])
    write_media(root)
    samples = [pair.sample for pair in open_source(f"folder:{root}").pairs("all")]
    with pytest.raises(InputError, match="sample 1 has no image, which clip models need"):
        tiny().adapter.encode(samples)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_column_group_says_what_belongs_together(table, kind):
    groups = ["photo 1", "photo 1", None, 7, ""] if kind == "jsonl" else ["p", "p", None, "7", ""]
    records, source = read(table([row(n, group=g) for n, g in enumerate(groups)], kind))
    assert [r.group for r in records] == [groups[0], groups[0], "", "7", ""]
    assert source.report.count == 0
    other, _ = read(table([row(1, film="a")], kind), columns={"group": ("film",)})
    assert [r.group for r in other] == ["a"]


def test_a_group_that_is_no_name_is_a_problem_of_its_row(table):
    values = [["a"], True, 1.5, "x" * 501, "a\0b"]
    records, source = read(table([row(n, group=g) for n, g in enumerate(values)], "jsonl"))
    assert not records
    assert source.report.by_reason == {
        "group is neither text nor a whole number": 3,
        "group is longer than 500 characters": 1,
        "NUL character in group": 1,
    }


def test_a_column_of_numbers_with_a_gap_names_groups_by_whole_numbers(table):
    records, _ = read(table([row(1, group=3.0), row(2, group=None), row(3, group=3.0)], "parquet"))
    assert [r.group for r in records] == ["3", "", "3"]


@pytest.mark.parametrize("split", [None, "train"])
def test_no_carved_split_cuts_a_group(table, split):
    more = {} if split is None else {"split": split}
    rows = [row(f"s{n}", group=f"g{n % 60}" if n % 10 else None, **more) for n in range(600)]
    source = open_source(f"folder:{table(rows)}")
    parts = {s: list(source.records(s)) for s in source.splits()}
    assert sum(map(len, parts.values())) == 600 and all(parts.values())
    of: dict[str, set[str]] = {}
    for name, records in parts.items():
        for record in records:
            of.setdefault(record.group or record.sample_id, set()).add(name)
    assert all(len(names) == 1 for names in of.values())
    assert len(of) == 54 + 60
    assert any("by group" in note for note in source.report.notes)
    for record in source.records("all") if split is None else ():
        assert record.split in of[record.group or record.sample_id]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_list_of_images_in_a_row_is_a_problem_that_says_so(table, kind):
    records, source = read(table([{"id": 1, "image": ["a.png", "b.png"], "text": "x"}], kind))
    assert records == []
    assert source.report.problems[0].reason.startswith("several image paths, and one is read: ['a")
