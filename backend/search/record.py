"""The search's record on disk: an Optuna study in a journal, one writer at a time.

The journal is a text file to which whole lines are added, so that a kill loses nothing that was
recorded. A trial is recorded when it is suggested, before it is trained: whoever starts the search
again finds it as running and takes it up. Optuna's own tools can open the file at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from backend.errors import InputError
from backend.models.placement import Placement
from backend.search.space import Space
from backend.search.trial import Outcome, State, Trial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

JOURNAL = "journal.log"

_STUDY = "placements"


class Record:
    """The trials of one search, in order of their numbers."""

    def __init__(self, folder: Path) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder = folder
        path = folder / JOURNAL
        _mend(path)
        self._storage = JournalStorage(JournalFileBackend(str(path)))
        self._study = optuna.create_study(
            storage=self._storage, study_name=_STUDY, direction="maximize", load_if_exists=True
        )

    def describe(self, settings: Mapping[str, Any]) -> None:
        """Note what the search is, for whoever opens the study."""
        if self._study.user_attrs != settings:
            with _writing(self._folder):
                for key, value in settings.items():
                    self._study.set_user_attr(key, value)

    def frozen(self, before_batch: int | None = None) -> list[FrozenTrial]:
        """The trials as Optuna's; those of a batch and later ones as if they had only begun."""
        from optuna.trial import TrialState as Optuna
        from optuna.trial import create_trial

        trials = self._study.get_trials(deepcopy=False)
        if before_batch is None:
            return trials
        return [
            one
            if one.user_attrs["batch"] < before_batch
            else create_trial(
                state=Optuna.RUNNING, params=one.params, distributions=one.distributions
            )
            for one in trials
        ]

    def trials(self) -> list[Trial]:
        """All of them."""
        return [_trial(one) for one in self.frozen()]

    def start(
        self, space: Space, params: Mapping[str, Any], placement: Placement, batch: int
    ) -> Trial:
        """A new trial that is running from now on."""
        from optuna.trial import TrialState as Optuna
        from optuna.trial import create_trial

        new = create_trial(
            state=Optuna.RUNNING,
            params=dict(params),
            distributions=space.distributions(),
            user_attrs={
                "batch": batch,
                "placement": placement.name,
                "text": list(placement.text),
                "vision": list(placement.vision),
            },
        )
        with _writing(self._folder):
            self._study.add_trial(new)
        return self.trials()[-1]

    def finish(self, trial: Trial, outcome: Outcome, copy_of: int | None = None) -> Trial:
        """Record what became of a running trial; its state last, so that a kill leaves it running.

        ``copy_of`` is the number of the trial of the same placement that the outcome is of.
        """
        from optuna.trial import TrialState as Optuna

        states = {"done": Optuna.COMPLETE, "pruned": Optuna.PRUNED, "failed": Optuna.FAIL}
        study_id = self._storage.get_study_id_from_name(_STUDY)
        identity = self._storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
        record = {
            "dev": list(outcome.dev),
            "test": list(outcome.test),
            "reason": outcome.reason,
            "seconds": 0.0 if copy_of is not None else round(outcome.seconds, 1),
            "runs": list(outcome.run_ids),
            "copy_of": copy_of,
        }
        with _writing(self._folder):
            for epoch, value in enumerate(outcome.epochs, start=1):
                self._storage.set_trial_intermediate_value(identity, epoch, value)
            for key, value in outcome.rungs.items():
                self._storage.set_trial_system_attr(identity, key, value)
            self._storage.set_trial_user_attr(identity, "outcome", record)
            self._study.tell(trial.number, outcome.value, states[outcome.state])
        return self.trials()[trial.number]


@contextmanager
def open_record(folder: Path) -> Iterator[Record]:
    """The record in a folder, made if it is not there. InputError while another search has it."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            with _writing(folder):
                # Left by a search that was killed: only one with the lock above writes here.
                (folder / f"{JOURNAL}.lock").unlink(missing_ok=True)
            yield Record(folder)
    except Timeout as error:
        raise InputError("another search is running there", where=str(folder)) from error


def _trial(one: FrozenTrial) -> Trial:
    from optuna.trial import TrialState as Optuna

    names: dict[Optuna, State] = {
        Optuna.RUNNING: "running",
        Optuna.COMPLETE: "done",
        Optuna.PRUNED: "pruned",
        Optuna.FAIL: "failed",
    }
    asked = one.user_attrs
    placement = Placement(asked["placement"], tuple(asked["text"]), tuple(asked["vision"]))
    state = names[one.state]
    trial = Trial(one.number, asked["batch"], placement, one.params, state)
    if state == "running":
        return trial
    recorded = asked["outcome"]
    outcome = Outcome(
        state=state,
        dev=tuple(recorded["dev"]),
        test=tuple(recorded["test"]),
        epochs=tuple(one.intermediate_values[k] for k in sorted(one.intermediate_values)),
        rungs={k: v for k, v in one.system_attrs.items() if k.startswith("completed_rung")},
        reason=recorded["reason"],
        seconds=recorded["seconds"],
        run_ids=tuple(recorded["runs"]),
    )
    return replace(trial, outcome=outcome, copy_of=recorded["copy_of"])


def _mend(path: Path) -> None:
    """Cut off a last line that was not written to its end: what follows it could not be read."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with _writing(path), path.open("r+b") as file:
            file.truncate(whole)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot be written ({error.strerror or error})", where=str(path)
        ) from error
