"""What ``check`` says of samples that belong together, of one split and of several."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.data import check_all, open_source
from backend.data.report import Report

SIZES = {"a": (8, 6), "b": (8, 7), "c": (8, 8), "d": (8, 9), "e": (8, 10)}


@pytest.fixture
def checked(tmp_path: Path, draw):
    """The report of a folder of (id, image, text, split, group); images are told by a letter."""

    def check(*rows: tuple[str, str, str, str, object]) -> Report:
        root = tmp_path / "set"
        for name in sorted({row[1] for row in rows}):
            draw(root / f"{name}.png", SIZES[name])
        columns = ("id", "image", "text", "split", "group")
        lines = [
            json.dumps(dict(zip(columns, (i, f"{image}.png", *rest), strict=True)))
            for i, image, *rest in rows
        ]
        (root / "captions.jsonl").write_text("\n".join(lines))
        report = check_all(open_source(f"folder:{root}"))
        report.notes = [note for note in report.notes if "no split to train on" not in note]
        return report

    return check


def test_a_set_that_repeats_nothing_says_nothing(checked) -> None:
    report = checked(("1", "a", "x", "dev", None), ("2", "b", "y", "test", None))
    assert (report.count, report.notes) == (0, [])
    assert set(report.together.values()) == {""}


def test_repeats_within_a_split_and_across_splits_are_named_with_what_to_do(checked) -> None:
    report = checked(
        ("1", "a", "x", "dev", None),
        ("2", "a", "y", "dev", None),
        ("3", "b", "y", "dev", None),
        ("4", "c", "z", "dev", None),
        ("5", "a", "z", "test", None),
    )
    assert report.count == 0  # nothing was declared that is not kept
    assert report.together == {"dev": "2 groups (found), the largest of 3 samples", "test": ""}
    within, across, text, other = report.notes
    assert within.startswith(
        "1 image occurs more than once in a split and no group says so: 2 samples, such as 1 and 2."
    ) and within.endswith("give those of one image the same group")
    assert across.startswith(
        "1 image occurs in more than one split: 3 samples, such as 1 (dev) and 5 (test)."
    ) and across.endswith("put those of one image into one split")
    assert text.startswith("1 text occurs more than once in a split")
    assert "such as 4 (dev) and 5 (test)" in other


def test_what_a_group_declares_is_no_repeat(checked) -> None:
    report = checked(
        ("1", "a", "x", "dev", "g"), ("2", "a", "x", "dev", "g"), ("3", "b", "y", "dev", "h")
    )
    assert (report.count, report.notes) == (0, [])
    assert report.together == {"dev": "2 groups (given), the largest of 2 samples"}


def test_what_two_groups_share_is_not_declared(checked) -> None:
    report = checked(
        ("1", "a", "x", "dev", "g"), ("2", "a", "y", "dev", "g"), ("3", "a", "z", "dev", "h")
    )
    (note,) = report.notes
    assert note.startswith(
        "1 image occurs more than once in a split and no group says so: 3 samples, such as 1 and 3."
    )


def test_a_group_in_two_splits_is_a_problem_that_names_it_once(checked) -> None:
    report = checked(
        ("1", "a", "x", "dev", "g"),
        ("2", "b", "y", "dev", "g"),
        ("3", "c", "z", "test", "g"),
        ("4", "d", "w", "test", "g"),
        ("5", "e", "v", "test", "h"),
    )
    assert report.by_reason == {"group in two splits": 1}
    (problem,) = report.problems
    assert problem.sample_id == "3"
    assert problem.reason == "group in two splits: g is in dev and test; put all of it into one"


def test_a_hole_in_the_column_is_named(checked) -> None:
    report = checked(
        ("1", "a", "x", "dev", "g"), ("2", "b", "y", "dev", "g"), ("3", "c", "z", "dev", None)
    )
    (note,) = report.notes
    assert note == (
        "1 sample without a group where others have one, such as 3: each counts as a group of its "
        "own"
    )


@pytest.mark.parametrize(("group", "how"), [("g", "given"), (None, "found")])
def test_one_group_for_all_says_that_nothing_can_be_compared(checked, group, how) -> None:
    report = checked(("1", "a", "cat", "dev", group), ("2", "b", "cat", "dev", group))
    note = report.notes[0]
    assert note.startswith(f"all 2 samples of dev are one group ({how}): nothing can be compared")
    assert report.together == {"dev": f"1 group ({how}), the largest of 2 samples"}
