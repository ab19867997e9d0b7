"""Where a store's rows lie: what a directory of Parquet files and a packed file do differently."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import pandas as pd

from backend.store.connection import Connection, identifier, literal, sql_type
from backend.store.index import Entry
from backend.store.kinds import Kind
from backend.store.pair import RunPair
from backend.store.run import Run

OWNER = {"run": "run_id", "pair": "pair"}
"""The column that says whose a row is, by the kind's owner; a pair is ``<run>~<run>``."""


@dataclass(frozen=True)
class BrokenRun:
    """A directory among the runs that cannot be read as one, and why, in one line.

    ``run_id`` is its name as it may be shown. ``closed``: only the permission to read is missing.
    """

    run_id: str
    reason: str
    closed: bool = False


@dataclass(frozen=True)
class Listing:
    """What a store holds: its readable runs in order of id, and those that cannot be read."""

    entries: tuple[Entry, ...]
    broken: tuple[BrokenRun, ...] = ()

    def frame(self) -> pd.DataFrame:
        """A fresh table of the runs; see :meth:`backend.store.reader.Store.runs`."""
        rows = [
            {name: getattr(entry, name) for name in RUN_COLUMNS[:-2]}
            | {"streams": entry.manifest.streams, "scores": copy.copy(entry.score_summary)}
            for entry in self.entries
        ]
        return pd.DataFrame(rows, columns=list(RUN_COLUMNS)).astype({"seed": "Int64"})


RUN_COLUMNS = (
    *("run_id", "model", "family", "label", "placement", "seed", "dataset", "split", "n"),
    *("fingerprint", "poolings", "dtype", "created", "has_activations", "has_checkpoint"),
    *("streams", "scores"),
)


class Part(NamedTuple):
    """One table of a kind: whose it is, and its key ("" where a kind has one table an owner)."""

    owner: str
    key: str


@dataclass(frozen=True)
class Rows:
    """Rows to ask from: what stands behind FROM, and the values that it needs.

    ``problems`` has one line for everything that cannot be read and is therefore not among them.
    """

    sql: str
    params: Mapping[str, Sequence[str] | Sequence[int]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def inlined(self) -> str:
        """The same with its values in the text, as the definition of a view must have them."""
        lists = {
            name: ", ".join(literal(v) if isinstance(v, str) else str(v) for v in values)
            for name, values in self.params.items()
        }
        return re.sub(
            r"\$(\w+)", lambda at: f"[{lists[at[1]]}]" if at[1] in lists else at[0], self.sql
        )


class Source(Protocol):
    """A store as a directory or as one packed file."""

    path: Path
    connection: Connection

    def listing(self) -> Listing:
        """Every run as it is now; the same object for as long as nothing changed."""
        ...

    def run_ids(self) -> tuple[str, ...]:
        """Sorted ids of all finished runs, the broken ones too."""
        ...

    def run(self, run_id: str) -> Run:
        """One run; InputError where there is none of that id, or it cannot be read."""
        ...

    def pair(self, a: Run, b: Run) -> RunPair:
        """What is stored about two runs."""
        ...

    def version(self, run_id: str) -> str:
        """Changes when the run is replaced; empty where there is none."""
        ...

    def owners(self, kind: Kind) -> tuple[str, ...]:
        """Whoever may have tables of a kind: runs, or pairs of runs."""
        ...

    def keys(self, kind: Kind, owner: str) -> tuple[str, ...]:
        """Sorted keys of the tables that are there; "" for that of a kind with one an owner."""
        ...

    def rows(self, kind: Kind, parts: Sequence[Part]) -> Rows:
        """The rows of some tables, owner by owner as named.

        Columns: the owner's (:data:`OWNER`), ``key`` where the kind is keyed, and the kind's own.
        """
        ...

    def samples(self, entries: Iterable[Entry]) -> Rows:
        """The samples of runs: :data:`SAMPLE_COLUMNS`, every label, thumbnail."""
        ...


def kind_columns(kind: Kind) -> dict[str, str]:
    """{column: SQL type} of :meth:`Source.rows` of a kind."""
    columns = {OWNER[kind.owner]: "VARCHAR"} | ({"key": "VARCHAR"} if kind.keyed else {})
    return columns | {item.name: sql_type(item.type) for item in kind.schema}


SAMPLE_COLUMNS = {
    "run_id": "VARCHAR",
    "sample_id": "VARCHAR",
    "split": "VARCHAR",
    "text": "VARCHAR",
    "group": "VARCHAR",
    "image_digest": "VARCHAR",
}
"""{column: SQL type} in front of the labels of :meth:`Source.samples`."""


def no_rows(columns: Mapping[str, str], problems: Iterable[str] = ()) -> Rows:
    """No rows, with the right columns."""
    casts = ", ".join(
        f"CAST(NULL AS {kind}) AS {identifier(name)}" for name, kind in columns.items()
    )
    return Rows(f"(SELECT {casts} WHERE false)", problems=tuple(problems))
