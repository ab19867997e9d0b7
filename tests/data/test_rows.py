from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.data import textfile as module
from backend.data.csvfile import csv_rows
from backend.data.jsonfile import json_rows, read_json
from backend.data.rows import Bad, RowError, check_id, check_text
from backend.errors import InputError


@pytest.fixture
def file(tmp_path: Path):
    def write(content: bytes | str) -> Path:
        path = tmp_path / "rows"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_json_rows_carry_their_line_number_and_blank_lines_are_passed_over(file):
    assert list(json_rows(file('{"a":1}\n\n  \n{"a":2}'))) == [(1, {"a": 1}), (4, {"a": 2})]


def test_json_rows_bear_a_bom_and_windows_line_ends(file):
    assert list(json_rows(file(b'\xef\xbb\xbf{"a":1}\r\n{"a":2}\r\n'))) == [
        (1, {"a": 1}),
        (2, {"a": 2}),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"a": ', "broken JSON"),
        ("[1, 2]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("[" * 100_000, "broken JSON"),
        ('{"a": ' + "9" * 5000 + "}", "broken JSON"),
    ],
)
def test_a_broken_json_line_costs_that_line_only(file, line, reason):
    good, bad, after = json_rows(file('{"a":1}\n' + line + '\n{"a":2}\n'))
    assert good == (1, {"a": 1}) and after == (3, {"a": 2})
    assert isinstance(bad, Bad) and bad.row == 2 and bad.reason.startswith(reason)


def test_an_empty_file_is_one_bad_row_for_the_whole_file(file):
    assert list(json_rows(file(""))) == [Bad(0, "empty file")]
    assert list(csv_rows(file("\n\n"))) == [Bad(0, "empty file")]


def test_a_line_over_the_limit_is_reported_and_not_held(file, monkeypatch):
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 100)
    long = json.dumps({"a": "x" * 1000})
    bad, good = json_rows(file(long + '\n{"a":2}\n'))
    assert isinstance(bad, Bad) and bad.reason.startswith("line too long")
    assert good == (2, {"a": 2})
    bad, good = csv_rows(file("x" * 1000 + ",1\na,2\n"), width=2)
    assert isinstance(bad, Bad) and bad.row == 1
    assert good == (2, ["a", "2"])


def test_a_missing_file_is_an_input_error(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        list(json_rows(tmp_path / "gone.jsonl"))


def test_csv_fields_may_hold_commas_quotes_and_line_ends(file):
    text = 'a,"one, ""two""\nthree",x\nb,four,y\n'
    assert list(csv_rows(file(text))) == [
        (1, ["a", 'one, "two"\nthree', "x"]),
        (3, ["b", "four", "y"]),
    ]


def test_csv_field_may_be_longer_than_the_modules_default_limit(file):
    long = "x" * 200_000
    assert list(csv_rows(file(f"a,{long}\n"))) == [(1, ["a", long])]


def test_an_open_quote_costs_one_row_not_the_rest_of_the_file(file):
    lines = ["a,1", 'b,"2', *(f"c{n},{n}" for n in range(300))]
    got = list(csv_rows(file("\n".join(lines))))
    bad = [item for item in got if isinstance(item, Bad)]
    assert [item.row for item in bad] == [2]
    assert len(got) == 302 and got[-1] == (302, ["c299", "299"])


def test_an_open_quote_at_the_end_of_the_file_costs_one_row(file):
    got = list(csv_rows(file('a,1\nb,"2\nc,3\n')))
    assert [item if isinstance(item, tuple) else item.row for item in got] == [
        (1, ["a", "1"]),
        2,
        (3, ["c", "3"]),
    ]


def test_two_open_quotes_that_swallow_rows_between_them_give_those_rows_back(file):
    got = list(csv_rows(file('a,1\nb,"2\nc,3\nd,"4\ne,5\n')))
    assert [item[1][0] for item in got if isinstance(item, tuple)] == ["a", "c", "e"]
    assert [item.row for item in got if isinstance(item, Bad)] == [2, 4]


def test_a_csv_row_of_another_width_is_reported_with_both_widths(file):
    got = list(csv_rows(file("a,1\nb\nc,2,3\nd,4\n")))
    assert [str(item.reason) for item in got if isinstance(item, Bad)] == [
        "broken CSV: 1 fields where 2 are expected",
        "broken CSV: 3 fields where 2 are expected",
    ]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=2, max_size=2))
)
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, table):
    table = [row for row in table if "\r" not in "".join(row)]
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(table)
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(out.getvalue().encode())
    assert [item[1] for item in csv_rows(path) if isinstance(item, tuple)] == table


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text('{}[]",:\n\r\0a1', max_size=60).map(str.encode))
def test_any_bytes_give_rows_bad_rows_or_an_input_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "rows"
    path.write_bytes(content)
    for read in (json_rows, csv_rows):
        try:
            items = list(read(path))
        except InputError:
            continue
        assert items and all(isinstance(item, Bad | tuple) for item in items)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no text"),
        ("", "no text"),
        (" \t\n", "no text"),
        (7, "text is not text: 7"),
        ("a\0b", "NUL character in text"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "text is not UTF-8"),
        ("\ud83d", "text is not Unicode"),
    ],
)
def test_texts_that_cannot_be_stored_are_refused(value, reason):
    with pytest.raises(RowError) as caught:
        check_text(value, "text")
    assert caught.value.reason == reason


def test_long_text_is_kept_whole():
    assert len(check_text("x" * 1_000_000, "text")) == 1_000_000


def test_ids_keep_their_zeros_and_whole_numbers_become_text():
    assert (check_id("01235"), check_id(1235)) == ("01235", "1235")


@pytest.mark.parametrize("value", [None, "", "  ", True, 1.5, [1], "x" * 501, "a\0"])
def test_other_ids_are_refused(value):
    with pytest.raises(RowError, match="id"):
        check_id(value)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty file"), (b"{", "broken JSON"), (b"\xff{", "broken JSON")]
)
def test_read_json_names_what_is_wrong(file, content, reason):
    with pytest.raises(RowError, match=reason):
        read_json(file(content))


def test_quotes_that_are_escaped_in_many_rows_are_told_of_once(file):
    notes: list[str] = []
    text = "id,text\n" + "".join(f'{n},"say \\"{n}\\", twice"\n' for n in range(3))
    got = list(csv_rows(file(text), note=notes.append))
    assert got[1:] == [(n + 2, [str(n), f'say "{n}", twice']) for n in range(3)]
    assert [note for note in notes if "quotes" in note] == [
        'rows: quotes in quotes are written \\" (first in row 2): read as quotes'
    ]
