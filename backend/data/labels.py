"""Finding out what a label column predicts from the values in it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from backend.data.rows import RowError, check_text
from backend.errors import InputError
from backend.types import Label, TaskKind, TaskSpec

MAX_CLASSES = 10_000
_WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass
class LabelColumn:
    """A label column, first looked through with :meth:`see`, then fixed with :meth:`task`.

    The rule: if any value is a list, or a text with ``|`` in it, the column is multi-label
    (``a|b|c`` is three names, other values are one name). Otherwise, if every value is 0 or 1 (a
    number, a boolean, or that digit as text), it is binary. Otherwise it is multi-class over the
    distinct values, whole numbers counting as names. An empty value is no label; an empty list is
    the label "none of them".
    """

    column: str
    name: str
    rows: int = 0
    several: bool = False
    values: set[str] = field(default_factory=set)
    spec: TaskSpec | None = None
    _index: dict[str, int] = field(default_factory=dict)

    def see(self, value: object) -> None:
        """Take one value into account; values that are no labels are left for :meth:`label`."""
        try:
            names = _names(value)
        except RowError:
            return
        if names is None:
            return
        self.rows += 1
        self.several = self.several or isinstance(names, list)
        self.values.update(names if isinstance(names, list) else [names])
        if len(self.values) > MAX_CLASSES:
            raise InputError(
                f"the column {self.column!r} has over {MAX_CLASSES:,} distinct values",
                hint="It cannot be a label column.",
            )

    def task(self) -> TaskSpec | None:
        """What the column predicts, or None if no row had a value."""
        if not self.values:
            return None
        whole = all(_WHOLE.fullmatch(value) for value in self.values)
        if not self.several and self.values <= {"0", "1"}:
            self.spec = TaskSpec(self.name, "binary", (f"not {self.name}", self.name))
            self._index = {"0": 0, "1": 1}
            return self.spec
        classes = sorted(self.values, key=int) if whole else sorted(self.values)
        kind: TaskKind = "multilabel" if self.several else "multiclass"
        self.spec = TaskSpec(self.name, kind, tuple(classes))
        self._index = {value: index for index, value in enumerate(classes)}
        return self.spec

    def declare(self, task: TaskSpec) -> None:
        """Say what the column predicts, instead of reading it off the values."""
        self.spec = task
        names = ("0", "1") if task.kind == "binary" else task.classes
        self._index = {name: index for index, name in enumerate(names)}

    def label(self, value: object) -> Label:
        """A value as a label of :meth:`task`. Raises RowError."""
        if self.spec is None:
            return None
        # A class whose name has a bar in it, where the classes were declared.
        names = value if isinstance(value, str) and value in self._index else _names(value)
        if names is None:
            return None
        several = names if isinstance(names, list) else [names]
        unknown = [name for name in several if name not in self._index]
        if unknown:
            raise RowError(f"unknown class: {self.column} {unknown[0][:40]}")
        indices = tuple(sorted({self._index[name] for name in several}))
        return indices if self.spec.kind == "multilabel" else indices[0]


def _names(value: object) -> str | list[str] | None:
    """A value as one class name, a list of them, or None for no label."""
    if isinstance(value, str) and "|" in value:
        return [_name(part) for part in value.split("|") if part.strip()]
    if isinstance(value, list):
        return [_name(part) for part in value]
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None  # value != value: NaN is how some tables write an empty number
    return _name(value)


def _name(value: object) -> str:
    if isinstance(value, str):
        return check_text(value, "label").strip()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    raise RowError(f"label is neither text nor a whole number: {str(value)[:40]}")
