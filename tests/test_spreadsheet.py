"""Texts in a CSV that a spreadsheet would run."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from backend.spreadsheet import harmless


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("a=1", "a=1"),
        ("", ""),
        (-1.5, -1.5),
        (-1, -1),
        (True, True),
    ],
)
@pytest.mark.parametrize("kind", ["object", "string", "category"])
def test_a_formula_is_a_text_and_a_number_a_number(
    cell: object, written: object, kind: str
) -> None:
    if kind != "object" and not isinstance(cell, str):
        pytest.skip("no text")
    table = pd.DataFrame({"a": pd.Series([cell, "b"], dtype=kind)})
    made = harmless(table)
    assert made["a"].tolist() == [written, "b"]
    assert table["a"].tolist() == [cell, "b"]


def test_columns_of_numbers_and_names_of_columns() -> None:
    table = pd.DataFrame({"x": [-1.0, 2.0], "=y": ["+a", "b"]})
    made = harmless(pd.concat([table, table], axis=1))
    assert list(made.columns) == ["x", "'=y"] * 2
    read = pd.read_csv(io.StringIO(made.to_csv(index=False)))
    assert read["x"].tolist() == [-1.0, 2.0] and read["'=y"].tolist() == ["'+a", "b"]
