"""Names of arrays as stream, layer and pooling: ``"blocks.{layer}.{stream}"``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from backend.errors import InputError

DEFAULT = "{stream}-{site}-{pooling}"
"""How an export names its arrays: ``vision-4.fusion-cls``."""

_FIELDS = {
    "stream": r"[A-Za-z0-9_-]+?",
    "layer": r"\d{1,4}",
    "site": r"\d{1,4}(?:\.[a-z][a-z0-9_]{0,31})?",
    "pooling": r"cls|mean",
}
_PART = re.compile(r"\{([^{}]*)\}|(\*)|([^{}*]+)|([{}])")


@dataclass(frozen=True)
class Pattern:
    """A pattern with fields in braces; ``*`` is any text within a part of a name.

    ``{layer}`` is a number, ``{site}`` a number or a named place beside it (``4.fusion``),
    ``{stream}`` and ``{pooling}`` are words. The rest stands for itself. A pattern with k slashes
    is matched with the last k + 1 parts of a name.
    """

    text: str

    def __post_init__(self) -> None:
        names = self.fields
        for name in names:
            if name not in _FIELDS:
                raise InputError(
                    f"{{{name}}} is no field",
                    where=f"pattern {self.text!r}",
                    hint=f"The fields are {', '.join('{' + field + '}' for field in _FIELDS)}",
                )
        if len(set(names)) < len(names) or {"layer", "site"} <= set(names):
            raise InputError(
                "says the same twice", where=f"pattern {self.text!r}", hint="Use each field once"
            )
        _ = self._regex

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields in order."""
        return tuple(match[1] for match in _PART.finditer(self.text) if match[1] is not None)

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        parts = []
        for match in _PART.finditer(self.text):
            if match[4]:
                raise InputError("a brace is open", where=f"pattern {self.text!r}")
            if match[1] is not None:
                parts.append(f"(?P<{match[1]}>{_FIELDS[match[1]]})")
            else:
                parts.append("[^/]*" if match[2] else re.escape(match[3]))
        return re.compile("".join(parts))

    def match(self, name: str) -> Mapping[str, str] | None:
        """The fields of a name; None for a name of another form."""
        count = self.text.count("/") + 1
        match = self._regex.fullmatch("/".join(name.split("/")[-count:]))
        return None if match is None else match.groupdict()
