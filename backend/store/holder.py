"""What holds tables of the kinds: a run, a run that is being written, a pair of runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from backend.errors import InputError
from backend.store.checks import Scope, row_faults
from backend.store.contents import TableContents
from backend.store.kinds import Kind
from backend.store.tables import checked


class TableHolder(ABC):
    """Tables by kind and key. A kind that is not keyed has the one key ``""``."""

    @property
    @abstractmethod
    def contents(self) -> TableContents:
        """Where the tables lie: files, or a packed store."""

    @property
    @abstractmethod
    def scope(self) -> Scope:
        """What rows may speak of."""

    def keys(self, kind: Kind) -> tuple[str, ...]:
        """Sorted keys of the tables that are there."""
        return self.contents.keys(kind)

    def add(self, kind: Kind, rows: pd.DataFrame | pa.Table, key: str = "") -> None:
        """Add a table under a new key; it appears all at once.

        ValueError for rows that ``kind`` does not allow, InputError for a key that exists.
        """
        self.contents.add(kind, key, checked(kind, rows))

    def rows(self, kind: Kind, key: str) -> pa.Table:
        """The rows under a key as they are stored, each of them fit to be used.

        InputError names the file and the column that is not.
        """
        table = self.contents.table(kind, key)
        for fault in row_faults(kind, table, self.scope):
            raise InputError(fault, where=self.contents.place(kind, key))
        return table

    def table(
        self,
        kind: Kind,
        keys: Sequence[str] | None = None,
        where: pc.Expression | None = None,
    ) -> pa.Table:
        """Rows of all tables of a kind, or of some keys; ``key`` is in front of a keyed kind's.

        ``where`` selects rows. Without any table there are no rows. InputError names a file that
        is missing or corrupt, and one with rows that cannot be.
        """
        parts = [kind.empty()]
        for key in self.keys(kind) if keys is None else keys:
            table = self.rows(kind, key)
            if where is not None:
                table = table.filter(where)
            if kind.keyed:
                table = table.add_column(0, "key", pa.array([key] * len(table), pa.string()))
            parts.append(table)
        return pa.concat_tables(parts)
