"""What is stored about two runs together: measures between the layers of one and of the other.

``<store>/comparisons/<run>~<run>/<key>.<digest>.<digest>.parquet``, the two ids in sorted order,
each digest that of the run's run.json when the file was made. A run that was replaced since has
another digest, so that its old comparisons are *stale*: no reader takes them for its own, verify
lists them, and new ones can be written beside them without editing anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import pyarrow as pa

from backend.errors import InputError
from backend.store import tables
from backend.store.paths import StorePaths, check_id, is_id, parquet_keys
from backend.store.run import Run

_DIGEST_LENGTH = 12
_SWAPPED = {
    f"{name}_{side}": f"{name}_{other}"
    for name in ("stream", "layer", "site")
    for side, other in (("a", "b"), ("b", "a"))
}


@dataclass(frozen=True)
class Stale:
    """A comparison made from a run that was replaced since; ``replaced`` names the run or runs."""

    path: Path
    replaced: tuple[str, ...]


class RunPair:
    """Two runs in the order asked for: ``stream_a`` and ``layer_a`` are of run ``a``.

    Stored once whatever the order. InputError for a run with itself.
    """

    def __init__(self, store: StorePaths, a: Run, b: Run) -> None:
        if a.run_id == b.run_id:
            raise InputError(f"run {a.run_id} cannot be compared with itself", hint="Name another")
        self.a, self.b = a, b
        self._store = store
        self._turned = a.run_id > b.run_id
        self._first, self._second = (b, a) if self._turned else (a, b)

    def __repr__(self) -> str:
        return f"RunPair({self.a.run_id!r}, {self.b.run_id!r})"

    @property
    def directory(self) -> Path:
        """Where the pair's files lie, whether or not there are any."""
        return self._store.comparison(self._first.run_id, self._second.run_id)

    @cached_property
    def _digests(self) -> tuple[str, str]:
        return digest_of(self._first), digest_of(self._second)

    def measure_keys(self) -> tuple[str, ...]:
        """Sorted keys of what was computed from both runs as they are now."""
        return tuple(key for _, key, digests in self._files() if digests == self._digests)

    def stale(self) -> tuple[Stale, ...]:
        """What was computed from a run that was replaced since, in order of file name."""
        out = []
        for path, _, digests in self._files():
            replaced = tuple(
                run.run_id
                for run, now, then in zip(
                    (self._first, self._second), self._digests, digests, strict=True
                )
                if now != then
            )
            if replaced:
                out.append(Stale(path, replaced))
        return tuple(out)

    def measures(self, keys: Sequence[str] | None = None) -> pd.DataFrame:
        """Tidy measures of all current keys or of some (column ``key`` in front).

        ``stream_a``, ``layer_a`` and ``site_a`` are of run ``a``, the others of run ``b``.
        """
        parts = [tables.MEASURES.empty_table().add_column(0, "key", pa.array([], pa.string()))]
        for key in self.measure_keys() if keys is None else keys:
            table = tables.read_checked(self.path(key), tables.MEASURES)
            parts.append(table.add_column(0, "key", pa.array([key] * len(table), pa.string())))
        frame = tables.to_pandas(pa.concat_tables(parts))
        return _turn(frame) if self._turned else frame

    def add_measures(self, key: str, rows: pd.DataFrame) -> None:
        """Add measures under a new key. A key that exists raises InputError.

        The file appears all at once, under a name that says from which runs it was made.
        """
        table = tables.measures_table(_turn(rows) if self._turned else rows)
        path = self.path(key)
        try:
            self._store.comparisons.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot be made ({error.strerror or error})", where=str(self._store.comparisons)
            ) from error
        tables.write_tidy(path, table)

    def path(self, key: str) -> Path:
        """The file of one key, made from the two runs as they are now."""
        name = check_id(".".join((key, *self._digests)), "comparison key")
        return self.directory / f"{name}.parquet"

    def _files(self) -> list[tuple[Path, str, tuple[str, str]]]:
        """(path, key, digests) of every file of the pair that is named as one."""
        found = []
        for stem in parquet_keys(self.directory):
            parts = stem.rsplit(".", 2)
            if len(parts) == 3:
                found.append((self.directory / f"{stem}.parquet", parts[0], (parts[1], parts[2])))
        return found


def digest_of(run: Run) -> str:
    """A short digest of a run's run.json: who made it, from what, and when."""
    try:
        content = run.paths.manifest.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", where=str(run.paths.manifest)
        ) from error
    return hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]


def stored_pairs(store: StorePaths) -> tuple[tuple[str, str], ...]:
    """The run ids of every pair that has a directory, sorted; the runs may be gone."""
    try:
        names = [entry.name for entry in store.comparisons.iterdir() if entry.is_dir()]
    except FileNotFoundError:
        return ()
    found = [(first, second) for first, _, second in (name.partition("~") for name in names)]
    return tuple(sorted(pair for pair in found if all(map(is_id, pair)) and pair[0] < pair[1]))


def _turn(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as seen from the other run."""
    return frame.rename(columns=_SWAPPED)[list(frame.columns)]
