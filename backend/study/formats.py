"""The study's table as text, CSV, JSON, LaTeX and Markdown; text from data is escaped."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence

import pandas as pd

from backend.errors import InputError
from backend.figures.scores import metric_name
from backend.study.table import Cell, Column, Difference, StudyTable

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")
BEST = "*"


def latex(text: object) -> str:
    """Text as LaTeX that prints it character by character, on one line."""
    return "".join(_LATEX.get(c, c) for c in _one_line(text))


def markdown(text: object) -> str:
    """Text as Markdown (in a table's cell, too) that shows it character by character."""
    return _MARKDOWN.sub(r"\\\1", _one_line(text))


def render(table: StudyTable, form: str) -> str:
    """The table in one of :data:`FORMATS`, without a final line break; InputError for another."""
    if form not in FORMATS:
        raise InputError(
            f"{form!r} is not a format", where="--format", hint=f"Use one of {', '.join(FORMATS)}"
        )
    return FORMATS[form](table)


def tidy(table: StudyTable) -> pd.DataFrame:
    """One row a placement and task, with the difference to the baseline where there is one."""
    rows = []
    for row in table.rows:
        for column in table.columns:
            cell = table.cell(row, column)
            if cell is None:
                continue
            one: dict[str, object] = {
                "placement": row.placement,
                "setting": row.setting,
                "dataset": column.dataset,
                "task": column.task,
                "metric": column.metric,
                "mean": cell.mean,
                "sd": cell.sd,
                "seeds": cell.n,
                "best": cell.best,
            }
            if table.baseline:
                found = table.difference(row, column)
                one |= _difference_row(table.baseline, found)
            rows.append(one)
    return pd.DataFrame(rows)


def _difference_row(baseline: str, found: Difference | None) -> dict[str, object]:
    one = found or Difference(math.nan, math.nan, math.nan, 0, math.nan, math.nan)
    return {
        "baseline": baseline,
        "difference": one.mean,
        "difference_low": one.low,
        "difference_high": one.high,
        "p": one.p,
        "p_corrected": one.p_corrected,
        "pairs": one.n,
    }


def _csv(table: StudyTable) -> str:
    return tidy(table).to_csv(index=False).rstrip("\n")


def _json(table: StudyTable) -> str:
    rows = [
        {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in row.items()
        }
        for row in tidy(table).to_dict("records")
    ]
    return json.dumps(
        {"baseline": table.baseline or None, "rows": rows, "notes": list(table.notes)}, indent=2
    )


def heads(table: StudyTable) -> list[str]:
    """A column's name in words: the dataset only where there are several."""
    several = len({column.dataset for column in table.columns}) > 1
    return [_head(column, several) for column in table.columns]


def _head(column: Column, several: bool) -> str:
    words = [f"{column.dataset}:"] if several else []
    return " ".join(filter(None, [*words, column.task, metric_name(column.metric)]))


def grid(table: StudyTable, show: Callable[[Cell], str], empty: str = "–") -> list[list[str]]:
    """Rows of label, seeds and one cell a column, as ``show`` writes it."""
    return [
        [row.label, table.seeds(row)]
        + [
            empty if (cell := table.cell(row, column)) is None else show(cell)
            for column in table.columns
        ]
        for row in table.rows
    ]


def difference_grid(table: StudyTable, empty: str = "–") -> list[list[str]]:
    """Rows of label and one difference a column; no row for the baseline itself."""
    return [
        [row.label]
        + [
            empty if (found := table.difference(row, column)) is None else found.text
            for column in table.columns
        ]
        for row in table.rows
        if row.placement != table.baseline
    ]


def difference_caption(table: StudyTable) -> str:
    """What the differences are, with the baseline's name."""
    return f"Difference to {table.baseline}. {difference_method(table)}"


def difference_method(table: StudyTable) -> str:
    """How the differences were made, and how many intervals are looked at."""
    count = sum(not math.isnan(one.low) for one in table.differences.values())
    chance = (
        f" Of {count} intervals about {0.05 * count:.1f} would leave out 0 by chance."
        if count > 1
        else ""
    )
    return f"Mean [95 % t interval] over the seeds that both have, paired by seed.{chance}"


def _text(table: StudyTable) -> str:
    def show(cell: Cell) -> str:
        return cell.text + (BEST if cell.best else " ")

    lines = _aligned(["placement", "seeds", *heads(table)], grid(table, show))
    lines += ["", f"mean ± sd over seeds; {BEST} best of its column"]
    if table.baseline:
        rows = [list(map(_one_line, row)) for row in difference_grid(table)]
        lines += ["", *_aligned(["placement", *heads(table)], rows), ""]
        lines.append(_one_line(difference_caption(table)))
    lines += [f"note: {_one_line(note)}" for note in table.notes]
    return "\n".join(lines)


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[_one_line(cell) if at < 1 else cell for at, cell in enumerate(row)] for row in rows]
    heads_ = list(map(_one_line, head))
    widths = [max(map(len, column)) for column in zip(heads_, *cells, strict=True)]
    rule = ["-" * width for width in widths]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads_, rule, *cells)
    ]


def _markdown(table: StudyTable) -> str:
    def show(cell: Cell) -> str:
        return f"**{cell.text}**" if cell.best else cell.text

    rows = [[markdown(row[0]), *row[1:]] for row in grid(table, show)]
    lines = _pipes(["placement", "seeds", *map(markdown, heads(table))], rows)
    lines += ["", "Mean ± sd over seeds; the best of a column in bold."]
    if table.baseline:
        rows = [
            [markdown(row[0]), *map(_plain_brackets, row[1:])] for row in difference_grid(table)
        ]
        lines += ["", *_pipes(["placement", *map(markdown, heads(table))], rows), ""]
        lines.append(markdown(difference_caption(table)))
    lines += [f"\n{markdown(note)}." for note in table.notes]
    return "\n".join(lines)


def _plain_brackets(text: str) -> str:
    return re.sub(r"(?<!\\)([\[\]])", r"\\\1", text)


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    out = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return [f"| {' | '.join(row)} |" for row in out]


def _latex_table(table: StudyTable) -> str:
    def show(cell: Cell) -> str:
        inner = f"{cell.mean:.3f}" + ("" if math.isnan(cell.sd) else rf" \pm {cell.sd:.3f}")
        return rf"$\mathbf{{{inner}}}$" if cell.best else f"${inner}$"

    rows = [[latex(row[0]), latex(row[1]), *row[2:]] for row in grid(table, show, "--")]
    lines = ["% needs \\usepackage{booktabs}"]
    lines += _tabular(["placement", "seeds", *map(latex, heads(table))], rows)
    if table.baseline:
        rows = [[latex(row[0]), *map(_latex_difference, row[1:])] for row in difference_grid(table)]
        lines += ["", f"% {_one_line(difference_caption(table))}"]
        lines += _tabular(["placement", *map(latex, heads(table))], rows)
    lines += [f"% {_one_line(note)}" for note in table.notes]
    return "\n".join(lines)


def _latex_difference(text: str) -> str:
    return f"${text}$" if text[:1] in "+-" else latex(text)


def _tabular(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule"]
    lines.append(f"{' & '.join(head)} " + r"\\")
    lines.append(r"\midrule")
    # Braces keep a "[" that begins a row from being read as an option of the line break.
    lines += [f"{' & '.join(['{' + row[0] + '}', *row[1:]])} " + r"\\" for row in rows]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _one_line(text: object) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


FORMATS: dict[str, Callable[[StudyTable], str]] = {
    "text": _text,
    "csv": _csv,
    "json": _json,
    "latex": _latex_table,
    "markdown": _markdown,
}
