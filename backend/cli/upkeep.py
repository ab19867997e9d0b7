"""The commands that look after a store: check it, pack it, say what is wrong."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.base import JsonOption, StoreOption, app, existing, out
from backend.errors import InputError
from backend.progress import Bar
from backend.words import counted


@app.command()
def verify(store: StoreOption) -> None:
    """Read a whole store and report what is wrong with it."""
    from backend.store.verify import verify as examine

    opened = existing(store)
    with Bar("verify") as bar:
        findings = examine(opened, progress=bar)
    for finding in findings:
        out.print(str(finding), markup=False, soft_wrap=True, highlight=False)
    faults = [finding for finding in findings if finding.kind == "problem"]
    if faults:
        raise InputError(f"{counted(len(faults), 'fault')} found", where=f"store {store}")
    out.print(f"{counted(len(opened.run_ids()), 'run')} checked, no faults")


@app.command()
def pack(
    stores: Annotated[
        list[Path],
        typer.Argument(metavar="STORE...", help="Directories of stores, or packed ones."),
    ],
    file: Annotated[Path, typer.Argument(metavar="OUT.duckdb", help="The file to write.")],
    without_activations: Annotated[
        bool, typer.Option("--without-activations", help="Leave the vectors out: much smaller.")
    ] = False,
    numbers: Annotated[
        bool,
        typer.Option(
            "--numbers",
            help="Only numbers, to be passed on where the samples may not be: no vectors, images, "
            "texts and names of samples.",
        ),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a file of that name.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write stores into one DuckDB file, to be sent and served (DuckDB 1.0 and later read it)."""
    from backend.store.pack import pack as write

    opened = [existing(store) for store in stores]
    with Bar("pack") as bar:
        packed = write(
            opened,
            file,
            activations=not without_activations,
            numbers=numbers,
            replace=replace,
            progress=bar,
        )
    if as_json:
        typer.echo(json.dumps({"file": str(file), **asdict(packed)}))
        return
    out.print(
        f"{file}: {counted(packed.runs, 'run')}, {counted(packed.samples, 'sample')}, "
        f"{counted(packed.vectors, 'vector')}, {packed.bytes / 2**20:,.1f} MiB",
        soft_wrap=True,
        highlight=False,
    )


@app.command()
def doctor(
    store: Annotated[Path | None, typer.Option("--store", help="Also look at this store.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong here and the command that mends it; the exit code is 1 if anything is."""
    from backend.jobs.doctor import environment, examine_store

    checks = list(environment(store))
    if store is not None:
        checks += examine_store(store)
    wrong = [check for check in checks if check.state == "wrong"]
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        marks = {"ok": "  ", "note": "- ", "wrong": "! "}
        for check in checks:
            line = f"{marks[check.state]}{check.about}: {check.words}"
            out.print(line, markup=False, soft_wrap=True, highlight=False)
            if check.mend:
                out.print(f"    {check.mend}", markup=False, soft_wrap=True, highlight=False)
        what = f"{counted(len(wrong), 'thing')} wrong" if wrong else "nothing is wrong"
        out.print(what, highlight=False)
    if wrong:
        raise typer.Exit(1)
