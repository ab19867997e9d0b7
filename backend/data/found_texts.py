"""Which column holds the texts, where none is called so: told by what is in the columns."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice

from backend.data.captions import called, names_in
from backend.data.cells import fraction, missing, whole
from backend.data.columns import SYNONYMS, Named, find_columns, like_labels, unclear
from backend.data.rows import Bad
from backend.data.tables import Table
from backend.data.textfile import Note
from backend.errors import InputError

_LOOKED_AT = 100
_NO_TEXTS = {
    *("url", "uri", "md5", "sha1", "sha256", "hash", "license", "status", "key", "index"),
    *(
        name
        for role in ("id", "image", "split", "group")
        for name in (role, *chain(*SYNONYMS[role]))
    ),
}


def with_texts(tables: Sequence[Table], named: Named, note: Note) -> Named:
    """``named``, and the column of texts where only one of those without a role holds any.

    Nothing is added where a column is called like texts or the user says which. Raises InputError
    where several hold texts, which names them and the option that decides.
    """
    try:
        columns = find_columns(names_in(tables), named)
        if "text" in named or "text" in columns.of:
            return named
        classes = {column for table in tables for column in table.class_names()}
        fitting = _texts(tables, [name for name in columns.unused if name not in classes])
        if len(fitting) > 1:
            raise unclear("text", fitting)
    except InputError as error:
        raise error.within(called(tables)) from error
    if not fitting:
        return named
    note(f"columns: {fitting[0]!r} is read as text, as no other column holds texts")
    return {**named, "text": (fitting[0],)}


def _texts(tables: Sequence[Table], columns: Sequence[str]) -> list[str]:
    """Those columns that hold texts, or lists of texts, in the first rows; numbers are none."""
    names = [n for n in columns if n.casefold() not in _NO_TEXTS and not like_labels(n)]
    if not names:
        return []
    found: dict[str, bool] = {}
    rows = chain.from_iterable(table.rows({*names}, pictures={*names}) for table in tables)
    for item in islice(rows, _LOOKED_AT):
        if isinstance(item, Bad):
            continue
        for name in names:
            value = item[1].get(name)
            parts = value if isinstance(value, list) and value else [value]
            if not missing(value):
                words = all(isinstance(part, str) and not _number(part) for part in parts)
                found[name] = words and found.get(name, True)
    return [name for name in names if found.get(name)]


def _number(text: str) -> bool:
    return whole(text.strip()) or fraction(text.strip())
