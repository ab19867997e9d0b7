"""What the commands share: the application, its consoles, options, and small helpers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from typer.core import TyperGroup

from backend.errors import InputError, escaped
from backend.settings import LARGEST_SEED
from backend.words import DATA_SPEC

if TYPE_CHECKING:
    from backend.data.base import PairSource
    from backend.store import Store


class Interrupted(Exception):  # noqa: N818 -- the user wanted it
    """Ctrl-C while a command ran."""


FAMILY = "--family"


class Commands(TyperGroup):
    """The commands; an error speaks of settings as of the flags of the one that was given.

    ``NAME --family F`` is a command of its own where one is called so.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the words begin with, or that of the family which they name."""
        name, command, rest = super().resolve_command(ctx, args)
        family = _given(FAMILY, rest)
        own = self.commands.get(f"{name} {FAMILY} {family}")
        return (name, command, rest) if own is None else (own.name, own, rest)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            command = self.commands.get(ctx.invoked_subcommand or "")
            raise error.named(_flags(command.params if command else ())) from error
        except KeyboardInterrupt:
            raise Interrupted from None


def _given(flag: str, words: list[str]) -> str:
    """What is said for a flag, "" where nothing is."""
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == flag:
            return value if equals else "".join(words[at + 1 : at + 2])
    return ""


def _flags(params: Iterable[Any]) -> dict[str, str]:
    """{name of a setting: its flag}; also by the flag's own word, as ``out`` for ``out_dir``."""
    flags = {}
    for param in params:
        for flag in param.opts:
            if flag.startswith("--"):
                flags[param.name] = flags[flag[2:].replace("-", "_")] = flag
    return flags


app = typer.Typer(
    cls=Commands,
    help="See, layer by layer, how vision and language meet in a multimodal transformer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Lines(Console):
    """Prints words as they are: what a stranger named is no markup and steers no terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What is printed, a piece at a time, whatever it is: a line, a table, a log record."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else escaped(text), style, control)


out = Lines()
err = Lines(stderr=True)

_DIGITS = len(str(LARGEST_SEED))
_SHOWN = 60

StoreOption = Annotated[
    Path, typer.Option("--store", help="Directory of the store, or a packed file.")
]
DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        help=DATA_SPEC,
    ),
]
RevisionOption = Annotated[
    str | None, typer.Option("--revision", help="Of a hub id: branch, tag or commit.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65535)]
AddressOption = Annotated[
    str, typer.Option("--address", help="Where to listen; 0.0.0.0 lets other machines in.")
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Stop at the first bad row instead of skipping it.")
]
FollowLinksOption = Annotated[
    bool,
    typer.Option("--follow-links", help="Read files behind links that lead out of the data."),
]
PartialOption = Annotated[
    bool,
    typer.Option(
        "--allow-partial-weights", help="Open weights that are not whole: the rest is random."
    ),
]
TimestepsOption = Annotated[
    str,
    typer.Option(
        "--timesteps",
        help="Of a denoiser: the steps of noise at which a picture is read, such as 50,300. "
        "Default: a tenth, half and nine tenths of the way.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cuda, mps or cpu.")]


def existing(path: Path) -> Store:
    """A store that has runs, packed or not; InputError for any other folder.

    What processes that were killed left in it is removed.
    """
    from backend.store import Store
    from backend.store.left import clear_left

    store = Store(path)
    if path.is_dir():
        clear_left(store.paths)
    if path.is_dir() and not store.paths.runs.is_dir():
        raise InputError(
            "is not a store (it has no folder runs)",
            where=str(path),
            hint="fusionscope capture --store DIR makes one.",
        )
    return store


def writable(path: Path) -> Store:
    """The same, for a command that adds to it; InputError for a packed one."""
    store = existing(path)
    _ = store.paths  # says that it is packed
    return store


def say_failed(failed: Mapping[str, InputError], count: int) -> None:
    """Say which runs (or pairs) out of ``count`` could not be done, and end with exit code 2.

    Nothing where none failed; a single one that was asked for speaks for itself.
    """
    if count == 1:
        for error in failed.values():
            raise error
    for name, error in failed.items():
        say(str(error) if name in str(error) else f"{name}: {error}")
    if failed:
        raise InputError(f"{len(failed)} of {count} could not be done; the others are")


def print_report(source: PairSource) -> None:
    """Say on standard error which rows of a dataset could not be used."""
    if source.report.count or source.report.notes:
        err.print(source.report.summary(), markup=False, soft_wrap=True, highlight=False)


def say(line: str) -> None:
    """Print a line on standard error as it is."""
    err.print(line, markup=False, soft_wrap=True, highlight=False)


def words(text: str) -> list[str]:
    """The words of a comma-separated option."""
    return [word.strip() for word in text.split(",") if word.strip()]


def steps_of_noise(text: str) -> tuple[int, ...]:
    """Those of :data:`TimestepsOption`; none for "", which leaves the choice to the model."""
    return tuple(numbers("timesteps", text)) if text else ()


def numbers(field: str, text: str) -> list[int]:
    """The whole numbers (seeds, layers) of a comma-separated option, each once.

    At most :data:`backend.settings.LARGEST_SEED`. InputError names the option.
    """
    parts = words(text)
    if not parts or not all(part.isascii() and part.isdecimal() for part in parts):
        raise InputError(f"{shown(text)} is not a list of whole numbers", field=field)
    for at, part in enumerate(parts):
        if len(part.lstrip("0")) > _DIGITS or int(part) > LARGEST_SEED:
            raise InputError(f"{shown(part)} is more than {LARGEST_SEED}", field=field)
        if part in parts[:at]:
            raise InputError(f"{part} is given twice", field=field)
    return [int(part) for part in parts]


def shown(text: str) -> str:
    """A word of the user's in quotes, the beginning of a long one."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def check_devices(names: list[str]) -> None:
    """InputError for a device that this machine lacks."""
    from backend.models.devices import choose_device

    for name in names:
        choose_device(name)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
