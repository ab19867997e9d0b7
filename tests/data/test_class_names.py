"""Class numbers of the hub's Parquet files are read by the names that the file gives them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from backend.data import open_source
from backend.store.imports.table import SampleTable
from backend.types import TaskSpec

NUMBERS = [1, 0, 1, 2, -1, None]
NAMES = {"names": ["zebra", "ape", "bear"], "_type": "ClassLabel"}


def table(
    root: Path, labels: list[object], feature: object, kind: pa.DataType | None = None
) -> str:
    said = {"info": {"features": {"text": {"dtype": "string", "_type": "Value"}, "kind": feature}}}
    columns = {
        "id": pa.array(map(str, range(len(labels)))),
        "text": pa.array([f"text {n}" for n in range(len(labels))]),
        "kind": pa.array(labels, kind or pa.int64()),
    }
    made = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(said)})
    root.mkdir(exist_ok=True)
    parquet.write_table(made, root / "captions.parquet")
    return f"folder:{root},label=kind"


def read(spec: str) -> tuple[TaskSpec, dict[str, object], list[str]]:
    source = open_source(spec)
    labels = {r.sample_id: r.labels.get("kind") for r in source.records("all")}
    return source.tasks["kind"], labels, [p.reason for p in source.report.problems]


def test_names_and_their_order_are_those_of_the_file(tmp_path: Path) -> None:
    task, labels, problems = read(table(tmp_path / "t", NUMBERS, NAMES))
    assert task == TaskSpec("kind", "multiclass", ("zebra", "ape", "bear"))
    assert list(labels.values()) == [1, 0, 1, 2, None, None] and not problems


def test_of_two_classes_the_second_is_the_positive_one(tmp_path: Path) -> None:
    feature = {"names": ["spam", "ham"], "_type": "ClassLabel"}
    task, labels, _ = read(table(tmp_path / "t", [0, 1, 1], feature))
    assert task == TaskSpec("kind", "binary", ("spam", "ham"))
    assert list(labels.values()) == [0, 1, 1]
    task, labels, _ = read(table(tmp_path / "t", [0, 0, -1], feature))
    assert task.classes == ("spam", "ham")  # the other one may be in another file


@pytest.mark.parametrize(
    "feature",
    [[NAMES], {"feature": NAMES, "_type": "Sequence"}, {"feature": NAMES, "_type": "List"}],
)
def test_lists_of_numbers_are_several_names(tmp_path: Path, feature: object) -> None:
    rows: list[object] = [[2, 0], [], [1], None]
    task, labels, _ = read(table(tmp_path / "t", rows, feature, pa.list_(pa.int64())))
    assert task == TaskSpec("kind", "multilabel", ("zebra", "ape", "bear"))
    assert list(labels.values()) == [(0, 2), (), (1,), None]


def test_a_name_that_the_file_says_is_itself_whatever_it_looks_like(tmp_path: Path) -> None:
    names = ["NA", "cat|dog", "['a']", "0.0", "b"]
    feature = {"names": names, "_type": "ClassLabel"}
    task, labels, problems = read(table(tmp_path / "t", [0, 1, 2, 3, 4, -1], feature))
    assert task == TaskSpec("kind", "multiclass", ("NA", "cat|dog", "['a']", "0", "b"))
    assert list(labels.values()) == [0, 1, 2, 3, 4, None] and not problems
    task, labels, problems = read(
        table(tmp_path / "several", [[0, 1], [4]], [feature], pa.list_(pa.int64()))
    )
    assert task.classes == ("NA", "cat|dog", "['a']", "0", "b")
    assert list(labels.values()) == [(0, 1), (4,)] and not problems


def test_none_among_several_is_a_problem_of_its_row(tmp_path: Path) -> None:
    _, labels, problems = read(table(tmp_path / "t", [[0, -1], [1]], [NAMES], pa.list_(pa.int64())))
    assert len(labels) == 1
    assert problems == ["kind has -1, which is no class, among several"]


def test_an_imported_samples_has_the_files_order_too(tmp_path: Path) -> None:
    feature = {"names": ["spam", "ham"], "_type": "ClassLabel"}
    said = {"info": {"features": {"label_kind": feature}}}
    made = pa.table({"sample_id": ["a", "b", "c"], "label_kind": [0, 1, 1]})
    path = tmp_path / "samples.parquet"
    parquet.write_table(made.replace_schema_metadata({"huggingface": json.dumps(said)}), path)
    samples = SampleTable(path, split=None)
    assert samples.tasks == {"kind": TaskSpec("kind", "binary", ("spam", "ham"))}


def test_a_number_without_a_name_is_a_problem_of_its_row(tmp_path: Path) -> None:
    _, labels, problems = read(table(tmp_path / "t", [0, 1, 3], NAMES))
    assert len(labels) == 2 and problems == ["kind is 3, and the file names 3 classes"]


@pytest.mark.parametrize(
    "feature",
    [
        {"dtype": "int64", "_type": "Value"},
        {"names": "zebra", "_type": "ClassLabel"},
        {"names": [1, 2, 3], "_type": "ClassLabel"},
        {"names": ["a", "a", "b"], "_type": "ClassLabel"},
        {"_type": "ClassLabel", "num_classes": 3},
        [NAMES, NAMES],
        7,
    ],
)
def test_without_names_numbers_are_the_classes(tmp_path: Path, feature: object) -> None:
    spec = table(tmp_path / "t", [0, 1, 2, 1], feature)
    task, labels, _ = read(spec)
    declared = isinstance(feature, dict) and feature["_type"] == "ClassLabel"
    notes = [note for note in open_source(spec).report.notes if "called by their numbers" in note]
    assert len(notes) == declared
    assert task == TaskSpec("kind", "multiclass", ("0", "1", "2"))
    assert list(labels.values()) == [0, 1, 2, 1]


@pytest.mark.parametrize("written", [b"{", b"[1]", b'{"info": 3}', b"[" * 100_000, b"\xff"])
def test_metadata_of_another_kind_are_passed_over(tmp_path: Path, written: bytes) -> None:
    spec = table(tmp_path / "t", [0, 1, 2, 1], NAMES)
    path = tmp_path / "t/captions.parquet"
    made = parquet.read_table(path).replace_schema_metadata({"huggingface": written})
    parquet.write_table(made, path)
    assert read(spec)[0].classes == ("0", "1", "2")
