"""What runs hold of sparse autoencoders: the question, the curves, the features, the claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from backend.errors import InputError
from backend.store import query, tables
from backend.store.kinds import SAE, SAE_FEATURES, Kind
from backend.store.source import Part
from backend.views import questions
from backend.views.groups import RunInfo
from backend.views.questions import Owned, Question, Table
from backend.views.store_access import StoreView, opened


@dataclass(frozen=True)
class Readings(Question):
    """The rows of one kind of runs' tables, with ``run_id`` and ``key``."""

    store: str
    kind: str
    tables: tuple[Owned, ...]

    def answer(self) -> Table:
        """See :class:`Question`."""
        kind = _KINDS[self.kind]
        parts = [Part(table.owner, key) for table in self.tables for key in table.keys]
        try:
            answer = query.every_row(opened(self.store).source, kind, parts)
        except InputError as error:
            return Table(pd.DataFrame(), (str(error),))
        return Table(tables.to_pandas(answer.table), answer.problems)


_KINDS: dict[str, Kind] = {kind.name: kind for kind in (SAE, SAE_FEATURES)}


def readings(store: StoreView, runs: Sequence[RunInfo], kind: Kind = SAE) -> Readings:
    """What runs hold of one of the two kinds."""
    source = opened(store.path).source
    held = (
        Owned(run.run_id, source.version(run.run_id), questions.keys_of(store, kind, run.run_id))
        for run in runs
    )
    return Readings(store.path, kind.name, tuple(one for one in held if one.keys))


def with_datasets(rows: pd.DataFrame, runs: Sequence[RunInfo]) -> pd.DataFrame:
    """The rows with the name of each run's dataset."""
    names = {run.run_id: run.manifest.dataset.name for run in runs}
    return rows.assign(dataset=rows["run_id"].map(names))
