"""The table of a folder of captioned images: its columns, its labels and its splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from backend.data.cells import missing, name_of
from backend.data.class_names import unnamed_in_words
from backend.data.columns import LABEL, Columns, Named, find_columns, like_labels, missing_columns
from backend.data.labels import LabelColumn
from backend.data.report import clipped
from backend.data.rows import Bad, RowError, as_whole, plain_number
from backend.data.splits import in_order, renamed, split_names
from backend.data.tables import SUFFIXES, Table, TableRow
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
    """Tables of one data set that have been read through once.

    ``splits`` has what each name in the split column is called here, train, dev and test first; it
    is empty without that column. ``row_ids``: rows are called by their numbers, since a table with
    the pictures inside needs no ids of its own.
    """

    columns: Columns
    labels: tuple[LabelColumn, ...]
    splits: Mapping[str, str]
    row_ids: bool

    def rows(self, table: Table) -> Iterator[TableRow | Bad]:
        """The rows of a table, of the columns that are read."""
        pictures = {self.columns.of["image"]} if "image" in self.columns.of else set()
        return table.rows(self.columns.used, pictures=pictures)

    def get(self, row: Mapping[str, Any], role: str) -> Any:
        """What a row holds for a role such as ``text``; None where the table has no such column."""
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


def read_captions(
    tables: Sequence[Table],
    named: Named,
    note: Note,
    *,
    own_ids: bool = True,
) -> Captions:
    """Read tables through: what their columns are, which splits and which labels they have.

    ``named``: :func:`backend.data.columns.find_columns`; ``note`` is told of everything that could
    be read otherwise. ``own_ids``: the tables call their rows, the layout does not. Raises
    InputError for tables that lack what a sample must have: an id, and a text, an image or a
    recording.
    """
    names, where = names_in(tables), called(tables)
    try:
        columns = find_columns(names, named)
        row_ids = own_ids and _require_ids(columns, named, names, tables)
        _require(columns, names)
    except InputError as error:
        raise error.within(where) from error
    for remark in columns.remarks:
        note(remark)
    order: dict[str, tuple[str, ...]] = {}
    for table in tables:
        for column, own in table.class_names().items():
            order[column] = tuple(dict.fromkeys((*order.get(column, ()), *own)))
    labels = [LabelColumn(c, task, order=order.get(c, ())) for c, task in columns.labels.items()]
    for name in columns.labels:
        if name in order and not order[name]:
            note(unnamed_in_words(name))
    raw = _scan(tables, columns, labels, note)
    if not raw and "split" in columns.of:
        note(f"the column {clipped(columns.of['split'], 60)!r} names no split in any row: not read")
        columns = columns.without("split")
    splits = {name: split_names(raw)[name] for name in raw}
    if words := renamed(splits):
        note(words)
    ordered = {n: s for at in in_order(set(splits.values())) for n, s in splits.items() if s == at}
    if LABEL not in named:
        _tell_of_unused(tables, columns, note)
    if row_ids:
        note("no column of ids: a sample's id is the number of its row, from 1")
    return Captions(columns, tuple(labels), ordered, row_ids)


def called(tables: Sequence[Table]) -> str:
    """What problems call tables: ``train.parquet and 2 more``."""
    more = f" and {len(tables) - 1:,} more" if len(tables) > 1 else ""
    return f"{tables[0].name}{more}"


def names_in(tables: Sequence[Table]) -> tuple[str, ...]:
    """The columns of all tables; of JSON, where rows may differ, those of all rows."""
    names: dict[str, None] = {}
    first: Bad | None = None
    for table in tables:
        own = table.columns()
        names |= dict.fromkeys(own or ())
        for item in table.rows() if own is None else ():
            if isinstance(item, Bad):
                first = first or item
            else:
                names |= dict.fromkeys(item[1])
            if len(names) > MAX_COLUMNS:
                break
        if len(names) > MAX_COLUMNS:
            raise InputError(f"over {MAX_COLUMNS:,} columns", where=table.name)
    if not names:
        why = f": row {first.row}: {clipped(first.reason)}" if first and first.row else ""
        raise InputError(f"no rows{why}", where=called(tables))
    return tuple(names)


def _require(columns: Columns, names: Sequence[str]) -> None:
    """Refuse tables without what a sample must have."""
    of = columns.of
    if not {"image", "text", "audio"} & of.keys():
        raise _lacking(["image", "text"], names)
    if "regions" in of and "image" not in of:
        raise _lacking(["image"], names)


def _require_ids(
    columns: Columns, named: Named, names: Sequence[str], tables: Sequence[Table]
) -> bool:
    """Refuse tables without ids; whether row numbers stand for them."""
    if "id" in columns.of:
        return False
    if "id" in named or _pictures_inside(tables, columns.of.get("image")):
        return True
    more = [] if {"image", "text", "audio"} & columns.of.keys() else ["image", "text"]
    raise _lacking(["id", *more], names)


def _lacking(columns: list[str], names: Sequence[str]) -> InputError:
    rows = "; id= alone counts the rows" if "id" in columns else ""
    how = f"Name them behind the path in `data`: LAYOUT:PATH,{columns[0]}=COLUMN{rows}."
    return missing_columns(columns, names, how)


def _pictures_inside(tables: Sequence[Table], column: str | None) -> bool:
    """Whether the first row holds its picture itself, not the name of a file."""
    if column is None:
        return False
    first = next(iter(tables[0].rows({column}, pictures={column})))
    return not isinstance(first, Bad) and not isinstance(first[1].get(column), str | None)


def _scan(
    tables: Sequence[Table], columns: Columns, labels: Sequence[LabelColumn], note: Note
) -> list[str]:
    """Show the label columns their values; the names in the split column."""
    split = columns.of.get("split", "")
    splits: dict[str, None] = {}
    seen = {split, *(column.column for column in labels)} - {""}
    for table in tables:
        for item in table.rows(seen or columns.used, note, {columns.of.get("image", "")}):
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
                    f"the column {split!r} has over {MAX_SPLITS} distinct values", where=table.name
                )
    return list(splits)


def _readable(rows: Iterator[TableRow | Bad]) -> Iterator[TableRow | Bad]:
    """Rows of columns that nobody uses, as far as they can be read: what is wrong with them is
    no fault of the table's use."""
    with suppress(InputError):
        yield from rows


def _tell_of_unused(tables: Sequence[Table], columns: Columns, note: Note) -> None:
    """Name unused columns that are called like labels, or whose few values come again and again."""
    values: dict[str, Counter[str]] = {column: Counter() for column in columns.unused}
    if not values:
        return
    seen = 0
    rows = chain.from_iterable(t.rows(values.keys(), pictures=values.keys()) for t in tables)
    for item in _readable(islice(rows, _LOOKED_AT)):
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
    text = plain_number(str(as_whole(value)).strip())
    return text if text.isprintable() else None
