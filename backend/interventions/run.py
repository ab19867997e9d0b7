"""The causal test of a fusion: every model with each partner and each state of its weights."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backend.data.base import Pair, PairSource, fingerprint_of
from backend.errors import InputError
from backend.interventions.effects import Effect, effects, score_effects
from backend.interventions.partners import PARTNERS, check_partners, derangement, passes
from backend.interventions.weights import WEIGHTS, Weights, with_weights
from backend.models.adapter import Adapter
from backend.models.devices import choose_device
from backend.progress import SILENT, Progress
from backend.train.examples import encode
from backend.types import POOLINGS, Pooling

COLUMNS = (
    "run",
    "dataset",
    "placement",
    "seed",
    "weights",
    "partner",
    *Effect.__dataclass_fields__,
)
"""A row a run, weights, partner, stream, layer, transition and measure."""


@dataclass(frozen=True)
class Subject:
    """A model to be asked: what to call it, how to open it, and the data that it must be of.

    ``dataset`` is empty where any will do.
    """

    name: str
    open: Callable[[], Adapter]
    dataset: str = ""


@dataclass(frozen=True, eq=False)
class Interventions:
    """``table`` has the columns :data:`COLUMNS`; ``problems`` say what was left out, and why.

    ``about`` says what it was made from: data, samples, seed of the shuffling, the sample whose
    partner stands for all, models with their digests.
    """

    table: pd.DataFrame
    problems: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What is run. ``seeds``: only runs of these; ``groups``: which samples belong together."""

    split: str = "test"
    samples: int = 256
    pooling: Pooling = "cls"
    shuffle_seed: int = 0
    seeds: tuple[int, ...] = ()
    weights: tuple[Weights, ...] = WEIGHTS
    batch_size: int = 32
    device: str = "auto"
    groups: tuple[Hashable, ...] | None = None


def intervene(
    subjects: Sequence[Subject],
    source: PairSource,
    options: Options | None = None,
    progress: Progress = SILENT,
) -> Interventions:
    """Every subject under (weights) x (partners) on the same samples of ``source``.

    What one model cannot be asked is a problem in one line, and the others go on. InputError where
    the data gives too few samples, and where no model at all could be asked.
    """
    options = options or Options()
    pairs = list(source.pairs(options.split, options.samples))
    if len(pairs) < 4:  # debiased CKA needs four
        raise InputError(
            f"{len(pairs)} usable samples are too few; it takes 4 or more",
            where=f"data {source.name}, split {options.split}",
        )
    partners = derangement(len(pairs), options.shuffle_seed, options.groups)
    device = choose_device(options.device)
    rows: list[dict[str, object]] = []
    problems: list[str] = []
    models: dict[str, dict[str, object]] = {}
    for at, subject in enumerate(subjects):
        progress.advance(at, len(subjects), subject.name)
        try:
            if subject.dataset and subject.dataset != source.name:
                raise InputError(f"is a run on {subject.dataset}, not on {source.name}")
            adapter = subject.open()
            if options.seeds and adapter.seed not in options.seeds:
                continue
            same = [name for name, one in models.items() if one["digest"] == adapter.digest]
            if same and adapter.digest:
                raise InputError(f"is the same model as {same[0]}")
            check_partners(adapter)
            adapter.to(device)
            made, lacking = _of_model(adapter, source, pairs, partners, options)
        except InputError as error:
            problems.append(_line(subject.name, error))
            continue
        problems += [_line(subject.name, error) for error in lacking]
        placement = adapter.placement.name if adapter.placement is not None else adapter.name
        models[subject.name] = {
            "digest": adapter.digest,
            "placement": placement,
            "seed": adapter.seed,
        }
        common = {
            "run": subject.name,
            "dataset": source.name,
            "placement": placement,
            "seed": adapter.seed,
        }
        rows += [common | one for one in made]
    progress.advance(len(subjects), len(subjects), "")
    if not rows:
        raise InputError(
            "no model could be asked" + (f": {problems[0]}" if problems else ""),
            hint="It takes models with fusion whose checkpoints are there.",
        )
    records = [pair.record for pair in pairs]
    about = {
        "data": source.name,
        "layout": source.layout,
        "split": source.canonical(options.split),
        "fingerprint": fingerprint_of(records, source.tasks),
        "samples": len(pairs),
        "pooling": options.pooling,
        "shuffle_seed": options.shuffle_seed,
        "constant_sample": records[0].sample_id,
        "models": models,
    }
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"seed": "Int64"})
    return Interventions(table, tuple(problems), about)


def subjects_of(paths: Sequence[Path], folders: Sequence[Path] = ()) -> Iterator[Subject]:
    """The models of stores and of checkpoint directories.

    A run's checkpoint is found as Trace finds it: its own, else one of the same digest, of another
    run or below ``folders``. One that cannot be found raises when it is opened.
    """
    from backend.inference.models import Catalogue, Named
    from backend.models.registry import open_model
    from backend.models.weights import CONFIG
    from backend.store import Store

    for path in paths:
        if (path / CONFIG).is_file():
            yield Subject(str(path), partial(open_model, str(path)))
            continue
        store = Store(path)
        if path.is_dir() and not store.paths.runs.is_dir():
            raise InputError("is neither a store nor a checkpoint", where=str(path))
        catalogue = Catalogue(store, Named(tuple(folders)))
        for run_id in store.run_ids():
            offer = catalogue.run(run_id)
            dataset = store.run(run_id).manifest.dataset.name
            opened = partial(catalogue.open, offer.key)
            yield Subject(
                run_id, partial(_lost, offer.problem) if offer.problem else opened, dataset
            )


def _lost(problem: str) -> Adapter:
    raise InputError(problem, hint="Give the directory that holds it as `models`.")


def _of_model(
    adapter: Adapter,
    source: PairSource,
    pairs: Sequence[Pair],
    partners: np.ndarray,
    options: Options,
) -> tuple[list[dict[str, object]], list[InputError]]:
    samples = [pair.sample for pair in pairs]
    streams = sorted(adapter.streams, key=lambda spec: spec.name != "vision")
    labels = {
        task.name: encode(task, [p.record.labels.get(task.name) for p in pairs]).numpy()
        for task in adapter.tasks
        if source.tasks.get(task.name) == task
    }
    rows: list[dict[str, object]] = []
    lacking: list[InputError] = []
    for weights in options.weights:
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
                partners=partners,
                batch_size=options.batch_size,
            )
            found = list(effects(read, streams, options.pooling))
            if weights == "trained":
                found += score_effects(read, streams, adapter.tasks, labels)
            rows += [{"weights": weights, "partner": partner, **asdict(one)} for one in found]
    return rows, lacking


def _line(name: str, error: InputError) -> str:
    hint = f". {error.hint}" if error.hint else ""
    return f"{name}: {error.problem}{hint}"


__all__ = ["COLUMNS", "Interventions", "Options", "Subject", "intervene", "subjects_of"]
