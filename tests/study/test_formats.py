"""The table in every format; text from data is never markup."""

import csv
import io
import json

import pytest

from backend.errors import InputError
from backend.study import FORMATS, build_table, render
from backend.study.formats import latex, markdown
from tests.study.frames import scores

NAN = float("nan")
NASTY = "a|b & 50% _x_ $y$ #1 {z} ~^\\ *bold* <i> [l](u)\nnext"


@pytest.fixture
def table():
    return build_table(
        scores({"none": [0.5, 0.52, 0.54], "late": [0.9, 0.92, 0.97]}), baseline="none"
    )


def test_text_lines_up_and_marks_the_best(table):
    lines = render(table, "text").splitlines()
    assert lines[0].split() == ["placement", "seeds", "irony", "AUROC"]
    assert lines[2].split() == ["none", "3", "0.520", "±", "0.020"]
    assert lines[3].split() == ["late", "3", "0.930", "±", "0.036*"]
    assert lines[2].index("0.520") == lines[3].index("0.930")
    assert any(line.split()[:2] == ["late", "+0.410"] for line in lines)


def test_csv_is_tidy(table):
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    assert [row["placement"] for row in rows] == ["none", "late"]
    assert float(rows[1]["mean"]) == pytest.approx(0.93)
    assert (rows[1]["best"], rows[1]["pairs"], rows[1]["baseline"]) == ("True", "3", "none")
    assert float(rows[1]["difference"]) == pytest.approx(0.41)
    assert rows[0]["difference"] == ""


def test_json_has_null_for_what_is_not_known(table):
    found = json.loads(render(table, "json"))
    assert found["baseline"] == "none"
    assert found["rows"][0]["difference"] is None
    assert found["rows"][1]["seeds"] == 3


def test_latex_sets_the_best_in_bold_and_compares_below(table):
    text = render(table, "latex")
    assert r"{late} & 3 & $\mathbf{0.930 \pm 0.036}$ \\" in text
    assert r"{none} & 3 & $0.520 \pm 0.020$ \\" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert "$+0.410 [" in text


def test_markdown_sets_the_best_in_bold(table):
    text = render(table, "markdown")
    assert "| late | 3 | **0.930 ± 0.036** |" in text
    assert r"| late | +0.410 \[" in text


def test_text_from_data_is_shown_character_by_character():
    assert latex("50% of_a & {b}") == r"50\% of\_a \& \{b\}"
    assert latex("a|b <i> $x$ #1 – ±") == (
        r"a\textbar{}b \textless{}i\textgreater{} \$x\$ \#1 -- $\pm$"
    )
    assert latex("\\~^") == r"\textbackslash{}\textasciitilde{}\textasciicircum{}"
    assert markdown("a|b *c* <d>") == r"a\|b \*c\* \<d\>"
    table = build_table(scores({NASTY: [0.5, 0.6], "late": [0.9, 0.8]}), baseline=NASTY)
    for form in ("markdown", "latex", "text"):
        assert len(render(table, form).splitlines()) == len(
            render(
                build_table(scores({"plain": [0.5, 0.6], "late": [0.9, 0.8]}), baseline="plain"),
                form,
            ).splitlines()
        ), form
    # Escaped pipes apart, every row has as many cells as the head.
    rows = [
        line.replace(r"\|", "") for line in render(table, "markdown").splitlines() if "|" in line
    ]
    assert {row.count("|") for row in rows[:4]} == {4}
    body = render(table, "latex")
    assert "50% " not in body.replace(r"50\%", "").partition("% Difference")[0]


def test_a_cell_that_was_not_run_is_a_dash():
    import pandas as pd

    frame = pd.concat([scores({"late": [0.9]}), scores({"none": [0.8]}, task="topics")])
    rows = render(build_table(frame), "markdown").splitlines()
    assert rows[2] == "| none | 1 | – | **0.800** |"


def test_another_format_is_refused_with_the_choices(table):
    with pytest.raises(InputError, match=r"--format: 'pdf' is not a format\. Use one of text, csv"):
        render(table, "pdf")
    assert set(FORMATS) == {"text", "csv", "json", "latex", "markdown"}
