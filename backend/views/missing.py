"""What a group of runs lacks, and the exact command that would make it."""

from __future__ import annotations

from dataclasses import dataclass

from backend.store.commands import (
    activations_command,
    measure_command,
    project_command,
    train_command,
)
from backend.views.groups import RunGroup, RunInfo
from backend.views.store_access import StoreView
from backend.words import counted, listed


@dataclass(frozen=True)
class Missing:
    """What is not there, for which runs, what it is good for, and the command that makes it."""

    what: str
    runs: tuple[str, ...]
    use: str
    command: str

    @property
    def sentence(self) -> str:
        """One line for people."""
        return f"{self.what} of {counted(len(self.runs), 'run')}: {self.use}"


def missing_of(group: RunGroup, store: StoreView) -> tuple[Missing, ...]:
    """Everything that the group's runs lack, in the order in which it would be made.

    A packed store holds no checkpoints, and vectors only where it was asked to: there that is none
    that the runs lack.
    """
    out = []
    # A released model was not trained here: it lacks neither scores nor a checkpoint.
    trained = [run for run in group.runs if run.manifest.placement is not None]
    for what, use, lacks, command in (
        ("scores", "the table of scores needs them", _no_scores, _train),
        ("checkpoint", "needed to capture again", _no_checkpoint, _train),
        ("activations", "needed to compute further measures", _no_activations, _capture),
        ("measures", "Transitions and Dimensionality need them", _no_measures, _measure),
        ("projections", "Projection needs them", _no_projections, _project),
    ):
        if store.is_packed and lacks in (_no_checkpoint, _no_activations):
            continue
        able = trained if command is _train else group.runs
        runs = tuple(run for run in able if lacks(run))
        if runs:
            lines = dict.fromkeys(command(run, runs, store.origin) for run in runs)
            out.append(Missing(what, tuple(run.run_id for run in runs), use, "\n".join(lines)))
    return tuple(out)


def present_in_words(group: RunGroup) -> str:
    """``measures, projections of 3 of 3 runs, ...`` for a group that lacks nothing or something."""
    total = len(group.runs)
    parts = []
    for what, lacks in (
        ("measures", _no_measures),
        ("projections", _no_projections),
        ("activations", _no_activations),
        ("checkpoint", _no_checkpoint),
    ):
        if what == "checkpoint" and not group.placed:
            continue
        have = sum(not lacks(run) for run in group.runs)
        parts.append(what if have == total else f"{what} {have} of {total}")
    return listed(parts)


def _no_scores(run: RunInfo) -> bool:
    return not run.scores


def _no_checkpoint(run: RunInfo) -> bool:
    return not run.has_checkpoint


def _no_activations(run: RunInfo) -> bool:
    return not run.has_activations


def _no_measures(run: RunInfo) -> bool:
    return not run.has_measures


def _no_projections(run: RunInfo) -> bool:
    return not run.has_projections


def _train(run: RunInfo, lacking: tuple[RunInfo, ...], store: str) -> str:
    return train_command(run.manifest)


def _capture(run: RunInfo, lacking: tuple[RunInfo, ...], store: str) -> str:
    return activations_command(run.manifest, store)


def _measure(run: RunInfo, lacking: tuple[RunInfo, ...], store: str) -> str:
    return measure_command(store, [other.run_id for other in lacking])


def _project(run: RunInfo, lacking: tuple[RunInfo, ...], store: str) -> str:
    return project_command(store, [other.run_id for other in lacking])
