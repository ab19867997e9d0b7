"""The names of classes that a hub's Parquet file says, where its cells hold their numbers.

The `datasets` library writes the features of a table into the schema, as JSON under the key
``huggingface``: a column of ``ClassLabel`` holds the place of a name in a list, or -1 for none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from backend.data.rows import Bad, RowError

ClassNames = tuple[str, ...]

_KEY = b"huggingface"
_MAX_BYTES = 2**22
_MAX_CLASSES = 10_000


def features_in(schema: pa.Schema) -> Mapping[str, Any]:
    """{column: what it is}, as `datasets` writes it; nothing for what is not written so."""
    written = (schema.metadata or {}).get(_KEY, b"")
    if not written or len(written) > _MAX_BYTES:
        return {}
    try:
        features = json.loads(written)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, Mapping) else {}


def class_names_in(schema: pa.Schema) -> dict[str, ClassNames]:
    """{column: names of the classes} of the columns that hold their numbers, also in lists.

    No names for a column of numbers whose names are missing or cannot be used.
    """
    found = {c: _names(feature) for c, feature in features_in(schema).items() if c in schema.names}
    return {c: own for c, own in found.items() if own is not None and _whole(schema, c)}


def unnamed_in_words(column: str) -> str:
    """What is said of a column of class numbers without names that can be used."""
    return (
        f"{column!r} holds numbers of classes, and the file has no names for them that can be "
        "used (one text a class, each another): the classes are called by their numbers"
    )


def named(value: object, names: ClassNames, column: str) -> object:
    """A cell with names in place of their numbers; None for -1. Raises RowError for any other."""
    if isinstance(value, list):
        if -1 in value:
            raise RowError(f"{column} has -1, which is no class, among several")
        return [named(each, names, column) for each in value]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if value == -1:
        return None
    if not 0 <= value < len(names):
        raise RowError(f"{column} is {value}, and the file names {len(names):,} classes")
    return names[value]


def with_names(
    number: int, row: dict[str, Any], labels: Mapping[str, ClassNames]
) -> tuple[int, dict[str, Any]] | Bad:
    """A row of a table with names in place of their numbers; Bad for a number that has none."""
    try:
        return number, row | {c: named(row[c], own, c) for c, own in labels.items() if own}
    except RowError as error:
        return Bad(number, error.reason)


def _names(feature: Any) -> ClassNames | None:
    """The names of a feature of classes, or of the items of one that is a list; else None."""
    if isinstance(feature, list) and len(feature) == 1:
        (feature,) = feature
    if isinstance(feature, Mapping) and feature.get("_type") in ("Sequence", "LargeList", "List"):
        feature = feature.get("feature")
    if not isinstance(feature, Mapping) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    if not isinstance(names, list) or not 0 < len(names) <= _MAX_CLASSES:
        return ()
    fine = all(isinstance(name, str) and name.strip() for name in names)
    return tuple(names) if fine and len(set(names)) == len(names) else ()


def _whole(schema: pa.Schema, column: str) -> bool:
    kind = schema.field(column).type
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind))
