"""What is stored about two runs together: measures between the layers of one and of the other.

``<store>/comparisons/<run>~<run>/<key>.<digest>.<digest>.parquet``, the two ids in sorted order,
each digest that of the run's run.json when the file was made. A run that was replaced since has
another digest, so that its old comparisons are *stale*: no reader takes them for its own, verify
lists them, and new ones can be written beside them without editing anything.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from backend.errors import InputError
from backend.store.checks import Scope, pair_scope
from backend.store.contents import TableContents
from backend.store.holder import TableHolder
from backend.store.kinds import COMPARISONS, PLACE_COLUMNS, Kind, kinds_of
from backend.store.paths import StorePaths, check_id, inside, is_id
from backend.store.run import Run
from backend.store.tables import to_pandas

_DIGEST_LENGTH = 12
_SWAPPED = {
    f"{name}_{side}": f"{name}_{other}"
    for name in PLACE_COLUMNS
    for side, other in (("a", "b"), ("b", "a"))
}


@dataclass(frozen=True)
class Stale:
    """A table made from a run that was replaced since; ``replaced`` names the run or runs."""

    kind: Kind
    stored_key: str
    replaced: tuple[str, ...]


class RunPair(TableHolder):
    """Two runs in the order asked for: ``stream_a`` and ``layer_a`` are of run ``a``.

    Stored once whatever the order: ``contents`` are those of the two ids in sorted order.
    InputError for a run with itself.
    """

    def __init__(self, contents: TableContents, a: Run, b: Run) -> None:
        if a.run_id == b.run_id:
            raise InputError(f"run {a.run_id} cannot be compared with itself", hint="Name another")
        self.a, self.b = a, b
        self._contents = contents
        self._turned = a.run_id > b.run_id
        self._ordered = (b, a) if self._turned else (a, b)

    def __repr__(self) -> str:
        return f"RunPair({self.a.run_id!r}, {self.b.run_id!r})"

    @property
    def contents(self) -> TableContents:
        """Where the pair's tables lie, each under a key and the digests of the two runs."""
        return self._contents

    @property
    def scope(self) -> Scope:
        """What the rows of the pair may speak of."""
        first, second = self._ordered
        return pair_scope(first.manifest, second.manifest)

    @cached_property
    def _digests(self) -> tuple[str, str]:
        first, second = self._ordered
        return digest_of(first), digest_of(second)

    def keys(self, kind: Kind = COMPARISONS) -> tuple[str, ...]:
        """Sorted keys of what was computed from both runs as they are now."""
        return tuple(key for _, key, digests in self._stored(kind) if digests == self._digests)

    def stale(self) -> tuple[Stale, ...]:
        """What was computed from a run that was replaced since, by kind and key."""
        out = []
        for kind in kinds_of("pair"):
            for stored, _, digests in self._stored(kind):
                replaced = tuple(
                    run.run_id
                    for run, now, then in zip(self._ordered, self._digests, digests, strict=True)
                    if now != then
                )
                if replaced:
                    out.append(Stale(kind, stored, replaced))
        return tuple(out)

    def stored_key(self, key: str) -> str:
        """Under what ``key`` is stored, made from the two runs as they are now."""
        return check_id(".".join((key, *self._digests)), "comparison key")

    def add(self, kind: Kind, rows: pd.DataFrame | pa.Table, key: str = "") -> None:
        """Add a table under a new key; see :meth:`TableHolder.add`."""
        frame = rows.to_pandas() if isinstance(rows, pa.Table) else rows
        super().add(kind, _turn(frame) if self._turned else frame, self.stored_key(key))

    def table(
        self,
        kind: Kind = COMPARISONS,
        keys: Sequence[str] | None = None,
        where: pc.Expression | None = None,
    ) -> pa.Table:
        """Rows of all current keys of a kind, or of some (column ``key`` in front).

        ``stream_a``, ``layer_a`` and ``site_a`` are of run ``a``, the others of run ``b``;
        ``where`` selects rows as they are then.
        """
        parts = [kind.empty()]
        for key in self.keys(kind) if keys is None else keys:
            table = super().table(kind, [self.stored_key(key)])
            if self._turned:
                names = [_SWAPPED.get(name, name) for name in table.column_names]
                table = table.rename_columns(names).select(table.column_names)
            keyed = pa.array([key] * len(table), pa.string())
            table = table.set_column(0, "key", keyed)
            parts.append(table if where is None else table.filter(where))
        return pa.concat_tables(parts)

    def measures(self, keys: Sequence[str] | None = None) -> pd.DataFrame:
        """Tidy measures between the layers of the two runs: all current keys, or some."""
        return to_pandas(self.table(COMPARISONS, keys))

    def _stored(self, kind: Kind) -> list[tuple[str, str, tuple[str, str]]]:
        """(stored key, key, digests) of everything that is named as a table of the pair."""
        split = [(stored, stored.rsplit(".", 2)) for stored in self._contents.keys(kind)]
        return [(s, parts[0], (parts[1], parts[2])) for s, parts in split if len(parts) == 3]


def digest_of(run: Run) -> str:
    """A short digest of a run's run.json: who made it, from what, and when."""
    return hashlib.sha256(run.contents.manifest()).hexdigest()[:_DIGEST_LENGTH]


def stored_pairs(store: StorePaths, kind: Kind = COMPARISONS) -> tuple[tuple[str, str], ...]:
    """The run ids of every pair that has a directory, sorted; the runs may be gone."""
    try:
        folder = inside(store.root, store.root / kind.name)
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    except FileNotFoundError:
        return ()
    ids = [(first, second) for first, _, second in (name.partition("~") for name in names)]
    return tuple(sorted(pair for pair in ids if all(map(is_id, pair)) and pair[0] < pair[1]))


def _turn(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as seen from the other run."""
    return frame.rename(columns=_SWAPPED)[list(frame.columns)]
