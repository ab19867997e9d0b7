from __future__ import annotations

import pytest

from backend.data import Problem, Report
from backend.data import report as module
from backend.errors import InputError


def problem(row: int, reason: str = "no text", sample_id: str = "a") -> Problem:
    return Problem("train.jsonl", row, sample_id, reason)


def test_counts_by_kind_of_reason_not_by_its_particulars():
    report = Report("hm")
    report.add(problem(1, "missing image: a.png"))
    report.add(problem(2, "missing image: b.png"))
    report.add(problem(3, "no text"))
    assert report.count == 3
    assert report.by_reason == {"missing image": 2, "no text": 1}


def test_the_same_problem_twice_counts_once_but_another_sample_of_that_row_counts():
    report = Report("hm")
    for _ in range(3):
        report.add(problem(1))
        report.add(problem(1, sample_id="b"))
    assert report.count == 2
    assert len(report.problems) == 2


def test_memory_is_bounded_in_what_is_kept_and_in_what_is_counted(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 3)
    monkeypatch.setattr(module, "COUNTED", 10)
    report = Report("hm")
    for row in range(1, 100):
        report.add(problem(row))
    assert len(report.problems) == 3
    assert report.count == len(report._seen) == 10
    assert report.summary().startswith("more than 10 problems in hm")


def test_summary_names_file_row_id_and_reason():
    report = Report("hm")
    report.add(problem(12, "missing image: img/x.png", "01235"))
    assert "1 problem in hm: 1 missing image" in report.summary()
    assert "train.jsonl row 12 (id 01235): missing image: img/x.png" in report.summary()


def test_summary_of_many_shows_some_and_says_how_many_more():
    report = Report("hm")
    for row in range(1, 9):
        report.add(problem(row))
    assert report.summary(examples=3).endswith("and 5 more")


def test_summary_without_problems_says_so():
    assert Report("hm").summary() == "no problems in hm"


def test_summary_escapes_what_could_disturb_a_terminal():
    report = Report("hm")
    report.add(problem(1, "missing image: \x1b[2J\n.png", "\ud800"))
    text = report.summary()
    text.encode()
    assert "\x1b" not in text and "\\x1b[2J\\n.png" in text


def test_a_strict_report_stops_at_the_first_problem_naming_file_row_and_reason():
    with pytest.raises(InputError, match=r"train\.jsonl row 7 \(id a\): no text"):
        Report("hm", strict=True).add(problem(7))


def test_raise_if_raises_only_when_strict_and_only_with_problems():
    report = Report("hm")
    report.raise_if(True)
    report.add(problem(7))
    report.raise_if(False)
    with pytest.raises(InputError, match="row 7"):
        report.raise_if(True)


def test_notes_are_kept_once_and_never_stop():
    report = Report("hm", strict=True)
    report.note("dev is a tenth of train")
    report.note("dev is a tenth of train")
    assert report.notes == ["dev is a tenth of train"]
    assert report.count == 0


def test_a_note_with_a_key_takes_the_place_of_the_earlier_one_of_that_key():
    report = Report("hm")
    report.note("1 image under another name", key="spelling")
    report.note("dev is a tenth of train")
    report.note("2 images under another name", key="spelling")
    assert report.notes == ["2 images under another name", "dev is a tenth of train"]


def test_notes_that_are_not_shown_are_counted():
    report = Report("hm")
    for number in range(module.NOTES + 3):
        report.note(f"note {number}")
    assert report.summary().endswith("and 3 notes more")
