"""The commands that make models: train, pretrain, import-checkpoint, sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.base import (
    DataOption,
    DeviceOption,
    JsonOption,
    StrictOption,
    app,
    check_devices,
    cores,
    numbers,
    out,
    print_report,
    say,
    words,
)
from backend.errors import InputError
from backend.progress import TrainingBar, quiet_libraries
from backend.views.words import counted, listed

OutOption = Annotated[Path, typer.Option("--out", help="Gets one checkpoint directory a seed.")]
SeedsOption = Annotated[str, typer.Option(help="Comma-separated.")]
PlacementOption = Annotated[
    str, typer.Option(help="none, full, early, middle, late, ... or 'text=7,8;vision=4,6'.")
]
TextEncoderOption = Annotated[
    str, typer.Option(help="small (from scratch), a directory, or a hub id.")
]
VisionEncoderOption = Annotated[
    str, typer.Option(help="small (from scratch), or TIMM_NAME[:WEIGHTS.safetensors].")
]
ImageSizeOption = Annotated[
    int | None, typer.Option(min=8, help="Pixels; default 48 (small) or 224.")
]
TextLengthOption = Annotated[int, typer.Option(min=4, help="Tokens.")]
EpochsOption = Annotated[int, typer.Option(min=1)]
BatchOption = Annotated[int, typer.Option(min=1)]
AccumulateOption = Annotated[int, typer.Option(min=1, help="Batches for one optimiser step.")]
RateOption = Annotated[float | None, typer.Option(min=0, help="Default 1e-3 (small) or 4e-5.")]
DecayOption = Annotated[float, typer.Option(min=0)]
DropoutOption = Annotated[float, typer.Option(min=0, max=0.9)]
FreezeOption = Annotated[
    str, typer.Option(help="none, encoders, or layers up to: 'text=4;vision=6'.")
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Training samples.")]
PrecisionOption = Annotated[str, typer.Option(help="auto, no, bf16 or fp16.")]
SavedPrecisionOption = Annotated[
    str, typer.Option(help="Of the checkpoint's weights: float32 or float16.")
]


@app.command()
def train(
    data: DataOption,
    placement: PlacementOption,
    out_dir: OutOption,
    seeds: SeedsOption = "0",
    task: Annotated[
        str, typer.Option(help="Comma-separated tasks of the dataset; default: all.")
    ] = "",
    text_encoder: TextEncoderOption = "small",
    vision_encoder: VisionEncoderOption = "small",
    image_size: ImageSizeOption = None,
    max_text_length: TextLengthOption = 64,
    epochs: EpochsOption = 15,
    batch_size: BatchOption = 64,
    accumulate: AccumulateOption = 1,
    learning_rate: RateOption = None,
    weight_decay: DecayOption = 0.01,
    patience: Annotated[int, typer.Option(min=1, help="Epochs without a better dev score.")] = 3,
    dropout: DropoutOption = 0.1,
    class_weights: Annotated[str, typer.Option(help="balanced or none.")] = "balanced",
    freeze: FreezeOption = "none",
    pretrained: Annotated[
        str,
        typer.Option(help="Checkpoint to start from, such as of `fusionscope pretrain`."),
    ] = "",
    cka_loss: Annotated[
        float, typer.Option(min=0, help="Weight of 1 - CKA of the streams in the loss.")
    ] = 0.0,
    cka_layers: Annotated[
        str, typer.Option(help="Where: like a placement; default: the fusion layers.")
    ] = "",
    measure_every: Annotated[
        str, typer.Option(help="Measure while training: 'epoch', or a number of steps.")
    ] = "",
    measure_samples: Annotated[int, typer.Option(min=4, help="Of the dev split.")] = 256,
    limit: LimitOption = None,
    precision: PrecisionOption = "auto",
    saved_precision: SavedPrecisionOption = "float32",
    frozen_cache: Annotated[
        str, typer.Option(help="Keep frozen layers' outputs: auto, off, float32 or float16.")
    ] = "auto",
    cache_dir: Annotated[
        Path | None, typer.Option(help="Where; shared by trainings. Default: scratch, deleted.")
    ] = None,
    cache_gib: Annotated[float, typer.Option(min=0, help="Most that may lie there.")] = 16.0,
    device: DeviceOption = "auto",
    strict: StrictOption = False,
) -> None:
    """Train one fusion placement, one checkpoint a seed; an interrupted training goes on."""
    from backend.data.registry import open_source
    from backend.jobs.training_measures import TrainingMeasures, require_measured
    from backend.train.frozen import GIB, CacheOptions
    from backend.train.loop import train_seed
    from backend.train.plan import TrainPlan

    quiet_libraries()
    plan = TrainPlan(
        data=data,
        placement=placement,
        tasks=tuple(words(task)),
        text_encoder=text_encoder,
        vision_encoder=vision_encoder,
        image_size=image_size,
        max_text_length=max_text_length,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        patience=patience,
        dropout=dropout,
        class_weights=class_weights,
        freeze=freeze,
        pretrained=pretrained,
        cka_loss=cka_loss,
        cka_layers=cka_layers,
        limit=limit,
        precision=precision,
        saved_precision=saved_precision,
        device=device,
    )
    cache = CacheOptions(frozen_cache, cache_dir, int(cache_gib * GIB), say)
    observer = TrainingMeasures(measure_every, measure_samples) if measure_every else None
    source = open_source(data, strict=strict)
    for seed in numbers("seeds", seeds):
        with TrainingBar() as bar:
            checkpoint = train_seed(plan, source, seed, out_dir, bar.update, cache, observer)
        if observer:
            require_measured(checkpoint)
        scores = json.loads((checkpoint / "scores.json").read_text(encoding="utf-8"))
        shown = ", ".join(
            f"{s['split']} {s['task']} {s['metric']} {s['value']:.3f}"
            for s in scores
            if s["split"] != "train"
        )
        out.print(f"{checkpoint}: {shown}", soft_wrap=True, highlight=False)
    print_report(source)


@app.command()
def pretrain(
    data: DataOption,
    placement: PlacementOption,
    out_dir: OutOption,
    seeds: SeedsOption = "0",
    objectives: Annotated[
        str, typer.Option(help="Some of mlm, alignment, image, comma-separated.")
    ] = "mlm,alignment,image",
    text_mask: Annotated[float, typer.Option(help="Share of the words to hide.")] = 0.15,
    image_mask: Annotated[float, typer.Option(help="Share of the patches to hide.")] = 0.3,
    text_encoder: TextEncoderOption = "small",
    vision_encoder: VisionEncoderOption = "small",
    image_size: ImageSizeOption = None,
    max_text_length: TextLengthOption = 64,
    epochs: EpochsOption = 15,
    batch_size: BatchOption = 64,
    accumulate: AccumulateOption = 1,
    learning_rate: RateOption = None,
    weight_decay: DecayOption = 0.01,
    dropout: DropoutOption = 0.1,
    freeze: FreezeOption = "none",
    limit: LimitOption = None,
    precision: PrecisionOption = "auto",
    saved_precision: SavedPrecisionOption = "float32",
    device: DeviceOption = "auto",
    strict: StrictOption = False,
) -> None:
    """Pretrain on image-text pairs, for `train --pretrained`; an interrupted one goes on."""
    from backend.data.registry import open_source
    from backend.train.pretrain import FILE, PretrainPlan, pretrain_seed

    quiet_libraries()
    plan = PretrainPlan(
        data=data,
        placement=placement,
        objectives=tuple(words(objectives)),
        text_mask=text_mask,
        image_mask=image_mask,
        text_encoder=text_encoder,
        vision_encoder=vision_encoder,
        image_size=image_size,
        max_text_length=max_text_length,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        dropout=dropout,
        freeze=freeze,
        limit=limit,
        precision=precision,
        saved_precision=saved_precision,
        device=device,
    )
    source = open_source(data, strict=strict)
    for seed in numbers("seeds", seeds):
        with TrainingBar() as bar:
            checkpoint = pretrain_seed(plan, source, seed, out_dir, bar.update)
        last = json.loads((checkpoint / FILE).read_text(encoding="utf-8"))["history"][-1]
        shown = [
            f"{one['objective']} loss {one['loss']:.3f}, right {one['accuracy']:.1%}"
            for one in last.get("dev", [])
            if one["n"]
        ]
        said = f"dev {'; '.join(shown)}" if shown else f"loss {last['loss']:.3f}"
        out.print(f"{checkpoint}: {said}", soft_wrap=True, highlight=False)
    print_report(source)


@app.command("import-checkpoint")
def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="A checkpoint file of another program.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Gets the checkpoint.")],
    form: Annotated[
        str, typer.Option("--format", help="thesis: torch.save of model_state_dict and config.")
    ] = "thesis",
    tokenizer: Annotated[
        str | None,
        typer.Option(help="bert-base-uncased's: a directory or a hub id. The file holds none."),
    ] = None,
) -> None:
    """Turn another program's checkpoint into ours; nothing that is in the file is run."""
    from backend.models.imports.registry import import_checkpoint as run_import

    quiet_libraries()
    made = run_import(file, form=form, out=out_dir, tokenizer=tokenizer)
    tasks = listed(f"{task.name} ({task.kind})" for task in made.tasks) or "none"
    out.print(f"{made.folder}: placement {made.placement}, tasks: {tasks}", soft_wrap=True)
    if made.left_out:
        out.print(
            f"left out, as nothing here reads them: {counted(len(made.left_out), 'tensor')}",
            soft_wrap=True,
            highlight=False,
        )


@app.command()
def sweep(
    study: Annotated[Path | None, typer.Argument(help="A TOML file; or give flags.")] = None,
    data: Annotated[list[str] | None, typer.Option("--data", help="As for train.")] = None,
    placement: Annotated[list[str] | None, typer.Option(help="As for train.")] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated; default 0.")] = "",
    store: Annotated[Path | None, typer.Option(help="Directory of the store.")] = None,
    change: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, e.g. train.epochs=2.")
    ] = None,
    devices: Annotated[
        str, typer.Option(help="One cell at a time on each: cpu,cuda:0,cuda:1.")
    ] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Cells at a time on the CPU; default: one a core.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train, capture and measure datasets x placements x seeds; an interrupted sweep goes on."""
    from backend.sweep.run import run_sweep
    from backend.sweep.study import read_study, study_of
    from backend.sweep.table import SweepTable, table_of

    if devices and workers:
        raise InputError("cannot be given with --workers", where="--devices")
    flags: dict[str, object] = {
        **({"datasets": [{"data": one} for one in data]} if data else {}),
        **({"placements": placement} if placement else {}),
        **({"seeds": numbers("seeds", seeds)} if seeds else {}),
        **({"store": str(store)} if store else {}),
    }
    if study and flags:
        hint = "Use --set for what differs from the file."
        raise InputError(f"cannot be given with {study}", where=f"--{next(iter(flags))}", hint=hint)
    quiet_libraries()
    _, cells = read_study(study, change or []) if study else study_of(flags, change or [])
    slots = words(devices) or ["cpu"] * min(workers or cores(), len(cells))
    check_devices(slots)
    with SweepTable(len(slots)) as table:
        states = run_sweep(cells, slots, table.update)
    failed = [one for one in states if one.state == "failed"]
    if as_json:
        kept = [(one.cell, one.state, one.reason, one.seconds) for one in states]
        typer.echo(
            json.dumps(
                [
                    {
                        "run_id": cell.run_id,
                        "dataset": cell.dataset,
                        "placement": cell.placement,
                        "seed": cell.seed,
                        "state": state,
                        "reason": reason,
                        "seconds": round(seconds, 1),
                    }
                    for cell, state, reason, seconds in kept
                ],
                indent=2,
            )
        )
    else:
        out.print(table_of(states))
        for one in failed:
            out.print(f"{one.cell.run_id}: {one.reason}", markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
