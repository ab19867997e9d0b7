"""``fusionscope shared-space``: a contrastive model's search and classes, by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from backend.cli.base import (
    DeviceOption,
    FollowLinksOption,
    StoreOption,
    app,
    out,
    say_failed,
    writable,
)
from backend.errors import InputError
from backend.measures.suite.shared_space import SPACES
from backend.progress import Bar, quiet_libraries
from backend.store import Run, kinds
from backend.store.tables import to_pandas

if TYPE_CHECKING:
    import pandas as pd


@app.command(name="shared-space")
def shared_space(
    store: StoreOption,
    run: Annotated[list[str] | None, typer.Option("--run", help="Default: all runs.")] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            help="Of a class, which is {class}; repeatable: the mean direction is taken. Default: "
            "'a photo of {class}.'",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="Default: what the run was captured from.")
    ] = "",
    data: Annotated[
        str, typer.Option("--data", help="LAYOUT:PATH; default: what the run was captured from.")
    ] = "",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Samples a batch.")] = 32,
    device: DeviceOption = "auto",
    follow_links: FollowLinksOption = False,
) -> None:
    """Search and zero-shot classes of CLIP-like models, as if they stopped at each layer.

    Runs the model once more over the run's samples, and keeps the rows for the Alignment page.
    """
    from backend.jobs.shared_space import (
        TEMPLATES,
        SharedSpaceOptions,
        add_shared_space,
        check_templates,
        shared_space_key,
    )

    templates = tuple(prompt or TEMPLATES)
    check_templates(templates)
    opened = writable(store)
    quiet_libraries()
    options = SharedSpaceOptions(model, data, templates, batch_size, device, follow_links)
    wanted = tuple(dict.fromkeys(run or opened.run_ids()))
    failed: dict[str, InputError] = {}
    with Bar("shared-space") as bar:
        for run_id in wanted:
            try:
                one = opened.run(run_id)
                add_shared_space(one, options, bar)
                _show(one, shared_space_key(templates))
            except InputError as error:
                failed[run_id] = error
    say_failed(failed, len(wanted))


def _show(run: Run, key: str) -> None:
    """Search and zero-shot scores, a row an image layer, against the last layer of the text."""
    rows = to_pandas(run.table(kinds.SHARED_SPACE, [key]))
    vision, text = (run.manifest.stream(name) for name in ("vision", "text"))
    rows = rows[rows["stream_a"].eq("vision") & rows["layer_b"].eq(text.depth)]
    asked = {
        "R@5 image to text": ("recall_at_5", "image_to_text"),
        "R@5 text to image": ("recall_at_5", "text_to_image"),
        **{f"zero-shot {task.name}": ("zero_shot", task.name) for task in run.labels()},
    }
    parts = {
        head: rows[rows["measure"].eq(name) & rows["estimator"].eq(kind)]
        for head, (name, kind) in asked.items()
    }
    table = Table("image layer", *parts, box=SIMPLE, padding=(0, 1, 0, 0))
    for layer in range(vision.depth + 1):
        cells = [_cell(part[part["layer_a"].eq(layer)]) for part in parts.values()]
        table.add_row(str(layer), *cells)
    chances = [f"{part['null_mean'].mean():.3f}" for part in parts.values()]
    table.add_row("chance", *chances)
    out.print(
        f"{run.run_id}: if the image stopped at a layer, in the model's own space / under a fitted "
        "map",
        soft_wrap=True,
    )
    out.print(table)


def _cell(rows: pd.DataFrame) -> str:
    """``0.022 / 0.010``: a value of each space."""
    values = [rows[rows["space"].eq(space)]["value"] for space in SPACES]
    return " / ".join("–" if one.isna().all() else f"{one.iloc[0]:.3f}" for one in values)
