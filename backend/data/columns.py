"""Which column of a table is what: names in any case, common synonyms, labels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from unicodedata import normalize

from backend.data.report import clipped, digest8
from backend.errors import InputError
from backend.words import listed

# Synonyms by role; those of a later group count only where none of an earlier one is there.
SYNONYMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "id": (("sample_id", "sampleid", "uid", "guid"),),
    "image": (
        ("img", "image_path", "img_path", "image_file", "image_name", "img_name", "file_name"),
        ("filename", "picture", "photo", "image_filename"),
        ("file", "filepath", "file_path", "path"),
    ),
    "text": (
        ("caption", "captions", "texts"),
        ("sentence", "sentences", "ocr_text"),
        ("title", "description", "comment"),
    ),
    "audio": (("audio_path", "audio_file", "wav"),),
    "regions": (),
    "split": (("splits", "set", "subset", "partition"),),
    "group": (("group_id", "groups"),),
    "label": (("labels",), ("class", "target", "gold_label"), ("category", "y")),
}
ROLES = tuple(SYNONYMS)
LABEL = "label"

Named = Mapping[str, tuple[str, ...]]
"""What the user calls the columns of a role: ``{"text": ("Title",), "label": ("mood", "topic")}``.

A role with none is not to be read. Other roles are found by their names.
"""

_LIKE_LABELS = re.compile(
    r"label|(^|_)(class(es)?|categor(y|ies)|genres?|topics?|tags?|sentiment|emotion|target|y)$"
    r"|^(is|has)_"
)
_TASK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,59}")
_INNER = re.compile(r"__.*__")  # names of this kind mean something else to other programs
_LONGEST_TASK = 60
_SHOWN = 30


@dataclass(frozen=True)
class Columns:
    """``of`` has the column of each role that is there, ``labels`` the task of each label column.

    ``unused`` are the others, ``remarks`` says what is not called as it should be.
    """

    of: Mapping[str, str]
    labels: Mapping[str, str]
    unused: tuple[str, ...]
    remarks: tuple[str, ...]

    def without(self, role: str) -> Columns:
        """The same, but for the column of a role, which is not read."""
        of = {name: column for name, column in self.of.items() if name != role}
        return replace(self, of=of, unused=(*self.unused, self.of[role]))

    @property
    def used(self) -> frozenset[str]:
        """The columns that are read."""
        return frozenset((*self.of.values(), *self.labels))


def find_columns(there: Iterable[str], named: Named) -> Columns:
    """The columns of a table by what they hold.

    ``named`` are those that the user says. Another role's column is called like it, also in another
    case or by a synonym; labels are ``label`` and ``label_<task>``. Raises InputError where two
    columns fit one role, for named ones that are not there, for several of a role other than label,
    and for labels that give no task.
    """
    names = list(dict.fromkeys(there))
    given = _given(names, named)
    of = {role: column for role, own in given.items() if role != LABEL for column in own}
    taken = {column for own in given.values() for column in own}
    for role, synonyms in SYNONYMS.items():
        if role not in (LABEL, *given):
            free = [name for name in names if name not in taken]
            column = _find(free, role, synonyms)
            if column is not None:
                of[role] = column
                taken.add(column)
    free = [name for name in names if name not in of.values()]
    labels = {c: _task_of(c) for c in given[LABEL]} if LABEL in given else _labels(free)
    _check_tasks(labels)
    changed = [
        f"{column!r} is read as {role}"
        for role, column in of.items()
        if role not in given and column != role
    ] + [
        f"{clipped(column, 60)!r} is read as the label {task!r}"
        for column, task in labels.items()
        if column not in ("label", f"label_{task}") and (LABEL not in given or column != task)
    ]
    unused = tuple(column for column in free if column not in labels)
    return Columns(of, labels, unused, (f"columns: {', '.join(changed)}",) if changed else ())


def like_labels(column: str) -> bool:
    """Whether a column is called as columns of labels are."""
    return _LIKE_LABELS.search(_folded(column)) is not None


def columns_in_words(columns: Iterable[str]) -> str:
    """``'id', 'image', 'text'``, cut where there are many."""
    names = [repr(clipped(name, 40)) for name in columns]
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more or "none"


def _given(names: Sequence[str], named: Named) -> dict[str, list[str]]:
    """The columns that the user names, as the table writes them."""
    given: dict[str, list[str]] = {}
    missing = []
    for role, own in named.items():
        if len(own) > 1 and role != LABEL:
            raise InputError(f"{role} is named twice: {listed(map(repr, own[:5]))}")
        exact = [_find(names, name, (), role) for name in own]
        missing += [name for name, column in zip(own, exact, strict=True) if column is None]
        given[role] = [column for column in exact if column is not None]
    if missing:
        raise missing_columns(missing, names)
    return given


def _find(
    names: Sequence[str], wanted: str, synonyms: Sequence[Sequence[str]], role: str = ""
) -> str | None:
    if wanted in names:
        return wanted
    for group in ((wanted,), *synonyms):
        fitting = [name for name in names if _folded(name) in {_folded(each) for each in group}]
        if len(fitting) > 1:
            raise unclear(role or wanted, fitting)
        if fitting:
            return fitting[0]
    return None


def _labels(free: Sequence[str]) -> dict[str, str]:
    """{label column: task} where the user names none."""
    labels = {c: _task_of(c) for c in free if re.fullmatch("label(_.*)?", _folded(c), re.DOTALL)}
    if not labels and (column := _find(free, LABEL, SYNONYMS[LABEL])):
        folded = _folded(column)
        labels = {column: LABEL if folded == "labels" else folded}
    return labels


def _check_tasks(labels: Mapping[str, str]) -> None:
    for column, task in labels.items():
        if not task:
            raise InputError(
                f"the label column {clipped(column, 60)!r} gives no task name",
                hint="Call it label_NAME, with a letter or a digit of a to z and 0 to 9.",
            )
    first: dict[str, str] = {}
    for column, task in labels.items():
        # Without case, as in the tables that labels are kept in.
        other = first.setdefault(task.casefold(), column)
        if other != column:
            raise InputError(
                f"two label columns for one task: {columns_in_words((other, column))}",
                hint="Call one otherwise, or say which behind the path in `data`: "
                f"LAYOUT:PATH,label={clipped(other, 40)}",
            )


def unclear(role: str, fitting: Sequence[str]) -> InputError:
    """The error for a role that several columns could have."""
    return InputError(
        f"{role} could be {listed(repr(clipped(name, 40)) for name in fitting[:5])}",
        hint=f"Say which behind the path in `data`: LAYOUT:PATH,{role}={clipped(fitting[0], 40)}",
    )


def missing_columns(missing: Sequence[str], there: Iterable[str], how: str = "") -> InputError:
    """The error for columns that a table must have; ``how`` to say which they are."""
    plural = "s" if len(missing) > 1 else ""
    return InputError(
        f"no column{plural} {', '.join(map(repr, missing))}",
        hint=f"The columns are: {columns_in_words(there)}. {how}".strip(),
    )


def _task_of(column: str) -> str:
    """``label_mood`` and ``Label_mood`` are the task mood, ``Label`` is label.

    A name that cannot be a task's is made one: ``label_Is it fun?`` is the task Is_it_fun. A long
    one is cut, with a digest of all of it. "" where nothing is left.
    """
    name = re.sub(r"^label[_ -]", "", column.strip(), flags=re.IGNORECASE)
    if name.casefold() == LABEL:
        return LABEL
    if _TASK.fullmatch(name) and not _INNER.fullmatch(name):
        return name
    plain = normalize("NFKD", name).encode("ascii", "ignore")
    made = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain.decode()).strip("_.-")
    if len(made) <= _LONGEST_TASK:
        return made
    digest = f"-{digest8(name):016x}"
    return made[: _LONGEST_TASK - len(digest)] + digest


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())
