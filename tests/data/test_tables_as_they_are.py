"""Tables as people really have them: the same table means the same whatever file it is in."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from backend.data import check_all, jsonfile, open_source, textfile
from backend.data import labels as labels_module
from backend.data.base import PairSource
from backend.data.report import digest8
from backend.errors import InputError
from tests.command_line import runner

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet")
N = 8
Folder = Callable[[str, bytes | str], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write a table into a folder with the images 1.png to 8.png."""
    for number in range(1, N + 1):
        Image.new("RGB", (4, 4), (30 * number, 0, 0)).save(tmp_path / f"{number}.png")

    def write(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write


def row(number: int, **more: object) -> dict[str, object]:
    return {"id": f"s{number}", "image": f"{number}.png", "text": f"text no {number}", **more}


def labelled(values: list[object]) -> list[dict[str, object]]:
    return [row(at % N + 1, label=v) | {"id": f"s{at}"} for at, v in enumerate(values)]


def encoded(rows: list[dict[str, object]], form: str) -> bytes:
    """A table in one of the formats; cells of text formats as Python prints the values."""
    if form == "parquet":
        out = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(rows), out)
        return out.getvalue()
    if form == "json":
        return json.dumps(rows, indent=1, default=str).encode()
    if form == "jsonl":
        return "".join(json.dumps(each, default=str) + "\n" for each in rows).encode()
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t" if form == "tsv" else ",")
    columns = list(dict.fromkeys(key for each in rows for key in each))
    writer.writerow(columns)
    writer.writerows([["" if r.get(c) is None else r[c] for c in columns] for r in rows])
    return text.getvalue().encode()


def reading(root: Path) -> tuple[object, ...]:
    """All that a data set says, but for where its rows stand."""
    source = open_source(f"folder:{root}")
    names = [("all",) if "all" in source.parts else source.splits()][0]
    records = [
        (r.sample_id, r.text, r.split, tuple(sorted(r.labels.items())), r.group)
        for name in names
        for r in source.records(name)
    ]
    tasks = {t.name: (t.kind, t.classes) for t in source.tasks.values()}
    return source.splits(), tasks, records, dict(source.report.by_reason), source.refused


def only_label(source: PairSource) -> tuple[object, list[object]]:
    labels = [record.labels.get("label") for record in source.records("all")]
    task = source.tasks.get("label")
    return (task.kind, task.classes) if task else None, labels


NEITHER = ("not label", "label")

# values, (kind, classes) or why it is no task, labels in order ("bad" rows are left out), a note
LABELS: dict[str, tuple[list[object], object, list[object], str]] = {
    "0 and 1": ([0, 1, 1], ("binary", NEITHER), [0, 1, 1], ""),
    "0.0 and 1.0": ([0.0, 1.0], ("binary", NEITHER), [0, 1], ""),
    "texts 0.0 and 1.0": (["0.0", "1.0"], ("binary", NEITHER), [0, 1], ""),
    "1e0": (["1e0", "0e0", "1.", "+1", "-0"], ("binary", NEITHER), [1, 0, 1, 1, 0], ""),
    "booleans": ([True, False], ("binary", NEITHER), [1, 0], ""),
    "TRUE and False": (["TRUE", "False", "true"], ("binary", NEITHER), [1, 0, 1], ""),
    "a gap in numbers": (
        [0.0, None, 1.0],
        ("binary", NEITHER),
        [0, None, 1],
        "1 of 3 rows have no",
    ),
    "nan and NA": (
        ["0", "nan", "NA", "N/A", "null", " ", "1"],
        ("binary", NEITHER),
        [0, None, None, None, None, None, 1],
        "5 of 7 rows have no label",
    ),
    "two texts": (["sad", "glad"], ("binary", ("glad", "sad")), [1, 0], "'sad' is the positive"),
    "yes and no": (["yes", "no"], ("binary", ("no", "yes")), [1, 0], "--task label=binary:no"),
    "-1 and 1": ([-1, 1], ("binary", ("-1", "1")), [0, 1], "two classes"),
    "1 and 2": (["1.0", "2.0"], ("binary", ("1", "2")), [0, 1], "two classes"),
    "three whole numbers": ([10, 9.0, 2], ("multiclass", ("2", "9", "10")), [2, 1, 0], ""),
    "true among texts": (
        ["true", "half-true", "FALSE"],
        ("multiclass", ("false", "half-true", "true")),
        [2, 1, 0],
        "",
    ),
    "codes with zeros": (["01", "02", "10"], ("multiclass", ("01", "02", "10")), [0, 1, 2], ""),
    "none is a class": (
        ["none", "a", "b"],
        ("multiclass", ("a", "b", "none")),
        [2, 0, 1],
        "'none' is read as a",
    ),
    "cat, Cat and cat with a space": (
        ["cat", "Cat", "cat ", "dog"],
        ("multiclass", ("Cat", "cat", "dog")),
        [1, 0, 1, 2],
        "'Cat' and 'cat' are 2 classes, but probably one",
    ),
    "hot dog and hot-dog": (
        ["hot dog", "hot-dog", "pie"],
        ("multiclass", ("hot dog", "hot-dog", "pie")),
        [0, 1, 2],
        "probably one",
    ),
    "composed letters": (
        ["caf\u00e9", "cafe\u0301", "x"],
        ("multiclass", ("cafe\u0301", "caf\u00e9", "x")),
        [1, 0, 2],
        "probably one",
    ),
    "a list and a name": ([["a"], "b"], ("multilabel", ("a", "b")), [(0,), (1,)], ""),
    "bars": (["a|b", "b"], ("multilabel", ("a", "b")), [(0, 1), (1,)], ""),
    "lists as Python prints": (
        ["['a', 'b']", "['b']", "[]"],
        ("multilabel", ("a", "b")),
        [(0, 1), (1,), ()],
        "are read as lists",
    ),
    "lists as numpy prints": (
        ["['a' 'b']", "['b']"],
        ("multilabel", ("a", "b")),
        [(0, 1), (1,)],
        "",
    ),
    "lists as JSON": (['["a"]', '["b"]'], ("multilabel", ("a", "b")), [(0,), (1,)], ""),
    "escapes in lists": (
        ['["caf\\u00e9"]', "['it\\'s']", r'["\ud83d\ude00"]'],
        ("multilabel", ("caf\u00e9", "it's", "\U0001f600")),
        [(0,), (1,), (2,)],
        "",
    ),
    "a gap in a list": (["['a', None]", "['b']"], ("multilabel", ("b",)), [(0,)], ""),
    "multi-hot as text": (
        ["[0, 1, 0]", "[0 0 0]", "[1. 1. 0.]"],
        ("multilabel", ("0", "1", "2")),
        [(1,), (), (0, 1)],
        "read as multi-hot",
    ),
    "square brackets in a name": (
        ["[CLS]", "[SEP]", "x"],
        ("multiclass", ("[CLS]", "[SEP]", "x")),
        [0, 1, 2],
        "",
    ),
    "commas that may be several": (
        ["drama, war", "war, love", "drama, love"],
        ("multiclass", ("drama, love", "drama, war", "war, love")),
        [1, 2, 0],
        "--task label=multilabel",
    ),
    "one class": (["cat", "cat"], ("multiclass", ("cat",)), [0, 0], "every label is 'cat'"),
    "one number": ([1, 1], ("binary", NEITHER), [1, 1], "every label is '1'"),
    "scores": ([n / 24 for n in range(24)], "scores and no classes", [None] * 24, "24 numbers"),
    "scores as text": ([f"{n / 9:.3f}" for n in range(9)], "with fractions", [None] * 9, ""),
    "decimal commas": (["0,5", "0,7", "1"], "decimal comma", [None] * 3, ""),
    "counts": ([n * n for n in range(24)], "counts or scores", [None] * 24, ""),
    "free text": (
        [f"a text {n} of its own" for n in range(30)],
        "different texts",
        [None] * 30,
        "",
    ),
    "dates": (
        [date(2024, 1, 3), date(2024, 1, 2), date(2024, 1, 3)],
        ("binary", ("2024-01-02", "2024-01-03")),
        [1, 0, 1],
        "two classes",
    ),
    "points in time": (
        [datetime(2024, 1, 3, 4, 5), None, datetime(2024, 1, 2)],
        ("binary", ("2024-01-02 00:00:00", "2024-01-03 04:05:00")),
        [1, None, 0],
        "",
    ),
    "times of day": ([time(12, 30), time(9)], ("binary", ("09:00:00", "12:30:00")), [1, 0], ""),
    "spans of time": (
        [timedelta(hours=h) for h in (1, 2, 30)],
        ("multiclass", ("1 day, 6:00:00", "1:00:00", "2:00:00")),
        [1, 2, 0],
        "",
    ),
    "decimals": ([Decimal("2.0"), Decimal("1.0")], ("binary", ("1", "2")), [1, 0], ""),
    "structures": (
        [{"a": 1}, {"a": 2}],
        "has no value that can be a class",
        [None, None],
        "give texts or numbers",
    ),
    "lists of structures": (
        [[{"a": "x"}], [{"a": "y, z"}]],
        "has no value that can be a class",
        [None, None],
        "",
    ),
    "nothing": ([None, ""], "is empty", [None, None], "is empty"),
    "one fraction": (["a", "b", 1.5, "a"], ("binary", ("a", "b")), [0, 1, 0], "two classes"),
    "20 classes of one row": (
        [f"c{n:02}" for n in range(20)],
        ("multiclass", tuple(f"c{n:02}" for n in range(20))),
        list(range(20)),
        "",
    ),
}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("case", LABELS)
def test_labels_mean_the_same_in_every_kind_of_file(folder: Folder, case: str, form: str) -> None:
    values, expected, labels, note = LABELS[case]
    if form == "parquet" and len({type(v) for v in values if v is not None}) > 1:
        values = [None if v is None else str(v) for v in values]
    source = open_source(f"folder:{folder(f'captions.{form}', encoded(labelled(values), form))}")
    task, read = only_label(source)
    if isinstance(expected, str):
        assert task is None and expected in source.refused["label"]
    else:
        assert task == expected
    assert read == labels
    assert note in "\n".join(source.report.notes)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("values", "expected", "labels"),
    [
        ([[0, 1], [1, 0], [1, 1]], ("multilabel", ("0", "1")), [(1,), (0,), (0, 1)]),
        ([[False, True], [False, False]], ("multilabel", ("0", "1")), [(1,), ()]),
        ([["a"], ["b", "a"], []], ("multilabel", ("a", "b")), [(0,), (0, 1), ()]),
        ([[3], [5, 3]], ("multilabel", ("3", "5")), [(0,), (0, 1)]),
        ([["1"], ["0"]], ("multilabel", ("0", "1")), [(1,), (0,)]),
    ],
)
def test_lists_of_labels(folder, values, expected, labels, form) -> None:
    source = open_source(f"folder:{folder(f'captions.{form}', encoded(labelled(values), form))}")
    assert only_label(source) == (expected, labels)


@pytest.mark.parametrize(
    ("values", "kind", "positive", "expected", "labels"),
    [
        (["sad", "glad"], "binary", "glad", ("binary", ("sad", "glad")), [0, 1]),
        (["sad", "glad"], "multiclass", "", ("multiclass", ("glad", "sad")), [1, 0]),
        ([0, 1], "multiclass", "", ("multiclass", ("0", "1")), [0, 1]),
        ([0.5, 1.5, 1], "multiclass", "", ("multiclass", ("0.5", "1", "1.5")), [0, 2, 1]),
        (["a, b", "b"], "multilabel", "", ("multilabel", ("a", "b")), [(0, 1), (1,)]),
        (["a;b", "c"], "multilabel", "", ("multilabel", ("a", "b", "c")), [(0, 1), (2,)]),
    ],
)
def test_the_kind_of_a_task_can_be_said(folder, values, kind, positive, expected, labels) -> None:
    source = open_source(f"folder:{folder('captions.jsonl', encoded(labelled(values), 'jsonl'))}")
    source.declare("label", kind, positive)
    assert only_label(source) == (expected, labels) and not source.refused


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    "values",
    [
        [f"t{n}" for n in range(12)],
        [n / 12 for n in range(12)],
        [[f"a{n}", "b"] for n in range(12)],
        list(range(12)),
    ],
)
def test_a_label_column_of_too_many_values_is_left_out_and_said(
    folder, monkeypatch, values, form
) -> None:
    monkeypatch.setattr(labels_module, "MAX_CLASSES", 10)
    rows = [each | {"label_x": at % 2} for at, each in enumerate(labelled(values))]
    source = open_source(f"folder:{folder(f'captions.{form}', encoded(rows, form))}")
    assert [r.labels for r in source.records("all")] == [{"x": at % 2} for at in range(12)]
    assert "over 10 distinct values" in source.refused["label"]
    assert any("'label' has over 10 distinct values" in note for note in source.report.notes)
    for kind in ("multiclass", "multilabel", "binary"):
        with pytest.raises(InputError, match="'label' has over 10 distinct values"):
            source.declare("label", kind)


def test_a_kind_that_does_not_fit_changes_nothing(folder) -> None:
    source = open_source(
        f"folder:{folder('captions.jsonl', encoded(labelled([2, 0, 1]), 'jsonl'))}"
    )
    with pytest.raises(InputError, match="has 3 classes"):
        source.declare("label", "binary")
    assert only_label(source) == (("multiclass", ("0", "1", "2")), [2, 0, 1])


@pytest.mark.parametrize(
    ("values", "kind", "positive", "message"),
    [
        ([0, 1, 2], "binary", "", "has 3 classes, binary has two"),
        (["a", "b"], "binary", "c", "has no class 'c', only 'a' and 'b'"),
        (["a", "b", "c"], "multiclass", "a", "only a binary task has a positive class"),
        ([["a"], ["b"]], "multiclass", "", "several classes in a row, so it is multilabel"),
        ([0, 1], "binary", "0", "has 1 as its positive class"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused(folder, values, kind, positive, message) -> None:
    source = open_source(f"folder:{folder('captions.jsonl', encoded(labelled(values), 'jsonl'))}")
    with pytest.raises(InputError, match=message):
        source.declare("label", kind, positive)


def test_labels_are_read_as_a_checkpoint_was_trained_on_them(folder) -> None:
    from backend.types import TaskSpec

    rows = [row(n, label=["sad", "glad"][n % 2], label_score=n / 16) for n in range(1, 9)]
    source = open_source(f"folder:{folder('captions.jsonl', encoded(rows, 'jsonl'))}")
    scores = tuple(sorted(f"{n / 16:.4f}".rstrip("0") for n in range(1, 9)))
    trained = (
        TaskSpec("label", "binary", ("sad", "glad")),
        TaskSpec("score", "multiclass", scores),
        TaskSpec("another", "binary", ("no", "yes")),
    )
    source.read_as(trained)
    assert tuple(source.tasks[name] for name in ("label", "score")) == trained[:2]
    assert [r.labels["label"] for r in source.records("all")][:2] == [1, 0]


def test_a_task_that_is_not_there_and_a_layout_that_says_its_kinds(folder, memes) -> None:
    source = open_source(f"folder:{folder('captions.jsonl', encoded(labelled([0, 1]), 'jsonl'))}")
    with pytest.raises(InputError, match=r"no task 'mood'.*It has: label"):
        source.declare("mood", "binary")
    with pytest.raises(InputError, match="hateful is binary in the layout hateful_memes"):
        open_source(f"hateful_memes:{memes}").declare("hateful", "multiclass")


# A cell with captions, and the list that another format has in its place; None for a plain text.
CAPTIONS: dict[str, tuple[str, list[object] | None]] = {
    "as Python prints": ("['a cat', 'a small cat']", ["a cat", "a small cat"]),
    "as JSON": ('["it\\u0027s", "a"]', ["it's", "a"]),
    "both quotes": ("""["it's a cat", 'a "cat"']""", ["it's a cat", 'a "cat"']),
    "one": ("['a cat']", ["a cat"]),
    "one as JSON": ('["a cat"]', ["a cat"]),
    "as numpy prints": ("['a cat' 'a small cat']", ["a cat", "a small cat"]),
    "as numpy prints over lines": ("['a cat'\n 'a small cat']", ["a cat", "a small cat"]),
    "without anything between": ("['a''b']", ["a", "b"]),
    "none": ("[]", []),
    "an empty one": ("['a', '']", ["a", ""]),
    "a gap": ("['a', None]", ["a", None]),
    "a gap in JSON": ('["a", null]', ["a", None]),
    "an emoji in JSON": ('["\\ud83d\\ude00"]', ["\U0001f600"]),
    "escapes": (r"""['a\nb', "it's \\ \x9f \U0001f600"]""", ["a\nb", "it's \\ \x9f \U0001f600"]),
    "very many": (
        str([f"a cat, no {n}" for n in range(5_000)]),
        [f"a cat, no {n}" for n in range(5_000)],
    ),
    "brackets in a text": ("[sic] a cat", None),
    "a number": ("['a', 1]", None),
    "a list in a list": ("['a', ['b']]", None),
    "numbers": ("[1, 2]", None),
    "an end that is missing": ("['a', 'b'", None),
    "code": ("['a', __import__('os')]", None),
}


@pytest.mark.parametrize("case", CAPTIONS)
def test_captions_mean_the_same_in_a_cell_and_in_a_list(folder, case) -> None:
    cell, captions = CAPTIONS[case]
    root = folder("captions.csv", encoded([row(1, text=cell), row(2)], "csv"))
    as_text, source = reading(root), open_source(f"folder:{root}")
    list(source.records("all"))
    lists = any("are read as lists" in note for note in source.report.notes)
    assert lists == (captions is not None)
    (root / "captions.csv").unlink()
    listed = [row(1, text=cell if captions is None else captions), row(2)]
    assert as_text == reading(folder("captions.jsonl", encoded(listed, "jsonl")))
    texts = [text for _, text, *_ in as_text[2]]
    assert texts == [*([cell] if captions is None else filter(None, captions)), "text no 2"]


TABLE = [
    row(1, split="train", label="a|b", group="g"),
    row(2, split="dev", label="b"),
    row(3, split="test", text='says "hi", twice; and \u2028 \u00fc', group="h"),
    row(4, split="train", label=None),
]
PLAIN = ",".join(TABLE[0])


def lines(*cells: str, separator: str = ",", header: str = "id,image,text") -> str:
    return "\n".join([header.replace(",", separator), *cells, ""])


def table_as(form: str, change: Callable[[bytes], bytes] = lambda raw: raw) -> bytes:
    return change(encoded(TABLE, form))


def recoded(encoding: str) -> Callable[[bytes], bytes]:
    return lambda raw: raw.decode().encode(encoding)


# The table above in other clothes: file name, content, what is said of it.
CLOTHES: dict[str, tuple[str, bytes, str]] = {
    **{form: (f"captions.{form}", table_as(form), "") for form in FORMATS},
    "ndjson": ("captions.ndjson", table_as("jsonl"), ""),
    "an array named jsonl": ("captions.jsonl", table_as("json"), "JSON array"),
    "an array in one line": ("captions.json", json.dumps(TABLE).encode(), "JSON array"),
    "objects one after the other": (
        "captions.jsonl",
        table_as("jsonl", lambda raw: raw.replace(b"\n", b"")),
        "",
    ),
    "objects over several lines": (
        "captions.json",
        "\n".join(json.dumps(each, indent=2) for each in TABLE).encode(),
        "over several lines",
    ),
    "CR line ends in JSON": (
        "captions.jsonl",
        table_as("jsonl", lambda raw: raw.replace(b"\n", b"\r")),
        "CR alone",
    ),
    "CR line ends in CSV": (
        "captions.csv",
        table_as("csv", lambda raw: raw.replace(b"\r\n", b"\r")),
        "CR alone",
    ),
    "a gzip named jsonl": ("captions.jsonl", table_as("jsonl", gzip.compress), "gzip"),
    "csv.gz": ("captions.csv.gz", table_as("csv", gzip.compress), "gzip"),
    "jsonl.gz": ("captions.jsonl.gz", table_as("jsonl", gzip.compress), "gzip"),
    "a BOM in CSV": ("captions.csv", table_as("csv", recoded("utf-8-sig")), ""),
    "a BOM in JSON": ("captions.json", table_as("json", recoded("utf-8-sig")), ""),
    "UTF-16": ("captions.csv", table_as("csv", recoded("utf-16")), "UTF-16"),
    "UTF-16 LE without BOM": ("captions.csv", table_as("csv", recoded("utf-16-le")), "UTF-16"),
    "UTF-16 BE without BOM": ("captions.jsonl", table_as("jsonl", recoded("utf-16-be")), "UTF-16"),
    "UTF-32": ("captions.tsv", table_as("tsv", recoded("utf-32")), "UTF-32"),
    "tabs in a csv": ("captions.csv", table_as("tsv"), "parted by tabs"),
    "commas in a tsv": ("captions.tsv", table_as("csv"), "parted by commas"),
    "Parquet named csv": ("captions.csv", table_as("parquet"), ""),
    "JSON named csv": ("captions.csv", table_as("jsonl"), ""),
    "an empty column for the index": (
        "captions.csv",
        table_as(
            "csv",
            lambda raw: b"".join(
                b"%s,%s" % (b"" if at == 0 else b"%d" % at, line)
                for at, line in enumerate(raw.splitlines(keepends=True))
            ),
        ),
        "",
    ),
}


@pytest.mark.parametrize("case", CLOTHES)
def test_the_same_table_in_other_clothes_says_the_same(folder, tmp_path_factory, case) -> None:
    name, content, said = CLOTHES[case]
    root = folder(name, content)
    expected = (
        ("train", "dev", "test"),
        {"label": ("multilabel", ("a", "b"))},
        [
            ("s1", "text no 1", "train", (("label", (0, 1)),), "g"),
            ("s4", "text no 4", "train", (), ""),
            ("s2", "text no 2", "dev", (("label", (1,)),), ""),
            ("s3", TABLE[2]["text"], "test", (), "h"),
        ],
        {},
        {},
    )
    assert reading(root) == expected
    assert said in "\n".join(open_source(f"folder:{root}").report.notes)


# CSV text, the texts that are read by id, the problems by row, a note
DIALECTS: dict[str, tuple[str, dict[str, str], dict[int, str], str]] = {
    "semicolons": (
        lines("a;1.png;one, two", "b;2.png;three", separator=";"),
        {"a": "one, two", "b": "three"},
        {},
        "parted by semicolons",
    ),
    "sep line": (
        "sep=;\r\n" + lines("a;1.png;one", separator=";"),
        {"a": "one"},
        {},
        "parted by semicolons",
    ),
    "sep line in quotes": (
        '"sep=|"\n' + lines("a|1.png|one", separator="|"),
        {"a": "one"},
        {},
        "bars",
    ),
    "spaces after commas": (
        lines('a, 1.png, "one, two"', 'b, 2.png, "three"', header="id, image, text"),
        {"a": "one, two", "b": "three"},
        {},
        "spaces after the separators",
    ),
    "a space in one cell": (
        lines("a,1.png, one", "b,2.png,two"),
        {"a": " one", "b": "two"},
        {},
        "",
    ),
    "escaped quotes": (
        lines(r'a,1.png,"say \"hi\""', "b,2.png,two"),
        {"a": 'say "hi"', "b": "two"},
        {},
        "first in row 2",
    ),
    "an escaped quote at the end": (
        lines(r'a,1.png,"so \"so\""', r'b,2.png,"\"x\", y"', "c,3.png,z"),
        {"a": 'so "so"', "b": '"x", y', "c": "z"},
        {},
        "read as quotes",
    ),
    "backslashes stay": (lines(r'a,1.png,"C:\new"'), {"a": r"C:\new"}, {}, ""),
    "empty columns at the end": (
        lines("a,1.png,one,,", "b,2.png,two"),
        {"a": "one", "b": "two"},
        {},
        "",
    ),
    "an open quote": (
        lines('a,1.png,"one', "b,2.png,two", "c,3.png,three"),
        {"b": "two", "c": "three"},
        {2: "broken CSV"},
        "",
    ),
    "an open quote that a later one closes": (
        lines(
            '1.png,a,"one', "2.png,b,two", '3.png,c,three"', "4.png,d,four", header="image,id,text"
        ),
        {"b": "two", "c": 'three"', "d": "four"},
        {2: "broken CSV: a quote stays open up to row 4"},
        "",
    ),
    "a cell over lines that is meant": (
        lines('a,1.png,"one\ntwo, or three\nfour"', "b,2.png,five"),
        {"a": "one\ntwo, or three\nfour", "b": "five"},
        {},
        "goes over lines 2 to 4",
    ),
    "an open quote over rows of other names": (
        lines('a,img/1.png,"one', "b7,2.png,two", '"3f",1.png,x', "c,3.png,three"),
        {"b7": "two", "3f": "x", "c": "three"},
        {2: "broken CSV"},
        "",
    ),
    "an open quote in the first column": (
        lines(
            '"one,a,1.png', "two,b,2.png", 'three",c,3.png', "four,d,4.png", header="text,id,image"
        ),
        {"b": "two", "c": 'three"', "d": "four"},
        {2: "a quote stays open up to row 4"},
        "",
    ),
    "an open quote among semicolons": (
        lines('a;1.png;"one', "b;2.png;two", 'c;3.png;three"', separator=";"),
        {"b": "two", "c": 'three"'},
        {2: "a quote stays open up to row 4"},
        "parted by semicolons",
    ),
    "as many commas as columns": (
        lines('a,1.png,"one', 'two, three, four"', "b,2.png,five"),
        {"a": "one\ntwo, three, four", "b": "five"},
        {},
        "goes over lines 2 to 3",
    ),
    "as many commas as columns and no space": (
        lines("a,1.png,one", 'b,2.png,"colours:', "red,green,blue", 'x,y,z"', "c,3.png,five"),
        {"a": "one", "b": "colours:\nred,green,blue\nx,y,z", "c": "five"},
        {},
        "goes over lines 3 to 5",
    ),
    "as many semicolons as columns": (
        lines('1;1.png;"so', 'red;9;blue"', "2;2.png;five", separator=";"),
        {"1": "so\nred;9;blue", "2": "five"},
        {},
        "goes over lines 2 to 3",
    ),
    "as many commas as columns behind numbers": (
        lines('1,"one', 'two,three,four",2.png', "2,five,1.png", header="id,text,image"),
        {"1": "one\ntwo,three,four", "2": "five"},
        {},
        "goes over lines 2 to 3",
    ),
    "a row that is too short": (lines("a,1.png", "b,2.png,two"), {"b": "two"}, {2: "2 fields"}, ""),
    "Windows-1252": (
        lines("a,1.png,ca\udce9", "b,2.png,two"),
        {"b": "two"},
        {2: "text is not UTF-8"},
        "in Windows-1252 it says",
    ),
    "NUL": (lines("a,1.png,x\0y", "b,2.png,two"), {"b": "two"}, {2: "NUL character"}, ""),
}


@pytest.mark.parametrize("case", DIALECTS)
def test_dialects_of_csv(folder, case) -> None:
    text, texts, problems, said = DIALECTS[case]
    source = open_source(
        f"folder:{folder('captions.csv', text.encode('utf-8', 'surrogateescape'))}"
    )
    assert {r.sample_id: r.text for r in source.records("all")} == texts
    assert {p.row: p.reason for p in source.report.problems}.keys() == problems.keys()
    for problem in source.report.problems:
        assert problems[int(problem.row)] in problem.reason
    notes = "\n".join(source.report.notes)
    assert said in notes and (said or "captions.csv" not in notes)


GOOD = '{"id": "a", "image": "1.png", "text": "one"}'

# JSON text, ids that are read, problems by row
DAMAGE: dict[str, tuple[str, list[str], dict[int, str]]] = {
    "a broken line": (f"{GOOD}\n{{\n", ["a"], {2: "broken JSON"}),
    "a key twice": ('{"id": "b", "id": "c"}\n' + GOOD, ["a"], {1: "the key 'id' is there twice"}),
    "a number among objects": (
        f"[{GOOD}, 7, {GOOD.replace('a', 'b', 1)}]",
        ["a"],
        {2: "not a JSON"},
    ),
    "an array that is cut off": (f"[{GOOD},\n", ["a"], {2: "the array does not end"}),
    "an object that is cut off": (f'[{GOOD},\n{{"id": "b", "te', ["a"], {2: "does not end"}),
    "braces in texts": ('[\n{"id": "a", "image": "1.png", "text": "} \\" {"}\n]', ["a"], {}),
    "nesting": (GOOD + "\n" + '{"a":' * 5_000 + "\n", ["a"], {2: "broken JSON"}),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_json_costs_the_row_alone(folder, case) -> None:
    text, ids, problems = DAMAGE[case]
    source = open_source(f"folder:{folder('captions.jsonl', text)}")
    assert [r.sample_id for r in source.records("all")][: len(ids)] == ids
    for row_number, reason in problems.items():
        assert any(p.row == row_number and reason in p.reason for p in source.report.problems), (
            source.report.problems
        )


# Tables in one line that is longer than a line may be.
IN_ONE_LINE: dict[str, Callable[[str], bytes]] = {
    "an array": lambda objects: f"[{objects}]".encode(),
    "an array with a line end": lambda objects: f"\ufeff [ {objects} ] \n".encode(),
    "a packed array": lambda objects: gzip.compress(f"[{objects}]".encode()),
    "a UTF-16 array": lambda objects: f"[{objects}]".encode("utf-16"),
    "objects in a row": lambda objects: objects.replace("}, {", "}{").encode(),
}


@pytest.mark.parametrize("form", ["json", "jsonl"])
@pytest.mark.parametrize("case", IN_ONE_LINE)
def test_a_table_in_one_long_line_is_read(folder, monkeypatch, case, form) -> None:
    for module in (jsonfile, textfile):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 2**17)
    rows = [row(n % N + 1, text='\\"} {' * 300 + str(n)) | {"id": str(n)} for n in range(90)]
    content = IN_ONE_LINE[case](json.dumps(rows)[1:-1])
    source = open_source(f"folder:{folder(f'captions.{form}', content)}")
    read = [(r.sample_id, r.text) for r in source.records("all")]
    assert read == [(str(each["id"]), each["text"]) for each in rows] and not source.report.count


@pytest.mark.parametrize("size", [16, 17, 23, 64])
def test_objects_are_read_wherever_a_file_is_cut_into_chunks(tmp_path, monkeypatch, size) -> None:
    monkeypatch.setattr(textfile, "_CHUNK", size)
    rows = [{"a": '\\" {[}\u00e9' * n, "b": [1, {"c": "}\\"}]} for n in range(20)]
    for text in (json.dumps(rows), json.dumps(rows, indent=1, ensure_ascii=False)):
        (tmp_path / "a.json").write_text(text)
        assert [value for _, value in jsonfile.json_rows(tmp_path / "a.json")] == rows


@pytest.mark.parametrize(("size", "held"), [(10, 30), (2**19, 2), (2**21, 1)])
def test_the_head_of_a_table_is_not_held_whole(size: int, held: int) -> None:
    lines = ((number, "x" * size) for number in range(1, 100))
    assert len(textfile.head_of(lines, 30)) == held
    assert next(lines)[0] == held + 1


# name, content, what the refusal says: what it is, and what to do
REFUSED: dict[str, tuple[str, bytes | str, str]] = {
    "a workbook": ("captions.csv", b"PK\x03\x04xl/workbook.xml", "Excel workbook.*Save it as CSV"),
    "an old workbook": ("captions.csv", b"\xd0\xcf\x11\xe0\xa1\xb1", "old Excel.*Save it as CSV"),
    "a web page": ("captions.jsonl", "<!DOCTYPE html><p>404", "web page.*Download the file itself"),
    "an LFS pointer": (
        "captions.csv",
        "version https://git-lfs.github.com/spec/v1\n",
        "Git LFS pointer.*git lfs pull",
    ),
    "a pickle": ("captions.jsonl", b"\x80\x04\x95\x0c", "pickle.*Save the table"),
    "bzip2": ("captions.csv", b"BZh91AY&SY", "bzip2.*Unpack it"),
    "an Arrow file": ("captions.jsonl", b"ARROW1\0\0", "Arrow file.*Save it as Parquet"),
    "a gzip that is cut off": (
        "captions.csv.gz",
        gzip.compress(encoded(TABLE, "csv") * 50)[:60],
        "broken gzip",
    ),
    "no Parquet": ("captions.parquet", "id,image,text\n", "not a Parquet file"),
    "columns under keys": (
        "captions.json",
        '{"id": {"0": "a"}, "image": {"0": "1.png"}, "text": {"0": "x"}}',
        "table by columns.*orient='records'",
    ),
    "columns as lists": ("captions.json", '{"id": ["a"], "text": ["x"]}', "table by columns"),
    "rows under a key": (
        "captions.json",
        '{"version": 1, "data": [{"id": "a"}]}',
        "rows under 'data'.*Save that list",
    ),
    "CSV named jsonl": ("captions.jsonl", lines("a,1.png,x"), "no rows: row 1: broken JSON"),
    "an empty CSV": ("captions.csv", "", "empty file"),
    "an empty array": ("captions.json", "[]", "no rows"),
    "two columns that fit": (
        "captions.csv",
        "id,img,file_name,text\n",
        "'img' and 'file_name'.*image=img",
    ),
    "two cases of a name": ("captions.csv", "id,image,Text,TEXT\n", "'Text' and 'TEXT'"),
    "the same name twice": ("captions.csv", "id,image,text,text\n", "'text' is there twice"),
    "no ids": ("captions.csv", "image,text\n", "no column 'id'.*'image', 'text'"),
    "broken UTF-16": ("captions.csv", b"\xff\xfei\0d\0,\0\x00\xd8x\0", "broken UTF-16.*UTF-8"),
    "a task without a name": ("captions.csv", "id,image,text,label_\n", "gives no task name"),
    "two columns of one task": ("captions.csv", "id,text,label_x,Label_x\n", "two label columns"),
    "two cases of one task": (
        "captions.csv",
        "id,text,label_x,label_X\n",
        "'label_x', 'label_X'.*label=",
    ),
    "two columns made one task": (
        "captions.csv",
        "id,text,label_a b,label_a/b\n",
        "two label columns",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_clear_is_refused_with_what_to_do(folder, case) -> None:
    name, content, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        open_source(f"folder:{folder(name, content)}")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


# layout, a file, and what to do with it
UNREAD: dict[str, tuple[str, str, bytes, str]] = {
    "a Feather table": ("folder", "captions.feather", b"ARROW1", "save it as CSV, JSON or Parquet"),
    "a Feather table of the hub": ("hf", "train.feather", b"ARROW1", "save it as CSV"),
    "a Feather table called arrow": (
        "hf",
        "train.arrow",
        b"ARROW1\0\0abc",
        "Save it as|Name the folder",
    ),
    "an Arrow table": ("imagefolder", "metadata.arrow", b"ARROW1", "save it as CSV"),
    "a workbook": ("folder", "captions.xlsx", b"PK", "captions.xlsx is no table that is read"),
    "a pickle": ("folder", "captions.pkl", b"\x80\x04", "save it as CSV"),
    "packed shards": ("webdataset", "train-0.tar.gz", b"\x1f\x8b", "unpack it .*a plain .tar"),
    "tgz": ("webdataset", "train-0.tgz", b"\x1f\x8b", "unpack it .*a plain .tar"),
    "a packed folder": ("folder", "memes.tar.gz", b"\x1f\x8b", "memes.tar.gz is packed: unpack it"),
    "a packed table": ("folder", "captions.csv.zip", b"PK", "csv.zip is packed: unpack it"),
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("case", UNREAD)
def test_a_file_that_is_not_read_is_refused_with_what_to_do(tmp_path, case, named) -> None:
    layout, name, content, message = UNREAD[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"(?i){message}") as caught:
        open_source(f"{layout}:{tmp_path / name if named else tmp_path}")
    assert "\n" not in str(caught.value)


def test_the_table_itself_is_named_by_its_folder(folder) -> None:
    root = folder("captions.csv", lines("a,1.png,one"))
    with pytest.raises(InputError, match=r"not a folder\. Name the folder that it lies in"):
        open_source(f"folder:{root}/captions.csv")


# header, what is said; the columns hold an id, an image, a text and what comes after
COLUMNS: dict[str, tuple[str, str]] = {
    "another case": ("ID,Image,TEXT", "'ID' is read as id, 'Image' is read as image"),
    "synonyms": ("sample_id,file_name,caption", "'file_name' is read as image"),
    "spaces": (" id , Image Path ,Caption ", "'Image Path' is read as image"),
    "a weak synonym": ("uid,path,sentence", "'path' is read as image"),
    "Label": ("id,image,text,Label", "'Label' is read as the label 'label'"),
    "labels": ("id,image,text,labels", "'labels' is read as the label 'label'"),
    "class": ("id,image,text,class", "'class' is read as the label 'class'"),
    "Label_Mood": ("id,image,text,Label_Mood", "'Label_Mood' is read as the label 'Mood'"),
    "Split": ("id,image,text,Split", "'Split' is read as split"),
    "subset": ("id,image,text,subset", "'subset' is read as split"),
    "an unused label": (
        "id,image,text,sentiment",
        "'sentiment' is not used, but looks like labels",
    ),
    "is_spam": ("id,image,text,is_spam", "'is_spam' is not used, but looks like labels"),
    "few values": ("id,image,text,colour", "'colour' is not used, but looks like labels (2 values"),
    "a label beside a label": ("id,image,text,label,genre", "behind the path: ,label=genre"),
}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("case", COLUMNS)
def test_columns_are_found_whatever_they_are_called(folder, case, form) -> None:
    header, said = COLUMNS[case]
    names = header.split(",") if form == "csv" else [name.strip() for name in header.split(",")]
    cells = [[f"s{n}", f"{n % N + 1}.png", f"t{n}", *("ab"[n % 2] * 2)] for n in range(12)]
    rows = [dict(zip(names, cell, strict=False)) for cell in cells]
    source = open_source(f"folder:{folder(f'captions.{form}', encoded(rows, form))}")
    split = source.splits()[0] if "all" not in source.parts else "all"
    assert [r.text for r in source.records(split)][:1] == ["t0"]
    assert said in "\n".join(source.report.notes)


# The name of a label column, and its task.
TASKS: dict[str, str] = {
    "label_mood": "mood",
    "label_Mood": "Mood",
    "label_a.b": "a.b",
    "label_a-b": "a-b",
    "label__a": "_a",
    "label_a b": "a_b",
    "label_Is it fun?": "Is_it_fun",
    "label_a/b\\c": "a_b_c",
    "label_../x": "x",
    "label_-x": "x",
    "label_.x": "x",
    "label___proto__": "proto",
    "label_caf\u00e9": "cafe",
    "label_a\tb": "a_b",
    "label_" + "x" * 60: "x" * 60,
    "label_" + "x" * 61: "x" * 43 + "-" + format(digest8("x" * 61), "016x"),
    "label_" + "y z" * 99: ("y_z" * 99)[:43] + "-" + format(digest8("y z" * 99), "016x"),
}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("column", TASKS)
def test_a_label_column_of_any_name_is_a_task_and_its_name_is_said(folder, column, form) -> None:
    rows = [row(n, **{column: "ab"[n % 2]}) for n in range(1, 5)]
    source = open_source(f"folder:{folder(f'captions.{form}', encoded(rows, form))}")
    task = TASKS[column]
    assert {r.sample_id: r.labels for r in source.records("all")} == {
        f"s{n}": {task: n % 2} for n in range(1, 5)
    }
    said = any(f"is read as the label {task!r}" in note for note in source.report.notes)
    assert said == (column != f"label_{task}")
    named = open_source(f"folder:{source.root},label={column}")
    assert tuple(named.tasks) == (task,)


@pytest.mark.parametrize(
    ("names", "splits", "train"),
    [
        (["Train", "Val", "Test"], ("train", "dev", "test"), ["s0"]),
        (["TRAINING", "valid", "testing"], ("train", "dev", "test"), ["s0"]),
        (["train", "validation", "restval"], ("train", "dev"), ["s0", "s2"]),
        (["trn", "development", "tst"], ("train", "dev", "test"), ["s0"]),
        (["train", "dev_seen", "dev_unseen"], ("train", "dev_seen", "dev_unseen"), ["s0"]),
        (["train", "dev", "val"], ("train", "dev", "val"), ["s0"]),
        (["train", "dev", "hidden"], ("train", "dev", "hidden"), ["s0"]),
    ],
)
def test_split_names_are_found_later_whatever_they_are(folder, names, splits, train) -> None:
    rows = [row(at + 1, split=name) | {"id": f"s{at}"} for at, name in enumerate(names)]
    source = open_source(f"folder:{folder('captions.jsonl', encoded(rows, 'jsonl'))}")
    assert source.splits() == splits
    assert [r.sample_id for r in source.records("TRAIN")] == train
    assert list(source.records(names[1])) == list(source.records("dev"))
    changed = any(name not in splits for name in names)
    assert any("usual names" in note for note in source.report.notes) == changed


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("values", [[None] * 4, ["", " ", None, "NA"], ["nan"] * 4])
def test_a_split_column_that_names_none_divides_nothing_and_is_said(folder, values, form) -> None:
    rows = [row(at + 1, split=value) for at, value in enumerate(values)]
    root = folder(f"captions.{form}", encoded(rows, form))
    source = open_source(f"folder:{root}")
    assert {r.sample_id for r in source.records("all")} == {"s1", "s2", "s3", "s4"}
    assert any("'split' names no split in any row: not read" in n for n in source.report.notes)
    assert any("no split column" in note for note in source.report.notes)
    (root / f"captions.{form}").unlink()
    plain = folder(f"captions.{form}", encoded([row(at + 1) for at in range(4)], form))
    assert reading(plain)[:3] == reading(root)[:3]


@pytest.mark.parametrize(
    ("form", "values"),
    [("csv", ["0.0", "1.0"]), ("parquet", [0.0, 1.0]), ("jsonl", [0, 1]), ("csv", ["0", "1"])],
)
def test_splits_that_are_numbers_have_one_name(folder, form, values) -> None:
    rows = [row(at + 1, split=value) for at, value in enumerate(values)]
    assert open_source(f"folder:{folder(f'captions.{form}', encoded(rows, form))}").splits() == (
        "0",
        "1",
    )


def test_a_data_set_of_test_alone_can_be_captured_and_says_that_it_cannot_be_trained(
    folder,
) -> None:
    from backend.train.plan import chosen_tasks
    from backend.train.recipe import TrainPlan

    rows = [row(n, split="Test", label=n % 2) for n in range(1, 5)]
    root = folder("captions.jsonl", encoded(rows, "jsonl"))
    source = open_source(f"folder:{root}")
    report = check_all(source)
    assert report.good == {"test": 4} and report.count == 0
    assert any("it can be captured (test), not trained" in note for note in report.notes)
    with pytest.raises(InputError, match="cannot be trained: it has no train split, only test"):
        chosen_tasks(TrainPlan(data=f"folder:{root}", placement="none"), source)


@pytest.mark.parametrize(
    ("values", "tasks", "message"),
    [
        ([n / 24 for n in range(24)], (), "cannot be trained: it holds 24 numbers"),
        ([n / 24 for n in range(24)], ("label",), "cannot be trained: it holds 24 numbers"),
        ([0, 1] * 12, ("mood",), "no task 'mood'"),
        ([0, 1] * 12, ("label=regression",), "names no kind of task.*binary, multiclass"),
        ([0, 1, 2] * 12, ("label=binary",), "has 3 classes, binary has two"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_trains(folder, values, tasks, message):
    from backend.train.plan import chosen_tasks
    from backend.train.recipe import TrainPlan

    root = folder("captions.jsonl", encoded(labelled(values), "jsonl"))
    plan = TrainPlan(data=f"folder:{root}", placement="none", tasks=tasks)
    with pytest.raises(InputError, match=message):
        chosen_tasks(plan, open_source(plan.data))


def test_tasks_by_kind_are_those_that_train(folder) -> None:
    from backend.train.plan import chosen_tasks
    from backend.train.recipe import TrainPlan

    root = folder("captions.jsonl", encoded(labelled(["sad", "glad"] * 9), "jsonl"))
    for word, classes in (("label", ("glad", "sad")), ("label=binary:glad", ("sad", "glad"))):
        plan = TrainPlan(data=f"folder:{root}", placement="none", tasks=(word,))
        (task,) = chosen_tasks(plan, open_source(plan.data))
        assert (task.kind, task.classes) == ("binary", classes)


@pytest.mark.parametrize(
    ("kind", "classes", "labels", "message"),
    [
        ("binary", ("no", "yes"), [None, None], "has no labels for task 'mood'"),
        ("binary", ("no", "yes"), [1, None, 1], "in split 'dev' are 'yes'"),
        ("multiclass", ("a", "b", "c"), [2, 2], "in split 'dev' are 'c'"),
        ("multilabel", ("a", "b"), [(0, 1), (0, 1)], "in split 'dev' are 'a, b'"),
        ("multilabel", ("a", "b"), [(), ()], "are 'none of them'"),
    ],
)
def test_a_split_of_one_class_is_refused(kind, classes, labels, message) -> None:
    from backend.train.plan import require_classes
    from backend.types import TaskSpec

    task = TaskSpec("mood", kind, classes)
    with pytest.raises(InputError, match=message):
        require_classes(task, labels, "dev", "data x")
    require_classes(
        task, [*labels, 0 if kind != "multilabel" else (0,), labels[0] or 1], "dev", "x"
    )


def test_check_names_what_only_the_whole_shows(folder, tmp_path) -> None:
    rows = [
        row(n, split="train" if n < 5 else "dev", label=n % 2 if n < 5 else 1) for n in range(1, 8)
    ]
    rows[1]["text"] = "long " * 4_000
    report = check_all(open_source(f"folder:{folder('captions.jsonl', encoded(rows, 'jsonl'))}"))
    notes = "\n".join(report.notes)
    assert "1 text far longer than the rest: captions.jsonl row 2 (20,000 characters)" in notes
    assert "1 image lies there that no usable row names, such as" in notes and "/8.png" in notes
    assert "3 labels for label in dev, and every one is 'label'" in notes


ONE, THREE, FOUR = (b'{"image": "%d.png", "text": "x"}' % n for n in (1, 3, 4))

# The same four rows without ids, of which the second cannot be read, and where the file has that.
UNCALLED: dict[str, tuple[str, bytes, int]] = {
    "csv": ("captions.csv", b'image,text\n1.png,"a\nb"\n2.png\n\n3.png,c\n4.png,d\n', 4),
    "csv after a line sep": (
        "captions.csv",
        b"sep=;\nimage;text\n1.png;a\n2.png\n3.png;c\n4.png;d",
        4,
    ),
    "jsonl": ("captions.jsonl", b"\n".join([ONE, b"", b'{"image', THREE, FOUR]), 3),
    "objects in a row": ("captions.jsonl", ONE + b'\n{"image\n' + THREE + FOUR, 2),
    "json": ("captions.json", b"[%s, 7,\n%s, %s]" % (ONE, THREE, FOUR), 2),
}


@pytest.mark.parametrize("case", UNCALLED)
def test_rows_without_ids_are_counted_whatever_lines_they_take(folder, case) -> None:
    name, content, bad = UNCALLED[case]
    source = open_source(f"folder:{folder(name, content)},id=")
    called = {r.sample_id: Path(str(r.image)).stem for r in source.records("all")}
    assert called == {"1": "1", "3": "3", "4": "4"}
    assert [problem.row for problem in source.report.problems] == [bad]


@pytest.mark.parametrize("wrapped", [True, False])
def test_pictures_inside_parquet_are_read(folder, wrapped) -> None:
    rows = []
    for n in range(5):
        out = io.BytesIO()
        Image.new("RGB", (3 + n, 4), (0, 50 * n, 0)).save(out, "PNG")
        picture = {"bytes": out.getvalue(), "path": f"{n}.png"} if wrapped else out.getvalue()
        rows.append({"image": picture, "text": f"t{n}", "label": n % 2})
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out, row_group_size=2)
    source = open_source(f"folder:{folder('captions.parquet', out.getvalue())}")
    pairs = list(source.pairs("all"))
    assert [pair.sample.images[0].size for pair in pairs] == [(3 + n, 4) for n in range(5)]
    assert [pair.record.sample_id for pair in pairs] == ["1", "2", "3", "4", "5"]
    assert any("number of its row" in note for note in source.report.notes)


@pytest.mark.parametrize(
    ("text", "rows", "message"),
    [
        ("x", 400_000, "bytes hold 400,000 rows"),
        ("x" * 2**21, 300, "256 rows from row 1 on take over 256 MiB"),
        ("x" * 1_000, 150_000, "bytes hold 0.3 GiB of text"),
    ],
)
def test_a_small_parquet_that_decodes_to_gigabytes_is_refused(folder, text, rows, message):
    many = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), [text])
    out = io.BytesIO()
    parquet.write_table(pa.table({"id": many, "text": many}), out)
    assert len(out.getvalue()) < 300_000
    with pytest.raises(InputError, match=message):
        open_source(f"folder:{folder('captions.parquet', out.getvalue())}").fingerprint("all")


def test_a_table_of_captions_that_come_again_and_again_is_read(folder):
    captions = [f"{n} {'a caption of some length ' * 4}" for n in range(8_000)]
    rows = pa.array(np.random.default_rng(0).integers(0, len(captions), 100_000), pa.int32())
    text = pa.DictionaryArray.from_arrays(rows, captions)
    out = io.BytesIO()
    parquet.write_table(pa.table({"text": text}), out, compression="zstd")
    source = open_source(f"folder:{folder('captions.parquet', out.getvalue())},id=")
    assert next(iter(source.records("all"))).text == captions[rows[0].as_py()]


def test_a_row_group_is_measured_before_it_is_read(folder, monkeypatch):
    from backend.data import parquetfile

    out = io.BytesIO()
    parquet.write_table(pa.table({"id": ["a"], "text": ["x" * 5_000]}), out, compression="zstd")
    root = folder("captions.parquet", out.getvalue())
    monkeypatch.setattr(parquetfile, "MAX_GROUP_BYTES", 1_000)
    with pytest.raises(InputError, match=r"row group 1 takes .* when it is unpacked"):
        open_source(f"folder:{root}").fingerprint("all")


def test_check_takes_the_kind_of_a_task_and_names_labels_that_are_none(
    folder, monkeypatch, capsys
) -> None:
    run = runner(monkeypatch, capsys)
    rows = [each | {"split": "test"} for each in labelled([n / 24 for n in range(24)])]
    root = folder("captions.jsonl", encoded(rows, "jsonl"))
    data = ("--data", f"folder:{root}")
    code, out, err = run("check", *data)
    assert code == 0 and "tasks: none (see the notes)" in out
    assert "declare it (--task label=multiclass)" in " ".join(err.split())
    _, out, _ = run("check", *data, "--task", "label=multiclass")
    assert "tasks: label (multiclass, 24 classes)" in out
    code, _, err = run("check", *data, "--task", "label")
    assert code == 2 and "says no kind. Write label=KIND" in err


# two candidates for a role, the option that the refusal names, what it reads then
CHOSEN = {
    "texts": ("id,image,title,comment", "a,1.png,one,two", "text=comment", ("two", {})),
    "a named role is not found twice": (
        "id,image,text,Caption",
        "a,1.png,one,two",
        "text=caption",
        ("two", {}),
    ),
    "images": ("id,file,path,text", "a,1.png,2.png,one", "image=file", ("one", {})),
    "labels": ("id,image,text,class,target", "a,1.png,one,x,y", "label=class", ("one", {"class"})),
    "two labels": (
        "id,image,text,class,target",
        "a,1.png,one,x,y",
        "label=class,label=target",
        ("one", {"class", "target"}),
    ),
    "no labels": ("id,image,text,class,target", "a,1.png,one,x,y", "label=", ("one", set())),
    "no ids": ("image,text", "1.png,one", "id=", ("one", set())),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_columns_are_named_behind_the_path(folder, case) -> None:
    header, row, option, (text, tasks) = CHOSEN[case]
    root = folder("captions.csv", lines(row, header=header).encode())
    if case not in ("a named role is not found twice", "no ids"):
        role = option.partition("=")[0]
        with pytest.raises(InputError, match=rf"{role} could be .*LAYOUT:PATH,{role}="):
            open_source(f"folder:{root}")
    source = open_source(f"folder:{root},{option}")
    (record,) = source.records("all")
    assert (record.text, set(source.tasks) | set(source.refused)) == (text, set(tasks))
    assert Path(str(record.image)).name == "1.png"


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("text=Heading", "captions.csv: no column 'Heading'.*'id', 'image', 'text'"),
        ("group=gone,label=mood", "no columns 'gone', 'mood'"),
        ("text=text,text=id", "text is named twice: 'text' and 'id'"),
    ],
)
def test_a_named_column_must_be_there_once(folder, option, problem) -> None:
    root = folder("captions.csv", lines("a,1.png,one").encode())
    with pytest.raises(InputError, match=problem):
        open_source(f"folder:{root},{option}")
