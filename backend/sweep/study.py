"""What a sweep does: the study file, checked before anything trains.

    store = "cache/study"                     # where the runs go
    placements = ["none", "early", "late", "text=7,8;vision=4,6"]
    seeds = [0, 1, 2]

    [[datasets]]
    data = "hateful_memes:DATA/memes"         # as for --data
    [datasets.train]                          # what differs for this dataset
    epochs = 4

    [train]                                   # any option of `fusionscope train`, with underscores
    freeze = "text=4;vision=10"

    [pretrain]                                # optional: every placement once, for all cells of it
    data = "folder:DATA/captions"             # options of `fusionscope pretrain`; encoders and
    epochs = 2                                # image size are those of [train]

    [capture]
    limit = 500

Paths are relative to where the command is given. Every key but ``datasets``, ``placements`` and
``store`` has a default.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from backend.data.registry import LAYOUTS
from backend.errors import InputError
from backend.jobs.measure import check_preset
from backend.jobs.training_measures import SAMPLES, TrainingMeasures
from backend.projection import METHODS
from backend.store.paths import check_id
from backend.sweep.cell import CaptureSettings, Cell, Pretraining
from backend.sweep.toml_lines import line_of
from backend.train.frozen import GIB, CacheOptions
from backend.train.plan import FROM_CHECKPOINT, TrainPlan, check_plan
from backend.train.pretrain import PretrainPlan, check_pretraining
from backend.train.recipe import Recipe
from backend.types import POOLINGS, Pooling

Loc = tuple[str | int, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_CELL_S_OWN = ("data", "placement", "device", "strict", "pretrained")  # not of all cells
_AT_LEAST: dict[str, float] = {
    **dict.fromkeys(("epochs", "batch_size", "patience", "limit"), 1),
    **dict.fromkeys(("learning_rate", "weight_decay", "dropout", "cka_loss"), 0),
    "max_text_length": 4,
    "image_size": 8,
}


def _fields_of(recipe: type[Recipe], without: Sequence[str]) -> dict[str, Any]:
    defaults = recipe(data="", placement="")
    return {
        item.name: (
            Annotated[kind, Field(ge=_AT_LEAST[item.name])] if item.name in _AT_LEAST else kind,
            getattr(defaults, item.name),
        )
        for item in fields(recipe)
        if item.name not in without
        for kind in [get_type_hints(recipe)[item.name]]
    }


class _Measured(_Strict):
    measure_every: str = ""
    measure_samples: Annotated[int, Field(ge=4)] = SAMPLES


class _Pretrained(_Strict):
    data: str
    seed: Annotated[int, Field(ge=0)] = 0


if TYPE_CHECKING:
    # A type checker cannot see the fields that are taken from the recipes.
    TrainOptions = _Measured
    PretrainOptions = _Pretrained
else:
    TrainOptions = create_model(
        "TrainOptions", __base__=_Measured, **_fields_of(TrainPlan, _CELL_S_OWN)
    )
    PretrainOptions = create_model(
        "PretrainOptions",
        __base__=_Pretrained,
        **_fields_of(PretrainPlan, (*_CELL_S_OWN, *FROM_CHECKPOINT)),
    )


class CaptureOptions(_Strict):
    """The options of `fusionscope capture`; whose vectors are kept: all, the first seed's, none."""

    split: str = "test"
    pooling: Annotated[tuple[Pooling, ...], Field(min_length=1)] = POOLINGS
    limit: Annotated[int | None, Field(ge=1)] = None
    batch_size: Annotated[int, Field(ge=1)] = 32
    dtype: Literal["float32", "float16"] = "float32"
    activations: Literal["all", "first", "none"] = "all"
    with_checkpoint: bool = False


class Dataset(_Strict):
    """One dataset; ``name`` is what its runs begin with. ``train`` and ``capture`` override."""

    data: str
    name: str = ""
    train: TrainOptions = TrainOptions()
    capture: CaptureOptions = CaptureOptions()

    @property
    def label(self) -> str:
        """``memes`` of ``hateful_memes:DATA/memes``; the layout's name where there is no path."""
        layout, _, rest = self.data.partition(":")
        folder = "" if layout == "macros" else Path(rest).name
        return self.name or re.sub(r"[^A-Za-z0-9._-]+", "_", folder).lstrip(".") or layout


class Study(_Strict):
    """A whole study file."""

    store: Path
    placements: Annotated[tuple[str, ...], Field(min_length=1)]
    datasets: Annotated[tuple[Dataset, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    work: Path | None = None
    train: TrainOptions = TrainOptions()
    pretrain: PretrainOptions | None = None
    capture: CaptureOptions = CaptureOptions()
    measure: tuple[str, ...] = ("default",)
    project: tuple[str, ...] = ("umap",)
    keep_checkpoints: bool = True
    frozen_cache: str = "auto"
    cache_gib: Annotated[float, Field(ge=0)] = 16.0

    @property
    def folder(self) -> Path:
        """Where checkpoints, states and outputs of frozen layers are."""
        return self.work or self.store.with_name(f"{self.store.name}-work")


def read_study(path: Path, changes: Sequence[str] = ()) -> tuple[Study, list[Cell]]:
    """The study of a file and its cells. InputError names the line of what is wrong.

    ``changes`` are ``KEY=VALUE`` (``train.epochs=2``), stronger than the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"cannot be read ({reason})", where=f"study {path}") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"not valid TOML ({error})", where=f"study {path}") from error

    def where(loc: Loc) -> str:
        line = line_of(text, loc)
        return f"{path}, line {line}" if line else f"study {path}"

    return _checked(content, changes, where)


def study_of(content: Mapping[str, Any], changes: Sequence[str] = ()) -> tuple[Study, list[Cell]]:
    """The same from values, such as the command's flags."""
    return _checked(content, changes, lambda loc: f"sweep {'.'.join(map(str, loc))}")


def _checked(
    content: Mapping[str, Any], changes: Sequence[str], where: Callable[[Loc], str]
) -> tuple[Study, list[Cell]]:
    changed = _changed(content, changes)
    try:
        study = Study.model_validate(changed)
    except ValidationError as error:
        raise _invalid(error, where) from error
    _check_names(study, where)
    return study, _cells(study, where)


def _changed(content: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    out = {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}
    for change in changes:
        key, equals, value = change.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts) or len(parts) > 2 or parts[0] == "datasets":
            raise InputError(
                f"{change!r} is not KEY=VALUE", where="--set", hint="E.g. --set train.epochs=2."
            )
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()  # a word needs no quotes on a command line
        target = out if len(parts) == 1 else out.setdefault(parts[0], {})
        target[parts[-1]] = parsed
    return out


def _invalid(error: ValidationError, where: Callable[[Loc], str]) -> InputError:
    # An unknown key first: a key that is missing may be just that one, misspelt.
    found = sorted(
        error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden"
    )
    first, *others = found
    loc = tuple(first["loc"])
    more = f" (and {len(others)} more)" if others else ""
    shown = ".".join(str(part) for part in loc)
    if first["type"] == "extra_forbidden":
        known = _keys_of(loc)
        near = difflib.get_close_matches(str(loc[-1]), known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
        return InputError(f"unknown key {loc[-1]!r}{more}", where=where(loc), hint=hint)
    if first["type"] == "missing":
        return InputError(f"{shown} is missing{more}", where=where(loc[:-1]))
    return InputError(f"{shown}: {first['msg']}{more}", where=where(loc))


def _keys_of(loc: Loc) -> list[str]:
    """The keys that the table of an unknown key may have."""
    tables: dict[str, type[BaseModel]] = {
        "train": TrainOptions,
        "pretrain": PretrainOptions,
        "capture": CaptureOptions,
        "datasets": Dataset,
    }
    names = [part for part in loc[:-1] if isinstance(part, str)]
    return list((tables[names[-1]] if names else Study).model_fields)


def _check_names(study: Study, where: Callable[[Loc], str]) -> None:
    """InputError for unknown layouts, presets and methods, and for names that occur twice."""
    labels: set[str] = set()
    for at, dataset in enumerate(study.datasets):
        _check_layout(dataset.data, where(("datasets", at, "data")))
        if dataset.label in labels:
            raise InputError(
                f"two datasets are called {dataset.label!r}",
                where=where(("datasets", at)),
                hint="Give one of them a name.",
            )
        labels.add(dataset.label)
    if study.pretrain:
        _check_layout(study.pretrain.data, where(("pretrain", "data")))
    for at, preset in enumerate(study.measure):
        with_line(partial(check_preset, preset), where(("measure", at)))
    for at, method in enumerate(study.project):
        if method not in METHODS:
            hint = f"Choose {' or '.join(METHODS)}."
            raise InputError(f"unknown method {method!r}", where=where(("project", at)), hint=hint)
    if len(set(study.seeds)) < len(study.seeds):
        raise InputError("a seed is given twice", where=where(("seeds",)))
    cache = CacheOptions(study.frozen_cache)
    with_line(cache.check, where(("frozen_cache",)))


def _check_layout(data: str, where: str) -> None:
    layout = data.partition(":")[0].strip()
    if layout not in LAYOUTS:
        hint = f"The layouts are {', '.join(LAYOUTS)}."
        raise InputError(f"unknown layout {layout!r}", where=where, hint=hint)


def with_line(check: Callable[[], object], where: str) -> None:
    """Run a check; its InputError gets ``where`` in front."""
    try:
        check()
    except InputError as error:
        place = f"{where}: {error.where}" if error.where else where
        raise InputError(error.problem, where=place, hint=error.hint) from error


def _cells(study: Study, where: Callable[[Loc], str]) -> list[Cell]:
    """Every cell, seed by seed, so that an unfinished sweep already compares placements."""
    found: dict[str, Cell] = {}
    for at, dataset in enumerate(study.datasets):
        train = {**_given(study.train), **_given(dataset.train)}
        every, samples = train.pop("measure_every", ""), train.pop("measure_samples", SAMPLES)
        if every:
            own = "measure_every" in _given(dataset.train)
            table: Loc = ("datasets", at, "train") if own else ("train",)
            with_line(partial(TrainingMeasures, every), where((*table, "measure_every")))
        options = CaptureOptions(**{**_given(study.capture), **_given(dataset.capture)})
        placements = _placements(study, at, train, where)
        first = _pretraining(study, train, placements, where)
        for seed in study.seeds:
            for name, plan in placements.items():
                run_id = _run_id(dataset.label, name, seed)
                if run_id in found:
                    raise InputError(f"two cells would be called {run_id}", where=where(()))
                kept = options.activations == "all" or (
                    options.activations == "first" and seed == study.seeds[0]
                )
                found[run_id] = Cell(
                    run_id=run_id,
                    dataset=dataset.label,
                    placement=name,
                    seed=seed,
                    plan=plan,
                    pretraining=first.get(name),
                    store=study.store,
                    work=study.folder,
                    capture=CaptureSettings(
                        **options.model_dump(exclude={"activations"}), keep_activations=kept
                    ),
                    presets=study.measure,
                    methods=study.project,
                    measure_every=every,
                    measure_samples=samples,
                    frozen_cache=study.frozen_cache,
                    cache_bytes=int(study.cache_gib * GIB),
                    keep_checkpoint=study.keep_checkpoints,
                )
    return list(found.values())


def _placements(
    study: Study, at: int, train: Mapping[str, Any], where: Callable[[Loc], str]
) -> dict[str, TrainPlan]:
    """{name: plan} of one dataset; InputError for what its encoders cannot have, or have twice."""
    found: dict[str, TrainPlan] = {}
    layers: dict[object, str] = {}
    data = study.datasets[at].data
    for i, text in enumerate(study.placements):
        plan = TrainPlan(data=data, placement=text.strip(), **train)
        line = where(("placements", i))
        try:
            placement = check_plan(plan)
        except InputError as error:
            blamed = error.where or ""
            # The placement's own line for a placement; the training options' for everything else.
            place = line if blamed.startswith("placement") else where(_blamed(blamed, study, at))
            raise InputError(
                error.problem, where=f"{place}: {blamed}" if blamed else place, hint=error.hint
            ) from error
        if placement.pairs in layers:
            raise InputError(
                f"placement {text!r} fuses at the same layers as {layers[placement.pairs]!r} "
                "in these encoders",
                where=line,
            )
        layers[placement.pairs] = text
        found[placement.name] = plan
    return found


def _pretraining(
    study: Study,
    train: Mapping[str, Any],
    placements: Mapping[str, TrainPlan],
    where: Callable[[Loc], str],
) -> dict[str, Pretraining]:
    """{placement: what its cells start from}, with the encoders of the cells' own training."""
    if study.pretrain is None:
        return {}
    given = _given(study.pretrain)
    data, seed = given.pop("data"), given.pop("seed", 0)
    encoders = {name: train[name] for name in FROM_CHECKPOINT if name in train}
    found = {}
    for name, trained in placements.items():
        plan = PretrainPlan(data=data, placement=trained.placement, **encoders, **given)
        try:
            check_pretraining(plan)
        except InputError as error:
            key = _key_in(error.where or "", PretrainOptions)
            place = where(("pretrain", key) if key else ("pretrain",))
            raise InputError(
                error.problem, where=f"{place}: {error.where}", hint=error.hint
            ) from error
        found[name] = Pretraining(plan, seed)
    return found


def _blamed(where: str, study: Study, at: int) -> Loc:
    """The key of the training options that an error is about, as far as its place tells."""
    best = _key_in(where, TrainOptions)
    own = best in _given(study.datasets[at].train)
    table: Loc = ("datasets", at, "train") if own else ("train",)
    return (*table, best) if best else table


def _key_in(where: str, options: type[BaseModel]) -> str:
    """The option that the place of an error names, such as ``--text-mask``; empty if none."""
    words = re.sub(r"[^a-z]+", " ", where.lower()).split()
    by_overlap = {
        name: sum(part in words for part in name.split("_")) / len(name.split("_"))
        for name in options.model_fields
    }
    best = max(by_overlap, key=lambda name: by_overlap[name])
    return best if by_overlap[best] >= 0.5 else ""


def _given(options: BaseModel) -> dict[str, Any]:
    return options.model_dump(exclude_unset=True)


def _run_id(*parts: object) -> str:
    dataset, placement, seed = parts
    text = f"{dataset}-{placement}-s{seed}"
    return check_id(re.sub(r"[^A-Za-z0-9._-]+", "_", text))
