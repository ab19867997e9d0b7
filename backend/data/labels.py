"""Finding out what a label column predicts from the values in it."""

from __future__ import annotations

import re
from collections import Counter
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self, cast, get_args

from backend.data.cells import (
    Names,
    fraction,
    is_list,
    name_of,
    names_of,
    whole,
)
from backend.data.label_doubts import alike, looks_parted, no_classes, says_none
from backend.data.report import clipped
from backend.data.rows import RowError
from backend.errors import InputError
from backend.types import Label, TaskKind, TaskSpec
from backend.words import counted, listed

MAX_CLASSES = 10_000

_FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1}
_SEPARATORS = re.compile(r"[|;,]")


@dataclass
class LabelColumn:
    """A label column, first looked through with :meth:`see`, then fixed with :meth:`task`.

    How a cell is read: :mod:`backend.data.cells`. The rule for a column: lists of 0 and 1 that are
    all equally long are multi-hot, with their places as classes; if any other value is several
    names, the column is multi-label; if every value is 0, 1, true or false, it is binary, and so it
    is with two other classes, of which the second in sorted order is the positive one; otherwise it
    is multi-class. A column of numbers with fractions, of whole numbers like counts, or of texts
    that hardly repeat is no task (:attr:`refused` says why) unless its kind is given; one of more
    than :data:`MAX_CLASSES` values, or of none that can be a class, never is. A missing value is no
    label; an empty list is the label "none of them". ``remarks`` says how the column was read
    wherever it could be read otherwise. ``order`` are all classes in their order where the file
    says them: of two the second is the positive one.
    """

    column: str
    name: str
    spec: TaskSpec | None = None
    refused: str = ""
    remarks: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    _counts: Counter[str] = field(default_factory=Counter)
    _too_many: bool = False
    _missing: Counter[str] = field(default_factory=Counter)
    _unusable: str = ""
    _spaced: set[str] = field(default_factory=set)
    _rows: int = 0
    _lists: int = 0
    _written: str = ""
    _lengths: set[int] = field(default_factory=set)
    _flags_only: bool = True
    _index: dict[str, int] = field(default_factory=dict)
    _places: int = 0
    _separated: bool = False

    @classmethod
    def of(cls, task: TaskSpec, column: str = "label") -> Self:
        """A column of which it is known what it predicts."""
        made = cls(column, task.name)
        made.declare(task)
        return made

    def see(self, value: object) -> None:
        """Take one value into account; values that are no labels are left for :meth:`label`."""
        if self._too_many:
            return
        try:
            names = self._names(value)
        except RowError as error:
            self._unusable = self._unusable or error.reason
            return
        if names is None:
            if isinstance(value, str) and value.strip():
                self._missing[repr(value.strip())] += 1
            else:
                self._missing["empty"] += 1
            return
        self._rows += 1
        if isinstance(names, list):
            self._see_several(value, names)
        else:
            self._flags_only = False
            if isinstance(value, str) and value != value.strip():
                self._spaced.add(names)
        self._counts.update([names] if isinstance(names, str) else names)
        if len(self._counts) > MAX_CLASSES:
            self._too_many = True
            self._counts.clear()
            self._spaced.clear()

    def _names(self, value: object) -> Names:
        """The names in a cell; one that the file says is itself, whatever else it looks like."""
        if isinstance(value, str) and value in self._said:
            return _own(value)
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return [_own(each) if each in self._said else name_of(each) for each in value]
        return names_of(value)

    def _see_several(self, value: object, names: list[str]) -> None:
        self._lists += 1
        if len(self._lengths) < 2:
            self._lengths.add(len(names))
        self._flags_only = self._flags_only and all(name in _FLAGS for name in names)
        if not self._written and is_list(value):
            self._written = clipped(str(value).strip(), 40)

    def task(self, kind: TaskKind | None = None, positive: str = "") -> TaskSpec | None:
        """What the column predicts; None where no row had a value, or :attr:`refused` says why.

        ``kind`` and, for a binary task, the ``positive`` class are what the user says of it.
        InputError where the values are not of that kind; the column then stays as it was read.
        """
        read = copy(self)
        read._decide(kind, positive)
        vars(self).update(vars(read))
        return self.spec

    def _decide(self, kind: TaskKind | None, positive: str) -> None:
        self.spec, self.remarks, self._places = None, (), 0
        self.refused = self._unfit()
        if self.refused and kind is not None:
            raise self._error(self.refused)
        if not self.refused:
            self.remarks = tuple(self._missing_in_words())
            if kind is None and not self._ordered and not self._lists:
                self.refused = no_classes(self._counts, self._rows, self.name)
        if self.refused:
            return
        self._separated = kind == "multilabel" and not self._lists
        classes = self._classes(fractions=kind is not None)
        kind = self._checked(kind, classes)
        if kind == "binary":
            classes = self._two(classes, positive)
        elif positive:
            raise self._error(f"is {kind}: only a binary task has a positive class")
        self.spec = TaskSpec(self.name, kind, tuple(classes))
        self._index = _index_of(self.spec)
        if kind == "binary" and not set(self._counts) <= _FLAGS.keys():
            self._index = {name: at for at, name in enumerate(classes)}
        self.remarks += tuple(self._doubts(classes, positive))

    def _unfit(self) -> str:
        """Why the values cannot be classes, whatever anyone says; "" where they can."""
        if self._too_many:
            return f"has over {MAX_CLASSES:,} distinct values, more than a task has classes"
        if self._rows:
            return ""
        if self._unusable:
            return f"has no value that can be a class ({self._unusable}): give texts or numbers"
        return "is empty"

    def declare(self, task: TaskSpec) -> None:
        """Say what the column predicts, instead of reading it off the values."""
        self.spec, self._places, self._separated = task, 0, False
        self._index = _index_of(task)

    def label(self, value: object) -> Label:
        """A value as a label of :meth:`task`. Raises RowError."""
        if self.spec is None:
            return None
        # A class whose name has a bar in it, or is a word like "NA", where classes were declared.
        known = isinstance(value, str) and value in self._index
        names: Names = str(value) if known else self._names(value)
        if names is None:
            return None
        several = self._parts(names) if isinstance(names, str) else names
        if self._places:
            return self._hot(several)
        kind = self.spec.kind
        unknown = [name for name in several if name not in self._index]
        if (
            kind == "binary"
            and self._index.keys() >= _FLAGS.keys()
            and (unknown or not isinstance(names, str))
        ):
            raise RowError(f"{self.column} is neither 0 nor 1: {str(value)[:40]}")
        if unknown and fraction(unknown[0]):
            raise RowError(f"label is neither text nor a whole number: {unknown[0][:40]}")
        if unknown:
            raise RowError(f"unknown class: {self.column} {unknown[0][:40]}")
        if kind != "multilabel" and not isinstance(names, str):
            raise RowError(f"{self.column} is several classes, not one: {str(value)[:40]}")
        indices = tuple(sorted({self._index[name] for name in several}))
        return indices if kind == "multilabel" else indices[0]

    def _parts(self, name: str) -> list[str]:
        """The classes of one cell; a declared multi-label column is parted at ``;`` and ``,``."""
        if not self._separated:
            return [name]
        return [name_of(part) for part in _SEPARATORS.split(name) if part.strip()]

    def _hot(self, flags: list[str]) -> Label:
        if len(flags) != self._places or any(flag not in _FLAGS for flag in flags):
            raise RowError(f"{self.column} is not {self._places} values of 0 and 1: {flags}"[:80])
        return tuple(at for at, flag in enumerate(flags) if _FLAGS[flag])

    def _classes(self, *, fractions: bool) -> list[str]:
        """The names of all classes in order; also fixes how cells of several are read."""
        (length,) = self._lengths if len(self._lengths) == 1 else (0,)
        if self._lists and self._flags_only and length > 1:
            self._places = length
            return [str(place) for place in range(length)]
        if self._ordered:
            return [_own(name) for name in self.order]
        names = {part for name in self._counts for part in self._parts(name)}
        if not fractions:
            names = {name for name in names if not fraction(name)}
        if not self._lists and names <= _FLAGS.keys():
            return ["0", "1"]
        return sorted(names, key=int) if all(map(whole, names)) else sorted(names)

    @cached_property
    def _said(self) -> frozenset[str]:
        return frozenset(self.order)

    @property
    def _ordered(self) -> bool:
        """Whether the file says all classes, and has no other."""
        names = list(map(_own, self.order))
        return 0 < len(set(names)) == len(names) and self._counts.keys() <= set(names)

    def _checked(self, kind: TaskKind | None, classes: list[str]) -> TaskKind:
        if kind is None:
            if self._lists:
                return "multilabel"
            return "binary" if len(classes) == 2 else "multiclass"
        if self._lists and kind != "multilabel":
            raise self._error(f"has several classes in a row, so it is multilabel, not {kind}")
        if kind == "binary" and len(classes) != 2:
            raise self._error(f"has {counted(len(classes), 'class', 'classes')}, binary has two")
        return kind

    def _two(self, classes: list[str], positive: str) -> list[str]:
        """The names of 0 and 1."""
        flags = set(self._counts) <= _FLAGS.keys()
        if positive:
            name = name_of(positive)
            if name not in classes and not (flags and name in _FLAGS):
                raise self._error(f"has no class {positive!r}, only {listed(map(repr, classes))}")
            if flags and _FLAGS[name] == 0:
                raise self._error("of 0 and 1 has 1 as its positive class")
            classes = sorted(classes, key=lambda each: each == name)
        return [f"not {self.name}", self.name] if flags else classes

    def _doubts(self, classes: list[str], positive: str) -> list[str]:
        """What a reader should know of how the column was read, where it could be otherwise."""
        out, spec = [], cast(TaskSpec, self.spec)
        if self._places:
            out.append(
                f"lists of {self._places} values of 0 and 1 are read as multi-hot: its classes are "
                f"the places 0 to {self._places - 1}"
            )
        elif self._written:
            out.append(f"texts such as {self._written} are read as lists of classes")
        if self._separated and set(classes) != self._counts.keys():
            out.append("cells are parted into classes at commas and semicolons")
        named = not set(self._counts) <= _FLAGS.keys()
        if spec.kind == "binary" and named and not positive:
            out.append(
                f"two classes, so it is binary and {classes[1]!r} is the positive one; for the "
                f"other declare it (--task {self.name}=binary:{classes[0]})"
            )
        if self._spaced:
            out.append(
                f"spaces around {listed(sorted(map(repr, self._spaced))[:3])} are no part of the "
                f"name ({counted(len(self._spaced), 'class', 'classes')})"
            )
        absent = [name for name in classes if says_none(name)]
        if absent and not self._ordered:
            out.append(
                f"{listed(map(repr, absent[:3]))} is read as a class: where it means that there is "
                "no label, leave the cell empty"
            )
        out += [
            f"{listed(map(repr, names))} are {len(names)} classes, but probably one: write them "
            "alike"
            for names in alike(classes)[:3]
        ]
        if spec.kind == "multiclass" and not self._separated and looks_parted(self._counts):
            out.append(
                "cells with commas or semicolons are one class each; if they are several, declare "
                f"it (--task {self.name}=multilabel) or part them with |"
            )
        if len(self._counts) == 1 and not self._places:
            only = next(iter(self._counts))
            out.append(f"every label is {only!r}: nothing can be learned or scored")
        return out

    def _missing_in_words(self) -> list[str]:
        if not self._missing or not self._rows:
            return []
        kinds = [f"{n:,} {clipped(word, 20)}" for word, n in self._missing.most_common(5)]
        rows = self._rows + self._missing.total()
        return [f"{self._missing.total():,} of {rows:,} rows have no label ({listed(kinds)})"]

    def _error(self, problem: str) -> InputError:
        return InputError(f"the label column {self.column!r} {problem}", field="task")


def parse_kinds(words: list[str] | tuple[str, ...]) -> dict[str, tuple[TaskKind | None, str]]:
    """``mood``, ``mood=multiclass`` or ``mood=binary:sad`` as {task: (kind, positive class)}.

    InputError for a kind that there is not.
    """
    out: dict[str, tuple[TaskKind | None, str]] = {}
    for word in words:
        name, equals, rest = word.partition("=")
        kind, _, positive = rest.partition(":")
        if equals and kind not in get_args(TaskKind):
            raise InputError(
                f"{word!r} names no kind of task",
                field="task",
                hint=f"Write {name}=KIND with {', '.join(get_args(TaskKind))}.",
            )
        out[name.strip()] = (cast(TaskKind, kind) if equals else None, positive.strip())
    return out


def _own(name: str) -> str:
    """A class that the file says, as its cells are read; one that is like several is itself."""
    names = names_of(name)
    return names if isinstance(names, str) else name


def _index_of(task: TaskSpec) -> dict[str, int]:
    """{a class as a cell names it: its index}."""
    own = {name: index for index, name in enumerate(task.classes)}
    return own if task.kind != "binary" else _FLAGS | own
