"""The one kind of error that reaches a user as a single line.

Everything that outside input can cause (a wrong path, a corrupt file, an impossible placement)
is a :class:`InputError`. The command line prints it as one line and exits with 2; the pages show
it as a message. Anything else is a fault of ours: it keeps its traceback and exits with 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

_LONGEST = 2_000
_LONGEST_HINT = 100_000
"""A hint may be a command, which must be whole."""
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_SETTING = re.compile(r"`([a-z_]+)`")


def escaped(text: str) -> str:
    """Text of a stranger without anything that a terminal obeys.

    What steers a terminal, turns the direction of writing, or is half a character (as a file name
    that is not UTF-8 holds) stands as its escape: ``\\x1b``. Tabs and ends of lines stay.
    """
    return _HIDDEN.sub(lambda match: ascii(match[0])[1:-1], text)


def printable(text: str, longest: int = _LONGEST) -> str:
    """Text of a stranger as it may be shown in a line: :func:`escaped`, and not too long."""
    if len(text) > longest:
        rest = f" ... ({len(text):,} characters)"
        text = text[: longest - len(rest)] + rest
    return escaped(text)


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line: what is wrong, where, and (``hint``) what to do about it. ``field`` is
    the setting that is to blame, by its name in Python (``saved_precision``); readers of files and
    flags find its place by this name. In the words a setting stands in backquotes; the command
    line shows it as its flag there (:meth:`named`).
    """

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        field: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.problem = printable(problem)
        self.where = where and printable(where)
        self.field = field
        self.hint = hint and printable(hint, _LONGEST_HINT)
        text = ": ".join(part for part in (self.where, field, self.problem) if part)
        super().__init__(" ".join((f"{text}. {self.hint}" if hint else text).split()))

    def within(self, place: str) -> Self:
        """The same error, said of something inside ``place`` (a run, a line of a file)."""
        where = f"{place}: {self.where}" if self.where else place
        return type(self)(self.problem, where=where, field=self.field, hint=self.hint)

    def about(self, field: str) -> Self:
        """The same error, blamed on a setting, unless it is blamed on one already."""
        return type(self)(self.problem, where=self.where, field=self.field or field, hint=self.hint)

    def named(self, names: Mapping[str, str]) -> Self:
        """The same error with the settings called by other names, such as a command's flags."""

        def words(text: str | None) -> str | None:
            return text and _SETTING.sub(lambda match: names.get(match[1], match[0]), text)

        field = None if self.field is None else names.get(self.field, self.field)
        return type(self)(
            words(self.problem) or "", where=words(self.where), field=field, hint=words(self.hint)
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled with its parts: processes hand errors on."""
        return _again, (type(self), self.problem, self.where, self.field, self.hint)


@contextmanager
def blamed_on(field: str) -> Iterator[None]:
    """InputErrors from inside are blamed on this setting, where they do not say on which."""
    try:
        yield
    except InputError as error:
        raise error.about(field) from error


def _again(
    kind: type[InputError], problem: str, where: str | None, field: str | None, hint: str | None
) -> InputError:
    return kind(problem, where=where, field=field, hint=hint)


def first_line(error: BaseException) -> str:
    """What an error of a library says, in at most 160 characters of one line."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(". ")[:160] if lines else type(error).__name__


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from or after, what that was, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
