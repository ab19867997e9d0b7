"""What the study needs to know of a run, and which runs may be compared with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backend.models.placement import NAMES
from backend.store.identity import model_name
from backend.store.manifest import Manifest
from backend.types import StreamSpec

SCORE_COLUMNS = (
    "dataset",
    "setting",
    "placement",
    "released",
    "run_id",
    "seed",
    "task",
    "metric",
    "split",
    "judged",
    "value",
)
"""A tidy frame of scores: a row a run, task and metric; ``judged`` marks the task's own metric.

``placement`` names the run; of a ``released`` model it is the model's name, and ``seed`` is NA.
"""


@dataclass(frozen=True)
class StudyRun:
    """One run of the study. Runs are compared within one ``dataset`` and ``setting``.

    ``dataset`` is the dataset's name, with as much more as it takes to tell two apart; ``setting``
    is the model's name where the study holds several models, else "". ``samples`` is the same for
    runs on the same samples. A ``released`` model has no placement: ``placement`` is its own name,
    it stands in tables and takes no part in claims.
    """

    run_id: str
    dataset: str
    setting: str
    placement: str
    seed: int | None
    samples: str
    streams: tuple[StreamSpec, ...]
    released: bool = False

    @property
    def fuses(self) -> bool:
        """Whether any layer fuses."""
        return any(spec.fusion_layers for spec in self.streams)

    def stream(self, name: str) -> StreamSpec | None:
        """The stream of that name, or None."""
        return next((spec for spec in self.streams if spec.name == name), None)

    def of_modality(self, modality: str) -> StreamSpec | None:
        """The first stream of a modality, or None."""
        return next((spec for spec in self.streams if spec.modality == modality), None)


def study_runs(manifests: Iterable[Manifest]) -> tuple[StudyRun, ...]:
    """The runs of these manifests, in their order, with dataset and setting in words."""
    all_of_them = list(manifests)
    datasets = _datasets(all_of_them)
    several = _has_several_models(all_of_them)
    return tuple(
        StudyRun(
            run_id=one.run_id,
            dataset=datasets[_data_key(one)],
            setting=_model(one) if several and one.placement is not None else "",
            placement=one.label or "no placement",
            seed=one.seed,
            samples=f"{one.dataset.fingerprint} {one.dataset.n}",
            streams=one.streams,
            released=one.placement is None,
        )
        for one in all_of_them
    )


def placement_order(name: str) -> tuple[int, str]:
    """Sorts names: none, full, earliest, early, middle, late, asymmetric, others by name."""
    return (NAMES.index(name) if name in NAMES else len(NAMES), name)


@dataclass(frozen=True)
class Block:
    """Runs that may be compared: one dataset, one setting, the same samples."""

    dataset: str
    setting: str
    runs: tuple[StudyRun, ...]
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The dataset and, where there are several, the model."""
        return where(self.dataset, self.setting)


def lacking_plain(block: Block) -> str:
    """What a comparison with no fusion takes, and the seeds whose run without fusion is missing.

    ``two seeds with runs both with and without fusion; the run without fusion (placement none) is
    missing for seeds 0, 1``.
    """
    fused = {run.seed for run in block.runs if run.fuses and run.seed is not None}
    plain = {run.seed for run in block.runs if not run.fuses}
    missing = sorted(seed for seed in fused if seed not in plain)
    words = "two seeds with runs both with and without fusion"
    if missing:
        seeds = f"seed{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing))}"
        words += f"; the run without fusion (placement none) is missing for {seeds}"
    return words


def where(dataset: str, setting: str) -> str:
    """``macros`` or ``macros (bert-12x48 + vit-12x48)``."""
    return f"{dataset} ({setting})" if setting else dataset


def blocks(runs: Sequence[StudyRun]) -> tuple[Block, ...]:
    """Runs of placements by dataset and setting; released models are not among them.

    Those on other samples than most are left out, and named.
    """
    members_of: dict[tuple[str, str], list[StudyRun]] = {}
    for run in runs:
        if run.released:
            continue
        members_of.setdefault((run.dataset, run.setting), []).append(run)
    out = []
    for (dataset, setting), members in members_of.items():
        samples = Counter(run.samples for run in members).most_common(1)[0][0]
        other = [run.run_id for run in members if run.samples != samples]
        alike = tuple(run for run in members if run.samples == samples)
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        notes = (f"{other[0]}{more}: other samples than most runs, left out",) if other else ()
        out.append(Block(dataset, setting, alike, notes))
    return tuple(out)


def _data_key(one: Manifest) -> tuple[str, str, str]:
    return (one.dataset.name, one.dataset.split, one.dataset.layout)


def _datasets(manifests: Sequence[Manifest]) -> dict[tuple[str, str, str], str]:
    """A name for each dataset that no other one has."""
    keys = list(dict.fromkeys(map(_data_key, manifests)))
    out = {}
    for key in keys:
        parts = 1
        while parts < 3 and any(k != key and k[:parts] == key[:parts] for k in keys):
            parts += 1
        out[key] = " ".join(part for part in key[:parts] if part) or "no dataset"
    return out


def _model(one: Manifest) -> str:
    return model_name(one.model.name, one.streams)


def _has_several_models(manifests: Sequence[Manifest]) -> bool:
    """Whether one placement on one dataset was run with more than one model."""
    models: dict[tuple[object, ...], set[str]] = {}
    for one in manifests:
        if one.placement is not None:
            models.setdefault((_data_key(one), one.placement.name), set()).add(_model(one))
    return any(len(names) > 1 for names in models.values())
