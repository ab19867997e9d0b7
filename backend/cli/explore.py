"""The command that does everything for one model and one set of data."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.base import (
    DeviceOption,
    FollowLinksOption,
    PortOption,
    TimestepsOption,
    app,
    out,
    print_report,
    say_failed,
    steps_of_noise,
)
from backend.progress import Bar, quiet_libraries
from backend.words import counted


@app.command()
def explore(
    model: Annotated[
        str,
        typer.Argument(
            help="A checkpoint directory, a hub id, or encoders side by side: "
            "text=DIR_OR_ID;vision=TIMM_NAME[:WEIGHTS];pixels=224."
        ),
    ],
    data: Annotated[str, typer.Argument(help="LAYOUT:PATH, as for check and capture.")],
    store: Annotated[Path, typer.Option("--store", help="Directory of the store.")] = Path(
        "cache/explore"
    ),
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Samples.")] = None,
    split: Annotated[str, typer.Option(help="Default: test, else dev, else train.")] = "",
    port: PortOption = 8501,
    no_serve: Annotated[
        bool, typer.Option("--no-serve", help="Make the run, do not open the dashboard.")
    ] = False,
    device: DeviceOption = "auto",
    follow_links: FollowLinksOption = False,
    timesteps: TimestepsOption = "",
) -> None:
    """Capture, measure and project a model on data, and open the dashboard; goes on if interrupted.

    The dashboard opens as soon as the layers are captured, and its pages fill from then on.
    """
    from backend.jobs.explore import capture_once, commands_again, open_exploration
    from backend.jobs.measure import missing_in_store, perform_all
    from backend.jobs.project import project_run
    from backend.serve import Server, check_port
    from backend.store import Store

    if not no_serve:
        check_port("localhost", port)  # now rather than after the capture
    quiet_libraries()
    request, opened = open_exploration(
        model,
        data,
        store,
        split=split,
        limit=limit,
        device=device,
        follow_links=follow_links,
        timesteps=steps_of_noise(timesteps),
    )
    run_id, where = opened.manifest.run_id, str(store)
    with Bar(f"capture {run_id}") as bar:
        captured = capture_once(request, opened, bar)
    print_report(opened.source)
    run = Store(store).run(run_id)
    kept = "captured" if captured else "there already"
    of = f"{counted(run.n, 'sample')} of {opened.manifest.dataset.split}"
    out.print(f"run {run_id}: {of}, {kept}", soft_wrap=True)
    with ExitStack() as stack:
        server = None if no_serve else stack.enter_context(Server(store, port, "localhost"))
        if server:
            server.announce(lambda url: out.print(f"Fusionscope is at {url} (Ctrl-C stops it)"))
        tasks = missing_in_store(Store(store), [run_id])
        with Bar("measure") as bar:
            say_failed(perform_all(Store(store), tasks, progress=bar), 1)
        parts = ", ".join(dict.fromkeys(task.part for task in tasks))
        out.print(f"measured: {parts or 'nothing to add'}", soft_wrap=True)
        with Bar("project") as bar:
            keys = project_run(run, progress=bar)
        out.print(f"projected: {', '.join(keys) or 'nothing to add'}", soft_wrap=True)
        out.print(
            f"again: {commands_again(run.manifest, where, follow_links=follow_links)}",
            soft_wrap=True,
        )
        if server:
            raise typer.Exit(server.wait())
