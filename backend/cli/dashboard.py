"""The commands that open the dashboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.base import AddressOption, PortOption, StoreOption, app, out
from backend.errors import InputError
from backend.progress import Bar
from backend.words import counted


@app.command()
def demo(
    store: Annotated[
        Path | None, typer.Option("--store", help="Default: the demo that is shipped.")
    ] = None,
    no_serve: Annotated[
        bool, typer.Option("--no-serve", help="Make the store, do not open the dashboard.")
    ] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Train what the store lacks instead of copying it.")
    ] = False,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes for --rebuild, one thread each.")
    ] = 2,
    study: Annotated[
        bool,
        typer.Option(
            "--study",
            help="Instead, the numbers of the study on real memes, posters and food "
            "(docs/study.md).",
        ),
    ] = False,
    port: PortOption = 8501,
    address: AddressOption = "localhost",
) -> None:
    """Open the dashboard on the demo: five placements x three seeds on the generated set."""
    from backend.jobs.demo import build_demo, cells, ensure_demo, missing_cells
    from backend.paths import shipped_demo

    if study:
        if store is not None or rebuild:
            raise InputError(
                "the study's numbers come as they are",
                field="study",
                hint="Leave out `store` and `rebuild`.",
            )
        path = _study_numbers()
        if no_serve:
            out.print(f"The study's numbers are at {path}", soft_wrap=True)
            return
        _serve(path, port, address)
    path = store or shipped_demo()
    missing = missing_cells(path)
    partial = 0 < len(missing) < len(list(cells()))
    if partial and not rebuild:
        out.print(f"{counted(len(missing), 'demo run')} not made yet; --rebuild makes them")
    elif rebuild or not ensure_demo(path):
        with Bar("demo runs", len(list(cells()))) as bar:
            build_demo(path, path.parent / f"{path.name}-work", workers, bar)
    if no_serve:
        out.print(f"The demo store is at {path}", soft_wrap=True)
        return
    _serve(path, port, address)


@app.command()
def serve(
    store: StoreOption,
    port: PortOption = 8501,
    address: AddressOption = "localhost",
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "--models", help="Visitors may trace the checkpoints in this directory; repeatable."
        ),
    ] = None,
    hub_ids: Annotated[
        list[str] | None,
        typer.Option("--hub", help="Visitors may trace this model of the hub; repeatable."),
    ] = None,
    saes: Annotated[
        list[Path] | None,
        typer.Option(
            "--saes",
            help="Autoencoders that read-saes had, for the features of a traced pair; repeatable.",
        ),
    ] = None,
) -> None:
    """Open the dashboard on a store."""
    from backend.inference.models import Named
    from backend.store import Store

    named = Named(
        tuple(folder.resolve() for folder in folders or ()),
        tuple(hub_ids or ()),
        tuple(folder.resolve() for folder in saes or ()),
    )
    named.check()
    _serve(Store(store).path, port, address, named.words)


def _study_numbers() -> Path:
    """The packed store that is shipped; InputError says how it is made where it is not there."""
    from backend.paths import shipped_study

    path = shipped_study()
    if not path.is_file():
        raise InputError(
            "the study's numbers are not there",
            where=str(path),
            hint="Make them with: fusionscope sweep docs/study/study.toml && "
            f"fusionscope pack cache/study {path} --numbers",
        )
    return path


def _serve(store: Path, port: int, address: str, options: Sequence[str] = ()) -> None:
    from backend.serve import serve as run_server

    code = run_server(
        store,
        port,
        address,
        lambda url: out.print(f"Fusionscope is at {url} (Ctrl-C stops it)"),
        options,
    )
    raise typer.Exit(code)
