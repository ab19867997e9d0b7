"""Every row that runs hold of one kind of table, for kinds that a page shows as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from backend.errors import InputError
from backend.store import query, tables
from backend.store.kinds import KINDS, Kind
from backend.store.source import Part
from backend.views import questions
from backend.views.questions import Owned, Question, Table
from backend.views.store_access import StoreView, opened


@dataclass(frozen=True)
class Kept(Question):
    """The rows of one kind of runs' tables, with ``run_id`` and, of a keyed kind, ``key``."""

    store: str
    kind: str
    tables: tuple[Owned, ...]

    def answer(self) -> Table:
        """See :class:`Question`."""
        parts = [Part(table.owner, key) for table in self.tables for key in table.keys]
        try:
            answer = query.every_row(opened(self.store).source, _KINDS[self.kind], parts)
        except InputError as error:
            return Table(pd.DataFrame(), (str(error),))
        return Table(tables.to_pandas(answer.table), answer.problems)


_KINDS: dict[str, Kind] = {kind.name: kind for kind in KINDS}


def kept(store: StoreView, run_ids: Sequence[str], kind: Kind) -> Kept:
    """What runs hold of a kind."""
    source = opened(store.path).source
    held = (
        Owned(run_id, source.version(run_id), questions.keys_of(store, kind, run_id))
        for run_id in dict.fromkeys(run_ids)
    )
    return Kept(store.path, kind.name, tuple(one for one in held if one.keys))
