"""The table in every format; text from data is never markup."""

import csv
import io
import json
import math

import pandas as pd
import pytest

from backend.errors import InputError
from backend.study import FORMATS, build_table, published_beside, render
from backend.study.formats import latex, markdown
from backend.study.reference import SOURCE
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
    frame = pd.concat([scores({"late": [0.9]}), scores({"none": [0.8]}, task="topics")])
    rows = render(build_table(frame), "markdown").splitlines()
    assert rows[2] == "| none | 1 | – | **0.800** |"


def test_another_format_is_refused_with_the_choices(table):
    with pytest.raises(InputError, match=r"format: 'pdf' is not a format\. Use one of text, csv"):
        render(table, "pdf")
    assert set(FORMATS) == {"text", "csv", "json", "latex", "markdown"}


@pytest.fixture
def beside():
    """Own runs of two datasets, of which the thesis has one, and its numbers."""
    memes = {"none": [0.5, 0.52, 0.54], "late": [0.6, 0.62, 0.64], "text=2;vision=2": [0.7, 0.7]}
    frame = pd.concat([scores(memes, dataset="memes"), scores({"late": [0.9]})])
    table = build_table(frame, baseline="none")
    return table, published_beside(table, {"memes": "hateful_memes", "macros": "macros"})


def test_published_numbers_stand_beside_what_they_can_be_compared_with(beside):
    table, published = beside
    lines = render(table, "text", published).splitlines()
    assert "memes: irony AUROC, published" in lines[0]
    assert "macros: irony AUROC, published" not in lines[0]
    late = next(line for line in lines if line.startswith("late"))
    assert late.split()[1:] == ["1-3", "0.900*", "0.620", "±", "0.020", "0.764", "±", "0.004"]
    assert lines[-1].startswith("Columns named published are not of these runs")
    assert lines[-1].endswith(SOURCE)
    # Every format names the source and has the number; LaTeX keeps its tables whole.
    for form in FORMATS:
        assert "Probing Layer-wise Alignment Depth" in render(table, form, published), form
    text = render(table, "latex", published)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    rows = [line for line in text.splitlines() if line.endswith(r"\\")][:4]
    assert {row.count("&") for row in rows} == {4}
    assert "| late | 1-3 | **0.900** | 0.620 ± 0.020 | 0.764 ± 0.004 |" in render(
        table, "markdown", published
    )


def test_published_numbers_change_nothing_of_one_s_own(beside):
    table, published = beside
    own = pd.read_csv(io.StringIO(render(table, "csv")))
    both = pd.read_csv(io.StringIO(render(table, "csv", published)))
    theirs = [name for name in both if name.startswith("published_")]
    pd.testing.assert_frame_equal(both.drop(columns=theirs), own)
    late = both[both["placement"].eq("late")].set_index("dataset")
    assert late.loc["memes", "published_mean"] == 0.764
    assert math.isnan(late.loc["macros", "published_mean"])
    # 0.764 is above every own score of memes, and yet the best of them is marked.
    best = both[both["best"] & both["dataset"].eq("memes")]
    assert best["placement"].tolist() == ["text=2;vision=2"]
    found = json.loads(render(table, "json", published))
    assert found["published"]["source"] == SOURCE
    assert len(found["published"]["rows"]) == 36
    own_json = json.loads(render(table, "json"))
    assert "published" not in own_json
    for row, plain in zip(found["rows"], own_json["rows"], strict=True):
        assert {k: v for k, v in row.items() if not k.startswith("published_")} == plain


def test_where_nothing_can_be_compared_the_published_table_says_so(table):
    text = render(table, "text", published_beside(table, {"macros": "macros"}))
    assert ", published" not in text
    assert "Nothing here was published under the same metric on the same dataset." in text
    assert "Hateful Memes: AUROC" in text
