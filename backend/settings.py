"""Settings that are said once: fields of frozen dataclasses that carry their words and range.

The command line makes its options of them (:func:`backend.cli.base.with_settings`), study files
their keys (:mod:`backend.sweep.schema`), and :func:`check_settings` refuses what lies outside.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass
from typing import TYPE_CHECKING, Any

from backend.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LARGEST_SEED = 2**32 - 1
"""What every generator of random numbers takes: numpy's old one takes no more."""

_KEY = "setting"


@dataclass(frozen=True)
class Setting:
    """What there is to say of a field.

    ``flag`` is what the command line calls it where that is not its name; ``choices`` are of its
    value, or of each where it has several.
    """

    help: str
    flag: str = ""
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def problem(self, value: object) -> str | None:
        """What is wrong with a value of the right type, if anything is."""
        values = value if isinstance(value, tuple) else (value,)
        for each in values:
            if self.choices and each not in self.choices:
                return f"{each!r} is not one of {', '.join(self.choices)}"
        twice = next((each for at, each in enumerate(values) if each in values[:at]), None)
        if twice is not None:
            return f"{twice!r} is given twice"
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        # Written so that NaN, which is neither, lies outside.
        if self.at_least is not None and not value >= self.at_least:
            return f"{value} is less than {self.at_least}"
        if self.above is not None and not value > self.above:
            return f"{value} is not more than {self.above}"
        if self.at_most is not None and not value <= self.at_most:
            return f"{value} is more than {self.at_most}"
        if self.below is not None and not value < self.below:
            return f"{value} is not less than {self.below}"
        return None


def setting(default: Any, help: str, **rules: Any) -> Any:
    """A field of a settings dataclass; MISSING for one that must be given. Rules: `Setting`."""
    return dataclasses.field(default=default, metadata={_KEY: Setting(help, **rules)})


def settings_of(
    kind: type[DataclassInstance] | DataclassInstance,
) -> Iterator[tuple[Field[Any], Setting]]:
    """The fields that are settings, in order."""
    for field in dataclasses.fields(kind):
        if _KEY in field.metadata:
            yield field, field.metadata[_KEY]


def default_of(field: Field[Any]) -> Any:
    """A field's default."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def check_settings(settings: DataclassInstance) -> None:
    """InputError for the first field whose value lies outside of what it may be."""
    for field, said in settings_of(settings):
        problem = said.problem(getattr(settings, field.name))
        if problem:
            raise InputError(problem, field=field.name)
