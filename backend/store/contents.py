"""What a run, or a pair of runs, must be read from: files, or a packed store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from backend.store.kinds import Kind
from backend.types import LayerRef, Pooling, StreamSpec


class TableContents(Protocol):
    """The tables of one owner: a run, or a pair of runs."""

    @property
    def where(self) -> str:
        """What an error names: the owner's directory, or the packed file."""
        ...

    def keys(self, kind: Kind) -> tuple[str, ...]:
        """Sorted keys of what is there; a table without a key that is there has the key ""."""
        ...

    def place(self, kind: Kind, key: str) -> str:
        """What an error names for the table of a key: its file, or its place in a packed one."""
        ...

    def table(self, kind: Kind, key: str) -> pa.Table:
        """All rows under a key, with exactly the kind's columns; InputError says what is wrong.

        What the rows say is not looked at; see :meth:`backend.store.holder.TableHolder.rows`.
        """
        ...

    def add(self, kind: Kind, key: str, table: pa.Table) -> None:
        """Write a checked table under a new key, all at once.

        InputError where the key exists, or where nothing can be added.
        """
        ...


class RunContents(TableContents, Protocol):
    """Everything of one run."""

    def manifest(self) -> bytes:
        """run.json as it was written."""
        ...

    def samples(
        self, schema: pa.Schema, columns: Sequence[str], rows: np.ndarray | None
    ) -> pa.Table:
        """Columns of the samples, whose schema is ``schema``: all, or ``rows`` in their order."""
        ...

    def captured(self) -> frozenset[tuple[LayerRef, Pooling]]:
        """Every site and pooling that has vectors."""
        ...

    def vectors(
        self, spec: StreamSpec, ref: LayerRef, pooling: Pooling, rows: np.ndarray | None
    ) -> np.ndarray:
        """(rows, d) float32, the caller's own copy: all in sample order, or ``rows`` in theirs."""
        ...

    @property
    def checkpoint(self) -> Path | None:
        """The save_pretrained directory, if the run keeps one."""
        ...
