"""Tables for spreadsheet programs, which take some texts for formulas and run them."""

from __future__ import annotations

import pandas as pd

_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r")
"""With these a cell is a formula (OWASP, "CSV Injection")."""

_MARK = "'"


def harmless(table: pd.DataFrame) -> pd.DataFrame:
    """The table with an apostrophe before every text, and column name, that would be a formula.

    Numbers stay numbers, negative ones too; a text that looks like a number counts as a text.
    """
    made = table.copy()
    for name in range(made.shape[1]):
        column = made.iloc[:, name]
        if column.dtype == object or isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype):
            made.isetitem(name, [_safe(cell) for cell in column])
    made.columns = pd.Index([_safe(name) for name in made.columns])
    return made


def _safe(cell: object) -> object:
    if isinstance(cell, str) and cell.startswith(_BEGINNINGS):
        return f"{_MARK}{cell}"
    return cell
