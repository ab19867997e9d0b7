"""What a sweep does: the study file, checked before anything trains.

    store = "cache/study"                     # where the runs go
    placements = ["none", "early", "late", "text=7,8;vision=4,6"]
    seeds = [0, 1, 2]

    [[datasets]]
    data = "hateful_memes:DATA/memes"         # LAYOUT:PATH
    [datasets.train]                          # what differs for this dataset
    epochs = 4

    [train]                                   # any option of `fusionscope train`, with underscores
    freeze = "text=4;vision=10"

    [pretrain]                                # optional: every placement once, for all cells of it
    data = "folder:DATA/captions"             # options of `fusionscope pretrain`; encoders and
    epochs = 2                                # image size are those of [train]

    [capture]
    limit = 500

    [search]                                  # for `fusionscope search`, which makes placements
    max_fusions = 3

Paths are relative to where the command is given. Every key but ``datasets``, ``store`` and, for a
sweep, ``placements`` has a default.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from backend.capture.options import CaptureOptions
from backend.data.registry import open_source, parse
from backend.errors import InputError
from backend.jobs.measure import check_preset
from backend.jobs.training_measures import TrainingMeasures
from backend.projection import METHODS
from backend.store.paths import check_id
from backend.sweep.cell import Cell, Pretraining
from backend.sweep.mistakes import Loc, Where, in_file, invalid
from backend.sweep.schema import CaptureKeys, Study, TrainKeys
from backend.sweep.toml_lines import line_of
from backend.train.options import CacheOptions, MeasureOptions
from backend.train.plan import check_plan, check_pretraining, chosen_tasks
from backend.train.recipe import FROM_CHECKPOINT, PretrainPlan, TrainPlan

T = TypeVar("T")


def read_study(path: Path, changes: Sequence[str] = ()) -> tuple[Study, list[Cell]]:
    """The study of a file and its cells. InputError names the line of what is wrong.

    ``changes`` are ``KEY=VALUE`` (``train.epochs=2``), stronger than the file.
    """
    study, where = read_file(path, changes)
    return study, _cells(study, where)


def read_file(path: Path, changes: Sequence[str] = ()) -> tuple[Study, Where]:
    """The study of a file, its cells not yet checked, and where its keys stand in the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"cannot be read ({reason})", where=f"study {path}") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Before Python 3.14 the position is in the words alone.
        at = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        place = f"{path}, line {at[1]}" if at else f"study {path}"
        problem = str(error)[: at.start()] if at else str(error)
        raise InputError(f"not valid TOML: {problem}", where=place) from error

    def where(loc: Loc) -> str:
        line = line_of(text, loc)
        return f"{path}, line {line}" if line else f"study {path}"

    return _checked(content, changes, where)


def study_of(content: Mapping[str, Any], changes: Sequence[str] = ()) -> tuple[Study, list[Cell]]:
    """The same as :func:`read_study` from values, such as the command's flags."""

    def where(loc: Loc) -> str:
        return f"sweep {'.'.join(map(str, loc))}"

    study, or_change = _checked(content, changes, where)
    return study, _cells(study, or_change)


def _checked(
    content: Mapping[str, Any], changes: Sequence[str], where: Where
) -> tuple[Study, Where]:
    """The study, and where its keys stand: those that were changed, on the command line."""
    changed, given = _changed(content, changes)

    def or_change(loc: Loc) -> str:
        at = next((loc[:n] for n in range(len(loc), 0, -1) if loc[:n] in given), None)
        return f"`set` {given[at]}" if at else where(loc)

    try:
        study = Study.model_validate(changed)
    except ValidationError as error:
        raise invalid(error, or_change) from error
    _check_names(study, or_change)
    return study, or_change


def _changed(
    content: Mapping[str, Any], changes: Sequence[str]
) -> tuple[dict[str, Any], dict[Loc, str]]:
    """The content with its changes, and which of its keys each of them is of."""
    given: dict[Loc, str] = {}
    out = {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}
    for change in changes:
        key, equals, value = change.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts) or len(parts) > 2 or parts[0] == "datasets":
            raise InputError(
                f"{change!r} is not KEY=VALUE", field="set", hint="E.g. train.epochs=2."
            )
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()  # a word needs no quotes on a command line
        target = out if len(parts) == 1 else out.setdefault(parts[0], {})
        if not isinstance(target, dict):
            raise InputError(f"{parts[0]} is not a table", where=f"`set` {change}")
        target[parts[-1]] = parsed
        given[tuple(parts)] = change
    return out, given


def _check_names(study: Study, where: Where) -> None:
    """InputError for unknown layouts, presets and methods, and for names that occur twice."""
    labels: set[str] = set()
    for at, dataset in enumerate(study.datasets):
        with_line(partial(parse, dataset.data), where(("datasets", at, "data")))
        if dataset.label in labels:
            raise InputError(
                f"two datasets are called {dataset.label!r}",
                where=where(("datasets", at)),
                hint="Give one of them a name.",
            )
        labels.add(dataset.label)
    if study.pretrain:
        with_line(partial(parse, study.pretrain.data), where(("pretrain", "data")))
    for at, preset in enumerate(study.measure):
        with_line(partial(check_preset, preset), where(("measure", at)))
    for at, method in enumerate(study.project):
        if method not in METHODS:
            hint = f"Choose {' or '.join(METHODS)}."
            raise InputError(f"unknown method {method!r}", where=where(("project", at)), hint=hint)
    if len(set(study.seeds)) < len(study.seeds):
        raise InputError("a seed is given twice", where=where(("seeds",)))
    _check_repeats(study, where)
    _check_folders(study, where)


def _check_repeats(study: Study, where: Where) -> None:
    for key, names in (("measure", study.measure), ("project", study.project)):
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        if twice:
            raise InputError(f"{twice[0]!r} is given twice", where=where((key,)))


def _check_folders(study: Study, where: Where) -> None:
    if not study.store.name:
        raise InputError(
            f"{str(study.store)!r} is not the name of a folder of its own",
            where=where(("store",)),
            hint="E.g. cache/study.",
        )
    if study.folder.resolve().is_relative_to(study.store.resolve()):
        raise InputError(
            "lies in the store", where=where(("work",)), hint="Choose a folder beside it."
        )


def with_line(check: Callable[[], T], where: str) -> T:
    """What a check gives; its InputError gets ``where`` in front."""
    try:
        return check()
    except InputError as error:
        raise in_file(error, where) from error


@dataclass(frozen=True)
class DatasetCells:
    """Makes the cells of one dataset of a study."""

    study: Study
    at: int
    label: str
    train: Mapping[str, Any]
    capture: CaptureKeys
    measured: MeasureOptions

    def plan(self, placement: str) -> TrainPlan:
        """How a placement is trained; not checked."""
        data = self.study.datasets[self.at].data
        return TrainPlan(data=data, placement=placement, **self.train)

    def pretraining(self, plan: TrainPlan) -> Pretraining | None:
        """What cells of this plan start from: with its encoders, on the study's pairs."""
        if self.study.pretrain is None:
            return None
        given = _given(self.study.pretrain)
        data, seed = given.pop("data"), given.pop("seed", 0)
        names = [name for name in (*FROM_CHECKPOINT, "head") if name in self.train]
        own = {name: self.train[name] for name in names if name not in given}
        return Pretraining(PretrainPlan(data, plan.placement, **own, **given), seed)

    def check_start(self, plan: TrainPlan, where: Where) -> None:
        """InputError with its line for a pretraining that cannot be."""
        start = self.pretraining(plan)
        if start is None:
            return
        try:
            check_pretraining(start.plan)
        except InputError as error:
            # What comes from [train] is said of that, by its own check.
            if error.field in _given(self.study.pretrain):
                line = where(("pretrain", str(error.field)))
                raise in_file(error, line, f"pretrain.{error.field}") from error

    @contextmanager
    def blaming(self, line: str, where: Where) -> Iterator[None]:
        """InputErrors of checks on a plan get the line of what is to blame.

        That is ``line`` for a placement, the training option's own for everything else.
        """
        try:
            yield
        except InputError as error:
            if error.field == "placement":
                raise in_file(error, line) from error
            loc = _blamed(error.field, self.study, self.at)
            key = ".".join(str(part) for part in loc if not isinstance(part, int))
            raise in_file(error, where(loc), key) from error

    def cell(self, name: str, plan: TrainPlan, seed: int, first: int) -> Cell:
        """The cell of a placement called ``name``; ``first`` is the seed whose vectors are kept."""
        study, whose = self.study, self.capture.activations
        return Cell(
            run_id=_run_id(self.label, name, seed),
            dataset=self.label,
            placement=name,
            seed=seed,
            plan=plan,
            pretraining=self.pretraining(plan),
            store=study.store,
            work=study.folder,
            capture=CaptureOptions(**self.capture.model_dump(exclude={"activations"})),
            keep_activations=whose == "all" or (whose == "first" and seed == first),
            presets=study.measure,
            methods=study.project,
            intervene=study.intervene,
            measured=self.measured,
            cache=CacheOptions(study.frozen_cache, study.folder / "frozen", study.cache_gib),
            keep_checkpoint=study.keep_checkpoints,
        )


def dataset_cells(study: Study, at: int, where: Where) -> DatasetCells:
    """What makes the cells of dataset ``at``; InputError for when it is measured in training."""
    dataset = study.datasets[at]
    train = {**_given(study.train), **_given(dataset.train)}
    named = [item.name for item in fields(MeasureOptions) if item.name in train]
    measured = MeasureOptions(**{name: train.pop(name) for name in named})
    if measured.measure_every:
        own = "measure_every" in _given(dataset.train)
        table: Loc = ("datasets", at, "train") if own else ("train",)
        with_line(
            partial(TrainingMeasures, measured.measure_every), where((*table, "measure_every"))
        )
    options = CaptureKeys(**{**_given(study.capture), **_given(dataset.capture)})
    _check_data(study, at, tuple(train.get("tasks", ())), options, where)
    return DatasetCells(study, at, dataset.label, train, options, measured)


def _check_data(
    study: Study, at: int, tasks: tuple[str, ...], options: CaptureKeys, where: Where
) -> None:
    """InputError for tasks and a split that a dataset does not have.

    One that cannot be opened is not asked: its cells say so, and those of the others are made.
    """
    dataset, line = study.datasets[at], where(("datasets", at, "data"))
    said = parse(dataset.data)
    if not said.path.strip() or said.layout == "macros":
        source = with_line(partial(open_source, dataset.data), line)
    else:
        try:
            source = open_source(dataset.data)
        except InputError:
            return

    def of(table: str, key: str) -> str:
        own = key in _given(getattr(dataset, table))
        loc: Loc = ("datasets", at, table, key) if own else (table, key)
        return where(loc) if own or key in _given(getattr(study, table)) else line

    plan = TrainPlan(data=dataset.data, placement="none", tasks=tasks)
    with_line(partial(chosen_tasks, plan, source), of("train", "tasks"))
    with_line(partial(source.canonical, str(options.model_dump()["split"])), of("capture", "split"))


def _cells(study: Study, where: Where) -> list[Cell]:
    """Every cell, seed by seed, so that an unfinished sweep already compares placements."""
    if not study.placements:
        raise InputError("placements is missing", where=where(()))
    cells: dict[str, Cell] = {}
    for at in range(len(study.datasets)):
        make = dataset_cells(study, at, where)
        placements = _placements(make, where)
        for seed in study.seeds:
            for name, plan in placements.items():
                cell = with_line(
                    partial(make.cell, name, plan, seed, study.seeds[0]), where(("datasets", at))
                )
                if cell.run_id in cells:
                    raise InputError(f"two cells would be called {cell.run_id}", where=where(()))
                cells[cell.run_id] = cell
    return list(cells.values())


def _placements(make: DatasetCells, where: Where) -> dict[str, TrainPlan]:
    """{name: plan} of one dataset; InputError for what its encoders cannot have, or have twice."""
    plans: dict[str, TrainPlan] = {}
    layers: dict[object, str] = {}
    for i, text in enumerate(make.study.placements):
        line = where(("placements", i))
        plan = make.plan(text.strip())
        make.check_start(plan, where)
        with make.blaming(line, where):
            placement = check_plan(plan)
        if text in layers.values():
            raise InputError(f"placement {text!r} is given twice", where=line)
        if placement.pairs in layers:
            raise InputError(
                f"placement {text!r} fuses at the same layers as {layers[placement.pairs]!r} "
                "in these encoders",
                where=line,
            )
        layers[placement.pairs] = text
        plans[placement.name] = plan
    return plans


def _blamed(field: str | None, study: Study, at: int) -> Loc:
    """The key of the training options that an error is about, or their table."""
    own = field in _given(study.datasets[at].train)
    table: Loc = ("datasets", at, "train") if own else ("train",)
    return (*table, field) if field in TrainKeys.model_fields else table


def _given(options: BaseModel | None) -> dict[str, Any]:
    return options.model_dump(exclude_unset=True) if options else {}


def _run_id(*parts: object) -> str:
    dataset, placement, seed = parts
    text = f"{dataset}-{placement}-s{seed}"
    return check_id(re.sub(r"[^A-Za-z0-9._-]+", "_", text))
