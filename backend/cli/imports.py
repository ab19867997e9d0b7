"""Activations that were made elsewhere into a store, and a run's activations out of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from backend.cli.base import StoreOption, app, existing, numbers, out, say
from backend.errors import InputError
from backend.progress import Bar
from backend.types import How, Pooling
from backend.words import counted


@app.command("import-activations")
def import_activations(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...",
            help="npy, npz, safetensors, Parquet, HDF5 or DuckDB files, or folders of them.",
        ),
    ],
    store: StoreOption,
    pattern: Annotated[
        str | None,
        typer.Option(help='How names say what is what: "blocks.{layer}.{stream}".'),
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="A TOML file that says it; see docs/import-activations.md.")
    ] = None,
    stream: Annotated[str | None, typer.Option(help="Where the pattern has no {stream}.")] = None,
    pooling: Annotated[
        str | None, typer.Option(help="cls or mean, where the pattern has no {pooling}.")
    ] = None,
    first_layer: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="The layer that number 0 is: 1 where 0 is the output of the first block.",
        ),
    ] = None,
    layer_axis: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="Of stacked arrays: 1 for (n, L, d), 0 for (L, n, d)."),
    ] = None,
    modalities: Annotated[
        list[str] | None,
        typer.Option("--modality", help="STREAM=WORD, where a stream is not called like it."),
    ] = None,
    fusion: Annotated[
        list[str] | None,
        typer.Option(help="STREAM=4,5,6: its fusion layers; STREAM= for none."),
    ] = None,
    how: Annotated[
        str | None, typer.Option(help="How they fuse: co, cross, gated, joint or add.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Table of samples: csv, jsonl or Parquet.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Table of scores: task, metric, split, value.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the model.")] = None,
    family: Annotated[str | None, typer.Option(help="Of the model.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of the model.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=-(2**63), max=2**63 - 1, help="Of the model's training.")
    ] = None,
    placement: Annotated[str | None, typer.Option(help="Name of its fusion placement.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Name of the samples.")] = None,
    split: Annotated[str | None, typer.Option(help="Of samples whose table has none.")] = None,
    run_id: Annotated[str | None, typer.Option(help="Default: made of samples and model.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float32, or float16 as the default where all arrays are.")
    ] = None,
    allow_nan: Annotated[
        bool, typer.Option("--allow-nan", help="Keep rows with NaN or infinite values.")
    ] = False,
    binary_dtype: Annotated[
        str, typer.Option(help="Of the values in binary columns: float32 or float16.")
    ] = "float32",
    table: Annotated[str | None, typer.Option(help="The one table of a DuckDB file.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a run of the same id once this one is whole.")
    ] = False,
) -> None:
    """Bring precomputed activations into a store as a run; an interrupted import goes on."""
    from backend.store import Store
    from backend.store.imports.load import carry_out
    from backend.store.imports.options import ImportOptions
    from backend.store.imports.plan import plan_import

    options = ImportOptions(
        pattern=pattern,
        mapping=mapping,
        stream=stream,
        pooling=cast("Pooling | None", pooling),
        first_layer=first_layer,
        layer_axis=layer_axis,
        modalities=_words("modalities", modalities or ()),
        fusion={
            stream: numbers("fusion", layers) if layers else []
            for stream, layers in _words("fusion", fusion or ()).items()
        },
        how=cast("How | None", how),
        samples=samples,
        scores=scores,
        name=name,
        family=family,
        revision=revision,
        seed=seed,
        placement=placement,
        dataset=dataset,
        split=split,
        run_id=run_id,
        dtype=dtype,
        allow_nan=allow_nan or None,
        binary_dtype=binary_dtype,
        table=table,
        replace=replace,
        command=shlex.join(["fusionscope", *sys.argv[1:]]),
    )
    plan = plan_import(files, options)
    for note in plan.notes:
        say(f"note: {note}")
    with Bar(f"import {plan.manifest.run_id}") as bar:
        manifest = carry_out(Store.create(store), plan, replace=replace, progress=bar)
    for spec in manifest.streams:
        own = [(ref, p) for ref, p in manifest.captures if ref.stream == spec.name]
        refs = list(dict.fromkeys(ref.label for ref, _ in own))
        poolings = ", ".join(dict.fromkeys(p for _, p in own))
        fused = ", ".join(map(str, spec.fusion_layers)) or "none"
        out.print(
            f"{spec.name}: {counted(len(refs), 'site')} ({refs[0]} to {refs[-1]}), {spec.width} "
            f"wide, {poolings}. {spec.note or f'Fusion layers: {fused}.'}",
            soft_wrap=True,
            highlight=False,
        )
    out.print(
        f"run {manifest.run_id}: {counted(manifest.dataset.n, 'sample')} in {store}",
        soft_wrap=True,
        highlight=False,
    )


@app.command()
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Run id.")],
    store: StoreOption,
    folder: Annotated[Path, typer.Option("--out", help="Folder to make.")],
    form: Annotated[str, typer.Option("--format", help="safetensors or npy.")] = "safetensors",
    stream: Annotated[list[str] | None, typer.Option(help="Only these streams.")] = None,
) -> None:
    """Write a run's activations as safetensors or npy, with its samples and a mapping."""
    from backend.store.export import Format, export_run

    opened = existing(store).run(run)
    with Bar(f"export {run}") as bar:
        export_run(opened, folder, cast(Format, form), streams=stream or (), progress=bar)
    out.print(f"run {run}: exported to {folder}", soft_wrap=True, highlight=False)


def _words(field: str, given: Sequence[str]) -> dict[str, str]:
    """``["vision=4,5", "text=7"]`` (or both in one, divided by ``;``) by the word before ``=``."""
    pairs: dict[str, str] = {}
    for part in (part.strip() for text in given for part in text.split(";") if part.strip()):
        stream, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not stream or stream in pairs:
            raise InputError(f"{part!r} is not STREAM=VALUE, each stream once", field=field)
        pairs[stream] = value
    return pairs
