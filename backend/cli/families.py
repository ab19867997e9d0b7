"""``fusionscope models``: which models can be opened, and what one of them has to offer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Table

from backend.cli.base import JsonOption, PartialOption, RevisionOption, app, out, say
from backend.errors import InputError
from backend.progress import quiet_libraries
from backend.words import counted, listed, size_text

if TYPE_CHECKING:
    from backend.models.at_hand import AtHand
    from backend.models.describe import Description, MeetDescription, StreamDescription
    from backend.models.registry import Family


@app.command()
def models(
    model: Annotated[
        str | None, typer.Argument(help="A checkpoint directory or a hub id; default: list all.")
    ] = None,
    revision: RevisionOption = None,
    folders: Annotated[
        list[Path] | None,
        typer.Option("--models", help="List checkpoints in this directory, too; repeatable."),
    ] = None,
    allow_partial_weights: PartialOption = False,
    as_json: JsonOption = False,
) -> None:
    """Families and what is at hand; or, of one MODEL, its streams, sites and what it supports."""
    quiet_libraries()
    if model is None:
        if revision is not None:
            raise InputError("belongs to a hub id", where="--revision", hint="Give MODEL, too.")
        _list(folders or [], as_json)
        return
    if folders:
        raise InputError("lists directories, without MODEL", where="--models")
    from backend.models.describe import describe
    from backend.models.registry import open_model

    description = describe(
        open_model(model, revision=revision, allow_partial_weights=allow_partial_weights)
    )
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(description), indent=2))
    else:
        _print(description)


def _list(folders: Sequence[Path], as_json: bool) -> None:
    from backend.models.at_hand import cached_checkpoints, checkpoints_below
    from backend.models.registry import families, shadowed

    available = families()
    at_hand = [
        checkpoint
        for checkpoint in (*checkpoints_below(folders), *cached_checkpoints())
        if checkpoint.problem or checkpoint.model_type in available
    ]
    if as_json:
        typer.echo(json.dumps(_listing(available, at_hand, shadowed()), indent=2))
        return
    table = Table("family", "what it is", "at hand", box=SIMPLE, padding=(0, 1, 0, 0))
    for model_type, family in available.items():
        usable = [c for c in at_hand if c.model_type == model_type and not c.problem]
        table.add_row(model_type, family.sentence, "\n".join(_named(c) for c in usable) or "–")
    out.print(table, markup=False)
    for checkpoint in at_hand:
        if checkpoint.problem:
            say(f"{_named(checkpoint)} cannot be opened: {checkpoint.problem}")
    for sentence in shadowed().values():
        say(sentence)


def _listing(
    available: dict[str, Family], at_hand: Sequence[AtHand], notes: dict[str, str]
) -> dict[str, Any]:
    def of(checkpoint: AtHand) -> dict[str, str]:
        return {
            "name": checkpoint.name,
            "path": str(checkpoint.folder),
            "revision": checkpoint.revision,
        }

    return {
        "families": [
            {
                "family": model_type,
                "sentence": family.sentence,
                "plugin": family.plugin,
                "at_hand": [of(c) for c in at_hand if c.model_type == model_type and not c.problem],
            }
            for model_type, family in available.items()
        ],
        "unusable": [{**of(c), "problem": c.problem} for c in at_hand if c.problem],
        "notes": list(notes.values()),
    }


def _named(checkpoint: AtHand) -> str:
    commit = f" ({checkpoint.revision[:8]})" if checkpoint.revision else ""
    return f"{checkpoint.name}{commit}"


def _print(model: Description) -> None:
    for name, value in _facts(model):
        if value:
            out.print(f"{name:<11}{value}", markup=False, highlight=False, soft_wrap=True)
    for stream in model.streams:
        modality = "" if stream.modality == stream.name else f" ({stream.modality})"
        out.print(f"\nstream {stream.name}{modality}", markup=False, highlight=False)
        for name, value in _stream_facts(stream):
            if value:
                out.print(f"  {name:<11}{value}", markup=False, highlight=False, soft_wrap=True)
    if model.unsupported:
        out.print("\nnot supported", markup=False, highlight=False)
        wide = max(map(len, model.unsupported)) + 2
        for name, reason in model.unsupported.items():
            out.print(f"  {name:<{wide}}{reason}", markup=False, highlight=False, soft_wrap=True)


def _facts(model: Description) -> list[tuple[str, str]]:
    by_type = listed(
        f"{size_text(size)} {dtype}" for dtype, size in model.memory.bytes_by_dtype.items()
    )
    anywhere = [edit for edit in model.edits if edit != "cut"]
    cut = "; cut at the meets that say so" if "cut" in model.edits else ""
    seed = "" if model.seed is None else f", seed {model.seed}"
    return [
        ("model", model.name),
        ("family", model.family),
        ("commit", model.revision),
        ("digest", model.digest),
        ("placement", f"{model.placement}{seed}" if model.placement else ""),
        ("trained on", model.trained_on),
        ("tasks", listed(model.tasks)),
        ("needs", listed(model.needs)),
        ("memory", f"{counted(model.memory.parameters, 'parameter')}, {by_type}"),
        ("edits", f"{listed(anywhere)} at any site{cut}"),
    ]


def _stream_facts(stream: StreamDescription) -> list[tuple[str, str]]:
    from backend.models.describe import compact_sites

    gates = [f"{g.site} {g.mean_magnitude:.3g}" for g in stream.gates]
    return [
        ("sites", compact_sites(stream.sites)),
        ("widths", _grouped(stream.sites, stream.widths)),
        ("poolings", _grouped(stream.sites, [" ".join(p) for p in stream.poolings])),
        ("meets", "; ".join(_meets(stream.meets))),
        (
            "attention",
            "; ".join(f"to {a.reads} at {compact_sites(a.sites)}" for a in stream.attention),
        ),
        ("gates", ", ".join(gates)),
        ("note", stream.note),
    ]


def _grouped(sites: Sequence[str], values: Sequence[object]) -> str:
    """``768`` where it is the same at every site, else ``768 (0-12), 512 (12.projected)``."""
    from backend.models.describe import compact_sites

    groups: dict[object, list[str]] = {}
    for site, value in zip(sites, values, strict=True):
        groups.setdefault(value, []).append(site)
    if len(groups) == 1:
        return str(values[0])
    return ", ".join(f"{value} ({compact_sites(own)})" for value, own in groups.items())


def _meets(meets: Iterable[MeetDescription]) -> list[str]:
    """``co with text at 10-12 (can be cut)``."""
    from backend.models.describe import compact_sites

    groups: dict[tuple[str, str, bool], list[str]] = {}
    for meet in meets:
        groups.setdefault((meet.how, meet.reads, meet.cut), []).append(str(meet.layer))
    return [
        f"{how} with {reads or 'the other stream'} at {compact_sites(layers)}"
        f"{' (can be cut)' if cut else ''}"
        for (how, reads, cut), layers in groups.items()
    ]
