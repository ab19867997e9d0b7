"""What is wrong with a study file: one line in the user's words, with the place in the file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from backend.errors import InputError
from backend.sweep.schema import (
    CaptureKeys,
    Dataset,
    PretrainKeys,
    SearchKeys,
    Study,
    TrainKeys,
)

Loc = tuple[str | int, ...]

Where = Callable[[Loc], str]
"""Says where in the file a key stands, for a person."""

_TABLES: dict[str, type[BaseModel]] = {
    "train": TrainKeys,
    "pretrain": PretrainKeys,
    "capture": CaptureKeys,
    "search": SearchKeys,
    "datasets": Dataset,
}
_WORDS = {
    **dict.fromkeys(("tuple_type", "list_type"), "is not a list"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "is not a table"),
    **dict.fromkeys(
        ("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "is not a whole number"
    ),
    **dict.fromkeys(("float_type", "float_parsing", "not_a_number"), "is not a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "is neither true nor false"),
    "finite_number": "is not a finite number",
    "string_type": "is not a text",
    "path_type": "is not a path",
    "too_short": "is empty",
    "literal_error": "is not one of {expected}",
    "greater_than_equal": "is less than {ge}",
    "greater_than": "is not more than {gt}",
    "less_than_equal": "is more than {le}",
    "less_than": "is not less than {lt}",
}
_LONGEST = 60


def invalid(error: ValidationError, where: Where) -> InputError:
    """The first mistake of a study file, and how many more there are."""
    # An unknown key first: a key that is missing may be just that one, misspelt.
    first, *others = sorted(
        error.errors(include_url=False), key=lambda mistake: mistake["type"] != "extra_forbidden"
    )
    loc = tuple(first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    name = ".".join(str(part) for part in loc)
    if first["type"] == "extra_forbidden":
        keys = _keys_of(loc)
        near = difflib.get_close_matches(str(loc[-1]), keys, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(keys)}."
        return InputError(f"unknown key {loc[-1]!r}{more}", where=where(loc), hint=hint)
    if first["type"] == "missing":
        return InputError(f"{name} is missing{more}", where=where(loc[:-1]))
    words = _WORDS.get(first["type"])
    if words is None:
        problem = first["msg"]
    else:
        limits: Mapping[str, Any] = first.get("ctx") or {}
        problem = f"{_shown(first['input'])} {words.format(**limits)}"
    return InputError(f"{name}: {problem}{more}", where=where(loc))


def in_file(error: InputError, place: str, key: str = "") -> InputError:
    """An error of a check on values as one about the place in the file that they are from.

    ``key`` is what the file calls the setting to blame.
    """
    moved = error.within(place)
    return InputError(moved.problem, where=moved.where, field=key or None, hint=moved.hint)


def _keys_of(loc: Loc) -> list[str]:
    """The keys that the table of an unknown key may have."""
    names = [part for part in loc[:-1] if isinstance(part, str)]
    return list((_TABLES[names[-1]] if names else Study).model_fields)


def _shown(value: object) -> str:
    """A value as the file has it, cut."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
