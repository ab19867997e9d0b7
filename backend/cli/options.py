"""Options of commands that are made of settings: said once in a dataclass, not again here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, is_dataclass
from typing import Annotated, Any, get_origin, get_type_hints

import typer

from backend.cli.base import words
from backend.settings import Setting, default_of, settings_of

Command = Callable[..., None]

_MUST_BE_GIVEN = inspect.Parameter.empty


def with_settings(command: Command) -> Command:
    """Let a command take settings: a parameter of such a type becomes the options of its fields.

    A field of several values is one option with commas. Fields that are no settings keep their
    default.
    """
    own, options, kinds = [], [], {}
    for param in inspect.signature(command, eval_str=True).parameters.values():
        kind = param.annotation
        if isinstance(kind, type) and is_dataclass(kind):
            kinds[param.name] = kind
            options += _options(kind)
        else:
            own.append(param.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    def run(**given: Any) -> None:
        settings = {name: _made(kind, given) for name, kind in kinds.items()}
        command(**settings, **{param.name: given[param.name] for param in own})

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    # What must be given is listed first.
    optional = [param for param in (*options, *own) if param.default is not _MUST_BE_GIVEN]
    required = [param for param in (*own, *options) if param.default is _MUST_BE_GIVEN]
    made = inspect.Signature([*required, *optional])
    run.__annotations__ = {name: param.annotation for name, param in made.parameters.items()}
    run.__signature__ = made  # type: ignore[attr-defined]
    return run


def _options(settings: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(settings)
    return [_option(field, rule, hints[field.name]) for field, rule in settings_of(settings)]


def _option(field: Field[Any], rule: Setting, kind: Any) -> inspect.Parameter:
    default = default_of(field)
    if get_origin(kind) is tuple:
        kind, default = str, default if default is MISSING else ",".join(default)
    option = typer.Option(
        f"--{rule.flag or field.name.replace('_', '-')}",
        help=rule.help,
        min=rule.at_least,
        max=rule.at_most,
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=_MUST_BE_GIVEN if default is MISSING else default,
        annotation=Annotated[kind, option],
    )


def _made(settings: type[Any], given: dict[str, Any]) -> Any:
    hints = get_type_hints(settings)
    values = {field.name: given[field.name] for field, _ in settings_of(settings)}
    several = [name for name in values if get_origin(hints[name]) is tuple]
    return settings(**values | {name: tuple(words(values[name])) for name in several})
