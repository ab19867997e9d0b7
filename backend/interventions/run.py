"""The causal test of a fusion: every model with each partner and each state of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from backend.data.base import PairSource
from backend.errors import InputError
from backend.interventions.effects import effects, score_effects
from backend.interventions.partners import check_partners, passes
from backend.interventions.question import Options, Question
from backend.interventions.table import COLUMNS, PARTNERS, WEIGHTS, Effect
from backend.interventions.weights import with_weights
from backend.models.adapter import Adapter
from backend.models.devices import choose_device
from backend.progress import SILENT, Progress
from backend.store import Run, kinds
from backend.store.holder import TableHolder
from backend.store.identity import model_name
from backend.store.tables import to_pandas
from backend.train.examples import encode
from backend.types import POOLINGS


@dataclass(frozen=True)
class Subject:
    """A model to be asked: what to call it, how to open it, and the run of a store that it is of.

    A run is asked on its own data only, and keeps what it was asked.
    """

    name: str
    open: Callable[[], Adapter]
    run: Run | None = None


@dataclass(frozen=True, eq=False)
class Interventions:
    """``table`` has the columns :data:`COLUMNS`.

    ``facts`` say what there was not to ask (a model without fusion, a run on other data, a state of
    weights that is not known); ``failures`` what could not be asked or kept. ``about`` says what it
    was made from: data, samples, seed of the shuffling, versions, models with their digests.
    """

    table: pd.DataFrame
    facts: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)


def intervene(
    subjects: Sequence[Subject],
    source: PairSource,
    options: Options | None = None,
    progress: Progress = SILENT,
) -> Interventions:
    """Every subject under (weights) x (partners) on the same samples of ``source``.

    What a run of a store was asked before is read, and what it is asked now is added to it. What
    one model cannot be asked is a fact or a failure in one line, and the others go on. Labels are
    read as each model's tasks were. InputError where the
    data gives too few samples, and where no model at all could be asked.
    """
    options = options or Options()
    question = Question.of(source, options)
    device = choose_device(options.device)
    tables: list[pd.DataFrame] = []
    facts: list[str] = []
    failures: list[str] = []
    models: dict[str, _Model] = {}
    for at, subject in enumerate(subjects):
        progress.advance(at, len(subjects), subject.name)
        run = subject.run
        try:
            if run is not None and options.seeds and run.manifest.seed not in options.seeds:
                continue
            if run is not None and run.manifest.dataset.name != source.name:
                raise _NothingToAsk(f"is a run on {run.manifest.dataset.name}, not {source.name}")
            if run is not None:
                question = question.read_as(run.manifest.tasks)
            kept = run is not None and question.key in run.keys(kinds.INTERVENTIONS)
            adapter = None if kept else subject.open()
            model = _model(adapter, run)
            if options.seeds and model.seed not in options.seeds:
                continue
            same = [name for name, one in models.items() if one.digest == model.digest]
            if same and model.digest:
                raise _NothingToAsk(f"is the same model as {same[0]}")
            if adapter is not None:
                _check_partners(adapter)
                question = question.read_as(adapter.tasks)
                rows, lacking = rows_of(adapter.to(device), question)
                facts += [_line(subject.name, error) for error in lacking]
                if run is not None:
                    failures += _kept(run, question, rows, subject.name)
            elif run is not None:
                rows = to_pandas(run.table(kinds.INTERVENTIONS, [question.key]))
        except InputError as error:
            of = facts if isinstance(error, _NothingToAsk) else failures
            of.append(_line(subject.name, error))
            continue
        models[subject.name] = model
        known = {"run_id": subject.name, "key": question.key, "dataset": source.name}
        seed = pd.Series([model.seed] * len(rows), dtype="Int64")
        rows = rows.assign(**known, model=model.name, placement=model.placement, seed=seed)
        tables.append(rows[list(COLUMNS)])
    progress.advance(len(subjects), len(subjects), "")
    if not tables:
        why = [*failures, *facts][:1]
        raise InputError(
            ": ".join(["no model could be asked", *why]),
            hint="It takes models with fusion whose checkpoints are there.",
        )
    about = {"data": source.name, **question.params}
    about["models"] = {name: asdict(one) for name, one in models.items()}
    table = pd.concat(tables, ignore_index=True)
    return Interventions(table, tuple(facts), tuple(failures), about)


def rows_of(adapter: Adapter, question: Question) -> tuple[pd.DataFrame, list[InputError]]:
    """The rows of :data:`backend.store.kinds.INTERVENTIONS` of one model; states that it lacks."""
    options, source = question.options, question.source
    samples = [pair.sample for pair in question.pairs]
    streams = sorted(adapter.streams, key=lambda spec: spec.name != "vision")
    labels = {
        task.name: encode(task, [p.record.labels.get(task.name) for p in question.pairs]).numpy()
        for task in adapter.tasks
        if source.tasks.get(task.name) == task
    }
    drawn = question.drawn(adapter.seed)
    rows: list[dict[str, object]] = []
    lacking: list[InputError] = []
    for weights in WEIGHTS:
        try:
            model = with_weights(adapter, weights, source)
        except InputError as error:
            lacking.append(InputError(f"{weights}: {error.problem}", hint=error.hint))
            continue
        for partner in PARTNERS:
            read = passes(
                model,
                samples,
                partner,
                poolings=POOLINGS,
                drawn=drawn,
                batch_size=options.batch_size,
            )
            found = list(effects(read, streams, options.pooling, question.groups))
            if weights == "trained":
                found += score_effects(read, streams, adapter.tasks, labels)
            rows += [{"weights": weights, "partner": partner, **asdict(one)} for one in found]
    columns = ["weights", "partner", *Effect.__dataclass_fields__]
    return pd.DataFrame(rows, columns=columns).assign(params=question.told(drawn)), lacking


def add_interventions(run: TableHolder, adapter: Adapter, source: PairSource) -> None:
    """Ask one model with its defaults, and keep the rows in its run, which may be unfinished.

    Nothing for a model without fusion, which has no partner to exchange, and where they are there.
    """
    if not any(spec.fusion_layers for spec in adapter.streams):
        return
    question = Question.of(source, Options()).read_as(adapter.tasks)
    if question.key in run.keys(kinds.INTERVENTIONS):
        return
    check_partners(adapter)
    rows, lacking = rows_of(adapter, question)
    if lacking:
        raise lacking[0]
    run.add(kinds.INTERVENTIONS, rows, question.key)


def subjects_of(paths: Sequence[Path], folders: Sequence[Path] = ()) -> Iterator[Subject]:
    """The models of stores and of checkpoint directories.

    A run's checkpoint is found as Trace finds it: its own, else one of the same digest, of another
    run or below ``folders``. One that cannot be found raises when it is opened.
    """
    from backend.inference.models import Catalogue, Named
    from backend.models.registry import open_model
    from backend.models.weights import card_of
    from backend.store import Store
    from backend.store.left import clear_left

    for path in paths:
        if card_of(path).is_file():
            yield Subject(str(path), partial(open_model, str(path)))
            continue
        store = Store(path)
        if path.is_dir():
            clear_left(store.paths)
        if path.is_dir() and not store.paths.runs.is_dir():
            raise InputError("is neither a store nor a checkpoint", where=str(path))
        catalogue = Catalogue(store, Named(tuple(folders)))
        for run_id in store.run_ids():
            try:
                run = store.run(run_id)
                offer = catalogue.run(run_id)
            except InputError as error:
                yield Subject(run_id, partial(_fail, error))
                continue
            lost = InputError(offer.problem, hint="Give the directory that holds it as `models`.")
            opened = partial(catalogue.open, offer.key)
            yield Subject(run_id, partial(_fail, lost) if offer.problem else opened, run)


class _NothingToAsk(InputError):  # noqa: N818 -- nothing is wrong
    """A model that is none of those that can be asked."""


def _check_partners(adapter: Adapter) -> None:
    try:
        check_partners(adapter)
    except InputError as error:
        raise _NothingToAsk(error.problem, hint=error.hint) from error


def _fail(error: InputError) -> Adapter:
    raise error


@dataclass(frozen=True)
class _Model:
    digest: str
    name: str
    placement: str
    seed: int | None


def _model(adapter: Adapter | None, run: Run | None) -> _Model:
    """Digest, placement and seed of a model that was opened, else of its run."""
    if adapter is not None:
        placement = adapter.placement.name if adapter.placement is not None else adapter.name
        name = model_name(adapter.name, adapter.streams)
        return _Model(adapter.digest, name, placement, adapter.seed)
    if run is None:
        raise ValueError("neither a model nor a run")
    name = model_name(run.manifest.model.name, run.streams)
    return _Model(run.manifest.model.digest, name, run.manifest.label, run.manifest.seed)


def _kept(run: Run, question: Question, rows: pd.DataFrame, name: str) -> list[str]:
    """Add the rows to the run; what is wrong where they cannot be."""
    try:
        run.add(kinds.INTERVENTIONS, rows, question.key)
    except InputError as error:
        return [f"{name}: asked, but not kept: {error.problem}"]
    return []


def _line(name: str, error: InputError) -> str:
    hint = f". {error.hint}" if error.hint else ""
    return f"{name}: {error.problem}{hint}"
