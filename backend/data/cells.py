"""What one cell of a label column says, the same in every kind of file.

A class name is a text without the space around it. Whole numbers are one name however they are
written (0, 0.0, ``"0.0"``, ``1e0``), and so are ``true`` and ``false`` in any case. Dates are named
as text formats write them; structures have no name. ``a|b`` and a list written as text (``"['a',
'b']"``, ``"[0 1]"``) are several names, as Python, JSON and numpy write it.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import suppress
from decimal import Decimal
from math import isfinite

from backend.data.rows import RowError, as_written, check_text

# Whole cells that mean "nothing here": what pandas, R and spreadsheets write for it. Not "none",
# which is a class in many data sets.
MISSING = frozenset({"", "nan", "na", "n/a", "#n/a", "<na>", "null"})

_NUMBER = re.compile(
    r"[+-]?(?:(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?"
)
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ITEM = rf"(?:{_QUOTED}|[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?|[Tt]rue|[Ff]alse|None|null|nan|NaN)"
_LIST = re.compile(
    rf"""(?:\[|[({{](?=\s*+['"]))\s*+(?:{_ITEM}(?:\s*+,\s*+|\s++|(?=['"])))*+(?:{_ITEM})?\s*+[\])}}]""",
    re.DOTALL,
)
_ITEMS = re.compile(_ITEM, re.DOTALL)
_STRUCT = re.compile(rf"\s*[\[(]?\s*\{{\s*+(?:{_QUOTED})\s*+:.*\}}\s*[\])]?\s*", re.DOTALL)
_HEX = "[0-9a-fA-F]"
_ESCAPED = re.compile(rf"\\(?:x({_HEX}{{2}})|u({_HEX}{{4}})|U({_HEX}{{8}})|(.))", re.DOTALL)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_QUOTES = "'\""
_NOTHING = frozenset({"None", "null", "nan", "NaN"})
_MAX_LIST = 1_000_000  # characters of a list written as text
_MAX_CELL = 100_000  # characters, or names of a list

Names = str | list[str] | None


def names_of(value: object, *, bars: bool = True) -> Names:
    """A cell as one class name, several, or None for no label. Raises RowError for anything else.

    An empty list is the label "none of them". ``bars``: whether ``|`` parts names.
    """
    if isinstance(value, str | list | tuple) and len(value) > _MAX_CELL:
        raise RowError(f"label is too long: over {_MAX_CELL:,}")
    if isinstance(value, list | tuple):
        return [name_of(part) for part in value]
    if missing(value):
        return None
    if isinstance(value, str):
        if _STRUCT.fullmatch(value):
            raise RowError(f"label is neither text nor a number: {value.strip()[:40]}")
        if is_list(value):
            return [name_of(item) for item in items_of(value)]
        if bars and "|" in value:
            return [name_of(part) for part in value.split("|") if part.strip()]
    return name_of(value)


def name_of(value: object) -> str:
    """One class name. Raises RowError for what is neither a text nor a finite number."""
    value = as_written(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float | Decimal) and isfinite(value):
        return _number(str(value))
    if not isinstance(value, str):
        raise RowError(f"label is neither text nor a number: {str(value)[:40]}")
    text = check_text(value, "label").strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    return _number(text) if _NUMBER.fullmatch(text) else text


def missing(value: object) -> bool:
    """Whether a whole cell means "no label": null, NaN, nothing, or a word of ``MISSING``."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING
    return value is None or (isinstance(value, float) and value != value)


def is_list(value: object) -> bool:
    """Whether a text is a list of quoted names, numbers or booleans, as Python or numpy prints."""
    if not isinstance(value, str) or len(value) > _MAX_LIST:
        return False
    text = value.strip()
    return text[:1] in ("[", "(", "{") and _LIST.fullmatch(text) is not None


def items_of(text: str, *, quoted: bool = False) -> list[str | None]:
    """The items of what :func:`is_list` is; None for ``None``, ``null`` and ``nan``.

    ``quoted``: ValueError for an item that is not in quotes, such as a number.
    """
    items = _ITEMS.findall(text.strip()[1:-1])
    if quoted and not all(item[0] in _QUOTES or item in _NOTHING for item in items):
        raise ValueError("an item is not in quotes")
    return [None if item in _NOTHING else _bare(item) for item in items]


def whole(name: str) -> bool:
    """Whether a class name is a whole number."""
    return _WHOLE.fullmatch(name) is not None


def fraction(name: str) -> bool:
    """Whether a class name is a number that is not whole."""
    return _NUMBER.fullmatch(name) is not None and not whole(name)


def decimal_comma(name: str) -> bool:
    """Whether a class name looks like a number with a decimal comma, as ``0,5``."""
    return _DECIMAL_COMMA.fullmatch(name) is not None


def _number(text: str) -> str:
    value = Decimal(text)
    if value == value.to_integral_value() and abs(value) < 10**18:
        return str(int(value))
    return format(value.normalize(), "f")


def _bare(item: str) -> str:
    """An item of a list without its quotes."""
    if item[0] not in _QUOTES:
        return item
    if item[0] == '"':
        with suppress(ValueError):
            return str(json.loads(item, strict=False))
    return _ESCAPED.sub(_meant, item[1:-1])


def _meant(escape: re.Match[str]) -> str:
    """The character that an escape of Python stands for."""
    digits = escape[1] or escape[2] or escape[3]
    if digits is not None and int(digits, 16) <= sys.maxunicode:
        return chr(int(digits, 16))
    return _CONTROLS.get(escape[4], escape[4] or escape[0])
