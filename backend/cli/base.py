"""What the commands share: the application, its consoles, options, and small helpers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from backend.errors import InputError

if TYPE_CHECKING:
    from backend.data.base import PairSource
    from backend.store import Store

app = typer.Typer(
    help="See, layer by layer, how vision and language meet in a multimodal transformer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console()
err = Console(stderr=True)

StoreOption = Annotated[Path, typer.Option("--store", help="Directory of the store.")]
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
    """A store that has runs; InputError for any other folder."""
    from backend.store import Store

    store = Store(path)
    if not store.paths.runs.is_dir():
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


def numbers(option: str, text: str) -> list[int]:
    """The whole numbers of a comma-separated option; InputError names the option."""
    found = words(text)
    if not found or not all(word.isdecimal() for word in found):
        raise InputError(f"{text!r} is not a list of whole numbers", where=f"--{option}")
    return [int(word) for word in found]


def check_devices(names: list[str]) -> None:
    """InputError for a device that this machine lacks."""
    from backend.models.devices import choose_device

    for name in names:
        choose_device(name)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
