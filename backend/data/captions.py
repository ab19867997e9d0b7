"""The table of a folder of captioned images: its columns, its labels and its splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from backend.data.cells import missing, name_of
from backend.data.columns import LABEL, Columns, Named, find_columns, like_labels, missing_columns
from backend.data.labels import LabelColumn
from backend.data.report import clipped
from backend.data.rows import Bad, RowError
from backend.data.splits import in_order, renamed, split_names
from backend.data.tables import SUFFIXES, TableRow, class_names, columns_of, table_rows
from backend.data.textfile import Note
from backend.errors import InputError
from backend.words import counted

STEM = "captions"
MAX_SPLITS = 100
MAX_COLUMNS = 1_000

_LOOKED_AT = 2_000  # rows in which unused columns are looked at for labels
_FEW_VALUES = 20
_ROWS_A_VALUE = 5


@dataclass(frozen=True)
class Captions:
    """A table that has been read through once.

    ``splits`` has what each name in the split column is called here, train, dev and test first; it
    is empty without that column. ``row_ids``: rows are called by their numbers, since a table with
    the pictures inside needs no ids of its own.
    """

    path: Path
    columns: Columns
    labels: tuple[LabelColumn, ...]
    splits: Mapping[str, str]
    row_ids: bool

    def rows(self) -> Iterator[TableRow | Bad]:
        """The table's rows, of the columns that are read."""
        pictures = {self.columns.of["image"]} if "image" in self.columns.of else set()
        return table_rows(self.path, self.columns.used, pictures=pictures)

    def get(self, number: int, row: Mapping[str, Any], role: str) -> Any:
        """What a row holds for a role such as ``text``; None where the table has no such column."""
        if role == "id" and self.row_ids:
            return number
        column = self.columns.of.get(role)
        return None if column is None else row.get(column)

    def split_of(self, row: Mapping[str, Any]) -> str | None:
        """The split that a row names, as it is called here; None where it names none."""
        name = _text(row.get(self.columns.of.get("split", "")))
        return None if name is None else self.splits.get(name)


def table_in(folder: Path) -> Path | None:
    """The folder's table of captions, in any of the formats; InputError where there are two."""
    names = [f"{STEM}{end}{packed}" for end in SUFFIXES for packed in ("", ".gz")]
    there = [name for name in names if (folder / name).is_file()]
    if len(there) > 1:
        raise InputError(f"{' and '.join(there)}: which one?", where=folder.name)
    return folder / there[0] if there else None


def read_captions(path: Path, named: Named, note: Note) -> Captions:
    """Read a table through: what its columns are, which splits and which labels it has.

    ``named``: :func:`backend.data.columns.find_columns`; ``note`` is told of everything that could
    be read otherwise. Raises InputError for a table that lacks what a sample must have: an id, and
    a text, an image or a recording.
    """
    names = _names(path)
    try:
        columns = find_columns(names, named)
        row_ids = _require(columns, named, names, path)
    except InputError as error:
        raise error.within(path.name) from error
    for remark in columns.remarks:
        note(remark)
    order = class_names(path)
    labels = [LabelColumn(c, task, order=order.get(c, ())) for c, task in columns.labels.items()]
    raw = _scan(path, columns, labels, note)
    splits = {name: split_names(raw)[name] for name in raw}
    if words := renamed(splits):
        note(words)
    ordered = {n: s for at in in_order(set(splits.values())) for n, s in splits.items() if s == at}
    if LABEL not in named:
        _tell_of_unused(path, columns, note)
    if row_ids:
        note("no column of ids: a sample's id is the number of its row")
    return Captions(path, columns, tuple(labels), ordered, row_ids)


def _names(path: Path) -> tuple[str, ...]:
    """The columns of a table; of JSON, where rows may differ, those of all rows."""
    own = columns_of(path)
    names: dict[str, None] = dict.fromkeys(own or ())
    first: Bad | None = None
    for item in table_rows(path) if own is None else ():
        if isinstance(item, Bad):
            first = first or item
        else:
            names |= dict.fromkeys(item[1])
        if len(names) > MAX_COLUMNS:
            break
    if len(names) > MAX_COLUMNS:
        raise InputError(f"over {MAX_COLUMNS:,} columns", where=path.name)
    if not names:
        why = f": row {first.row}: {clipped(first.reason)}" if first and first.row else ""
        raise InputError(f"no rows{why}", where=path.name)
    return tuple(names)


def _require(columns: Columns, named: Named, names: Sequence[str], path: Path) -> bool:
    """Refuse a table without what it must have; whether row numbers stand for the ids."""
    of = columns.of
    lacking = []
    if not {"image", "text", "audio"} & of.keys():
        lacking = ["image", "text"]
    elif "regions" in of and "image" not in of:
        lacking = ["image"]
    row_ids = "id" not in of and ("id" in named or _pictures_inside(path, of.get("image")))
    if "id" not in of and not row_ids:
        lacking.insert(0, "id")
    if lacking:
        rows = "; id= alone counts the rows" if "id" in lacking else ""
        how = f"Name them behind the path in `data`: LAYOUT:PATH,{lacking[0]}=COLUMN{rows}."
        raise missing_columns(lacking, names, how)
    return row_ids


def _pictures_inside(path: Path, column: str | None) -> bool:
    """Whether a table's first row holds its picture itself, not the name of a file."""
    if column is None:
        return False
    first = next(iter(table_rows(path, {column}, pictures={column})))
    return not isinstance(first, Bad) and not isinstance(first[1].get(column), str | None)


def _scan(path: Path, columns: Columns, labels: Sequence[LabelColumn], note: Note) -> list[str]:
    """Show the label columns their values; the names in the split column."""
    split = columns.of.get("split", "")
    splits: dict[str, None] = {}
    for item in table_rows(path, {split, *columns.labels} - {""} or columns.used, note):
        if isinstance(item, Bad):
            continue  # reported when the rows are read
        row = item[1]
        for column in labels:
            column.see(row.get(column.column))
        name = _text(row.get(split))
        if name is not None:
            splits[name] = None
        if len(splits) > MAX_SPLITS:
            raise InputError(
                f"the column {split!r} has over {MAX_SPLITS} distinct values", where=path.name
            )
    return list(splits)


def _tell_of_unused(path: Path, columns: Columns, note: Note) -> None:
    """Name unused columns that are called like labels, or whose few values come again and again."""
    values: dict[str, Counter[str]] = {column: Counter() for column in columns.unused}
    if not values:
        return
    seen = 0
    for item in islice(table_rows(path, values.keys(), pictures=values.keys()), _LOOKED_AT):
        if isinstance(item, Bad):
            continue
        seen += 1
        for column in list(values):
            value = item[1].get(column)
            try:
                # Lists are one name here: it is only asked how many there are.
                name = None if missing(value) else name_of(str(value))
            except RowError:
                continue
            if name is not None:
                values[column][name] += 1
            if len(values[column]) > _FEW_VALUES and not like_labels(column):
                del values[column]
    for column, counts in values.items():
        few = 1 < len(counts) <= min(_FEW_VALUES, seen // _ROWS_A_VALUE)
        if few or (counts and like_labels(column)):
            shown = clipped(column, 60)
            note(
                f"the column {shown!r} is not used, but looks like labels "
                f"({counted(len(counts), 'value')} in {counted(seen, 'row')}): if it is one, say "
                f"so behind the path: ,label={shown}"
            )


def _text(value: object) -> str | None:
    """A split's name as text; None where the row has none."""
    if missing(value):
        return None
    text = str(value).strip()
    return text if text.isprintable() else None
