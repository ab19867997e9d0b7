"""The study's table as text, CSV, JSON, LaTeX and Markdown; text from data is escaped."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence

import pandas as pd

from backend.errors import InputError
from backend.study.table import Cell, Column, Difference, Published, StudyTable
from backend.words import metric_name, one_line

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
    return "".join(_LATEX.get(c, c) for c in one_line(text))


def markdown(text: object) -> str:
    """Text as Markdown (in a table's cell, too) that shows it character by character."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def render(table: StudyTable, form: str, published: Published | None = None) -> str:
    """The table in one of :data:`FORMATS`, without a final line break; InputError for another.

    With ``published``, its numbers stand in columns of their own, named so, beside those that they
    can be compared with, and all of them in a table below; CSV has the columns only.
    """
    if form not in FORMATS:
        raise InputError(
            f"{form!r} is not a format", field="format", hint=f"Use one of {', '.join(FORMATS)}"
        )
    return FORMATS[form](table, published)


def tidy(table: StudyTable, published: Published | None = None) -> pd.DataFrame:
    """One row a placement and task, with the difference to the baseline where there is one.

    With ``published``, also its mean, sd, number of seeds and source, empty where it has none.
    """
    rows = []
    for row in table.rows:
        for column in table.columns:
            cell = table.cell(row, column)
            if cell is None:
                continue
            one: dict[str, object] = {
                table.heading: row.placement,
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
            if published:
                theirs = published.beside.get((row, column))
                one |= {
                    "published_mean": theirs.mean if theirs else math.nan,
                    "published_sd": theirs.sd if theirs else math.nan,
                    "published_seeds": theirs.n if theirs else 0,
                    "published_source": published.source if theirs else "",
                }
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


def _csv(table: StudyTable, published: Published | None) -> str:
    return tidy(table, published).to_csv(index=False).rstrip("\n")


def _json(table: StudyTable, published: Published | None) -> str:
    content: dict[str, object] = {
        "baseline": table.baseline or None,
        "rows": _records(table, published),
        "notes": list(table.notes),
    }
    if published:
        theirs = published.table
        content["published"] = {"source": published.source, "rows": _records(theirs)}
    return json.dumps(content, indent=2)


def _records(table: StudyTable, published: Published | None = None) -> list[dict[str, object]]:
    return [
        {
            str(key): None if isinstance(value, float) and math.isnan(value) else value
            for key, value in row.items()
        }
        for row in tidy(table, published).to_dict("records")
    ]


def heads(table: StudyTable, published: Published | None = None) -> list[str]:
    """A column's name in words: the dataset only where there are several."""
    several = len({column.dataset for column in table.columns}) > 1
    found = []
    for column in table.columns:
        found.append(_head(column, several))
        if published and published.has(column):
            found.append(f"{found[-1]}, published")
    return found


def _head(column: Column, several: bool) -> str:
    words = [f"{column.dataset}:"] if several else []
    return " ".join(filter(None, [*words, column.task, metric_name(column.metric)]))


def grid(
    table: StudyTable,
    show: Callable[[Cell], str],
    empty: str = "–",
    published: Published | None = None,
) -> list[list[str]]:
    """Rows of label, seeds and one cell a column, as ``show`` writes it, as many as `heads`."""

    def shown(cell: Cell | None) -> str:
        return empty if cell is None else show(cell)

    rows = []
    for row in table.rows:
        cells = [row.label, table.seeds(row)]
        for column in table.columns:
            cells.append(shown(table.cell(row, column)))
            if published and published.has(column):
                cells.append(shown(published.beside.get((row, column))))
        rows.append(cells)
    return rows


def published_caption(published: Published) -> str:
    """What the published numbers are, and that they take no part in anything else."""
    lead = (
        "Columns named published are"
        if published.beside
        else "Nothing here was published under the same metric on the same dataset. Below are"
    )
    return (
        f"{lead} not of these runs: they are in no mean, no mark of the best and no difference. "
        f"{published.source}"
    )


def difference_grid(table: StudyTable, empty: str = "–") -> list[list[str]]:
    """Rows of label and one difference a column; no row for the baseline itself."""
    return [
        [row.label]
        + [
            empty if (found := table.difference(row, column)) is None else found.text
            for column in table.columns
        ]
        for row in table.rows
        if row.placement != table.baseline and not row.released
    ]


def difference_caption(table: StudyTable) -> str:
    """What the differences are, with the baseline's name."""
    return f"Difference to {table.baseline}. {difference_method(table)}"


def difference_method(table: StudyTable) -> str:
    """How the differences were made, and how many intervals are looked at."""
    known = [one for one in table.differences.values() if not math.isnan(one.low)]
    lines = ["Mean [95 % interval] over the seeds that both have, paired by seed."]
    given = [one for one in known if one.lacking]
    if known and not given:
        lines.append("The choice of test samples is in the intervals, too.")
    elif given:
        some = "" if len(given) == len(known) else f" in {len(given)} of {len(known)}"
        lines.append(f"The test set is taken as given{some}: other samples may not show the same.")
    if len(known) > 1:
        chance = f"{0.05 * len(known):.1f}"
        lines.append(f"Of {len(known)} intervals about {chance} would leave out 0 by chance.")
    return " ".join(lines)


def _text(table: StudyTable, published: Published | None) -> str:
    def show(cell: Cell) -> str:
        return cell.text + (BEST if cell.best else " ")

    head = [table.heading, "seeds", *heads(table, published)]
    lines = _aligned(head, grid(table, show, published=published))
    lines += ["", f"mean ± sd over seeds; {BEST} best of its column"]
    if table.baseline:
        rows = [list(map(one_line, row)) for row in difference_grid(table)]
        lines += ["", *_aligned([table.heading, *heads(table)], rows), ""]
        lines.append(one_line(difference_caption(table)))
    lines += [f"note: {one_line(note)}" for note in table.notes]
    if published:
        theirs = published.table
        lines += ["", "published numbers"]
        lines += _aligned([theirs.heading, "seeds", *heads(theirs)], grid(theirs, show))
        lines += ["", one_line(published_caption(published))]
    return "\n".join(lines)


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[one_line(cell) if at < 1 else cell for at, cell in enumerate(row)] for row in rows]
    heads_ = list(map(one_line, head))
    widths = [max(map(len, column)) for column in zip(heads_, *cells, strict=True)]
    rule = ["-" * width for width in widths]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads_, rule, *cells)
    ]


def _markdown(table: StudyTable, published: Published | None) -> str:
    lines = _markdown_grid(table, published)
    lines += ["", "Mean ± sd over seeds; the best of a column in bold."]
    if table.baseline:
        rows = [
            [markdown(row[0]), *map(_plain_brackets, row[1:])] for row in difference_grid(table)
        ]
        lines += ["", *_pipes([table.heading, *map(markdown, heads(table))], rows), ""]
        lines.append(markdown(difference_caption(table)))
    lines += [f"\n{markdown(note)}." for note in table.notes]
    if published:
        lines += ["", "Published numbers:", "", *_markdown_grid(published.table)]
        lines += ["", markdown(published_caption(published))]
    return "\n".join(lines)


def _markdown_grid(table: StudyTable, published: Published | None = None) -> list[str]:
    def show(cell: Cell) -> str:
        return f"**{cell.text}**" if cell.best else cell.text

    rows = [[markdown(row[0]), *row[1:]] for row in grid(table, show, published=published)]
    return _pipes([table.heading, "seeds", *map(markdown, heads(table, published))], rows)


def _plain_brackets(text: str) -> str:
    return re.sub(r"(?<!\\)([\[\]])", r"\\\1", text)


def _pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    out = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return [f"| {' | '.join(row)} |" for row in out]


def _latex_table(table: StudyTable, published: Published | None) -> str:
    lines = ["% needs \\usepackage{booktabs}", *_latex_grid(table, published)]
    if table.baseline:
        rows = [[latex(row[0]), *map(_latex_difference, row[1:])] for row in difference_grid(table)]
        lines += ["", f"% {one_line(difference_caption(table))}"]
        lines += _tabular([table.heading, *map(latex, heads(table))], rows)
    lines += [f"% {one_line(note)}" for note in table.notes]
    if published:
        lines += ["", "% Published numbers", *_latex_grid(published.table)]
        lines.append(f"% {one_line(published_caption(published))}")
    return "\n".join(lines)


def _latex_grid(table: StudyTable, published: Published | None = None) -> list[str]:
    def show(cell: Cell) -> str:
        inner = f"{cell.mean:.3f}" + ("" if math.isnan(cell.sd) else rf" \pm {cell.sd:.3f}")
        return rf"$\mathbf{{{inner}}}$" if cell.best else f"${inner}$"

    rows = [[latex(row[0]), latex(row[1]), *row[2:]] for row in grid(table, show, "--", published)]
    return _tabular([table.heading, "seeds", *map(latex, heads(table, published))], rows)


def _latex_difference(text: str) -> str:
    return f"${text}$" if text[:1] in "+-" else latex(text)


def _tabular(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule"]
    lines.append(f"{' & '.join(head)} " + r"\\")
    lines.append(r"\midrule")
    # Braces keep a "[" that begins a row from being read as an option of the line break.
    lines += [f"{' & '.join(['{' + row[0] + '}', *row[1:]])} " + r"\\" for row in rows]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


FORMATS: dict[str, Callable[[StudyTable, Published | None], str]] = {
    "text": _text,
    "csv": _csv,
    "json": _json,
    "latex": _latex_table,
    "markdown": _markdown,
}
