"""The commands of sparse autoencoders: train-sae, read-saes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.table import Table

from backend.cli.base import LARGEST, JsonOption, app, out, print_report
from backend.cli.options import with_settings
from backend.progress import Bar, quiet_libraries
from backend.sae.plan import SaePlan

if TYPE_CHECKING:
    from backend.sae.fitting import Fitted

_OUT = typer.Option("--out", help="Gets one directory a layer, in SAELens' layout.")


@app.command("train-sae")
@with_settings
def train_sae(
    plan: SaePlan,
    out_dir: Annotated[Path, _OUT],
    seed: Annotated[int, typer.Option("--seed", min=0, max=LARGEST)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Train sparse autoencoders on the tokens of a model's layers; an interrupted one goes on."""
    from backend.data.registry import open_source
    from backend.sae.fitting import fit_saes

    quiet_libraries()
    source = open_source(plan.data)
    with Bar("train-sae") as bar:
        made = list(fit_saes(plan, source, seed, out_dir, bar))
    print_report(source)
    if as_json:
        typer.echo(json.dumps([{**asdict(one), "folder": str(one.folder)} for one in made]))
        return
    out.print(_table(made), markup=False)


def _table(made: list[Fitted]) -> Table:
    table = Table(
        *("layer", "explained", "cosine", "L0", "dead", "loss rise", "loss recovered", "directory"),
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for one in made:
        of = one.quality
        rise = "–" if one.loss_rise is None else f"{one.loss_rise:+.3f}"
        recovered = "–" if one.loss_recovered is None else f"{one.loss_recovered:.1%}"
        table.add_row(
            one.layer,
            f"{of.explained:.1%}",
            f"{of.cosine:.3f}",
            f"{of.l0:.1f}",
            f"{of.dead:.1%}",
            rise,
            recovered,
            str(one.folder),
        )
    return table
