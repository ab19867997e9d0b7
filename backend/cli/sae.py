"""The commands of sparse autoencoders: train-sae, read-saes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from backend.cli.base import (
    DataOption,
    DeviceOption,
    FollowLinksOption,
    JsonOption,
    StoreOption,
    app,
    out,
    print_report,
    writable,
)
from backend.cli.options import with_settings
from backend.progress import Bar, quiet_libraries
from backend.sae.plan import SaePlan
from backend.sae.table import layers_between
from backend.settings import LARGEST_SEED

if TYPE_CHECKING:
    import pandas as pd

    from backend.sae.fitting import Fitted

_OUT = typer.Option("--out", help="Gets one directory a layer, in SAELens' layout.")


@app.command("train-sae")
@with_settings
def train_sae(
    plan: SaePlan,
    out_dir: Annotated[Path, _OUT],
    seed: Annotated[int, typer.Option("--seed", min=0, max=LARGEST_SEED)] = 0,
    follow_links: FollowLinksOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train sparse autoencoders on the tokens of a model's layers; an interrupted one goes on."""
    from backend.data.registry import open_source
    from backend.sae.fitting import fit_saes

    quiet_libraries()
    source = open_source(plan.data, follow_links=follow_links)
    with Bar("train-sae") as bar:
        made = list(fit_saes(plan, source, seed, out_dir, bar))
    print_report(source)
    if as_json:
        typer.echo(json.dumps([{**asdict(one), "folder": str(one.folder)} for one in made]))
        return
    out.print(f"in {out_dir}:", soft_wrap=True, highlight=False)
    out.print(_table(made), markup=False)


@app.command("read-saes")
def read_saes(
    store: StoreOption,
    run: Annotated[str, typer.Option("--run", help="Of the model whose layers are read.")],
    data: DataOption,
    saes: Annotated[
        list[str],
        typer.Option(
            "--saes", help="A directory of one or several, or LAYER=DIRECTORY; repeatable."
        ),
    ],
    descriptions: Annotated[
        list[str] | None,
        typer.Option("--descriptions", help="LAYER=FILE_OR_FOLDER, as Neuronpedia exports it."),
    ] = None,
    folders: Annotated[
        list[Path] | None,
        typer.Option("--models", help="Look here for the run's checkpoint; repeatable."),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=4, help="Of the run.")] = 128,
    loss_samples: Annotated[
        int,
        typer.Option(
            "--loss-samples",
            min=2,
            help="Of them, with rebuilt layers, at most all.",
        ),
    ] = 32,
    top: Annotated[
        int, typer.Option("--top", min=1, help="Strongest features matched with the caption.")
    ] = 10,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Of the controls.")
    ] = 0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1)] = 16,
    device: DeviceOption = "auto",
    follow_links: FollowLinksOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read a model's layers through autoencoders: text alone, image tokens, text after an image.

    Errors, sparsity, features shared with the caption, losses with rebuilt layers, and controls: a
    random adapter, captions of other samples, another layer's autoencoder. The run keeps the rows.
    """
    from backend.data.registry import open_source
    from backend.interventions.run import subjects_of
    from backend.sae.keeping import read_run
    from backend.sae.opening import open_descriptions, open_saes
    from backend.sae.table import Options

    quiet_libraries()
    opened = writable(store).run(run)
    found = open_saes(saes)
    described = open_descriptions(descriptions or [], found)
    source = open_source(data, follow_links=follow_links)
    (subject,) = (one for one in subjects_of([store], folders or ()) if one.name == opened.run_id)
    options = Options(samples, min(loss_samples, samples), top, batch_size, seed, device)
    with Bar("read-saes") as bar:
        rows = read_run(opened, subject.open(), source, found, described, options, bar)
    print_report(source)
    if as_json:
        typer.echo(rows.to_json(orient="records"))
        return
    out.print(_readings(rows), markup=False)
    for row in rows[rows["measure"].eq("convergence_layer")].to_dict("records"):
        name = f"{row['tokens']}, {row['control']}" if row["control"] else row["tokens"]
        layer = row["reason"] or f"layer {row['value']:.0f}"
        ends = layers_between(row["ci_low"], row["ci_high"])
        out.print(
            f"convergence, {name} (coordinates: {row['coordinates']}): {layer}{ends}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    out.print("Intervals are in --json and on the page SAE.", highlight=False)


_SHOWN = ("fvu", "l0", "overlap", "match_rate", "loss_recovered")


def _readings(rows: pd.DataFrame) -> Table:
    """A row a layer, kind of token and control; all coordinates."""
    mine = rows[rows["coordinates"].eq("all") & rows["measure"].isin(_SHOWN)]
    table = Table(
        *("layer", "tokens", "FVU", "L0", "overlap", "match", "recovered"),
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for (layer, tokens, control), own in mine.groupby(["layer", "tokens", "control"], sort=False):
        values = dict(zip(own["measure"], own["value"], strict=True))
        name = f"{tokens}, {control}" if control else str(tokens)
        cells = [_cell(values.get(measure, math.nan)) for measure in _SHOWN]
        table.add_row(str(layer), name, *cells)
    return table


def _cell(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _table(made: list[Fitted]) -> Table:
    table = Table(
        *("directory", "explained", "cosine", "L0", "dead", "loss rise", "loss recovered"),
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for one in made:
        of = one.quality
        rise = "–" if one.loss_rise is None else f"{one.loss_rise:+.3f}"
        recovered = "–" if one.loss_recovered is None else f"{one.loss_recovered:.1%}"
        table.add_row(
            one.folder.name,
            f"{of.explained:.1%}",
            f"{of.cosine:.3f}",
            f"{of.l0:.1f}",
            f"{of.dead:.1%}",
            rise,
            recovered,
        )
    return table
