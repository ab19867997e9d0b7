"""What the commands share: the application, its consoles, options, and small helpers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from backend.errors import InputError

if TYPE_CHECKING:
    from backend.data.base import PairSource
    from backend.store import Store


class Commands(TyperGroup):
    """The commands; an error speaks of settings as of the flags of the one that was given."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            command = self.commands.get(ctx.invoked_subcommand or "")
            raise error.named(_flags(command.params if command else ())) from error


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
out = Console()
err = Console(stderr=True)

StoreOption = Annotated[
    Path, typer.Option("--store", help="Directory of the store, or a packed file.")
]
DataOption = Annotated[
    str, typer.Option("--data", help="LAYOUT:PATH, or macros for the generated set.")
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
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cuda, mps or cpu.")]


def existing(path: Path) -> Store:
    """A store that has runs, packed or not; InputError for any other folder."""
    from backend.store import Store

    store = Store(path)
    if path.is_dir() and not store.paths.runs.is_dir():
        raise InputError(
            "is not a store (it has no folder runs)",
            where=str(path),
            hint="fusionscope capture --store DIR makes one.",
        )
    return store


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


def numbers(field: str, text: str) -> list[int]:
    """The whole numbers of a comma-separated option; InputError names the option."""
    parts = words(text)
    if not parts or not all(part.isdecimal() for part in parts):
        raise InputError(f"{text!r} is not a list of whole numbers", field=field)
    return [int(part) for part in parts]


def check_devices(names: list[str]) -> None:
    """InputError for a device that this machine lacks."""
    from backend.models.devices import choose_device

    for name in names:
        choose_device(name)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
