"""Carrying out an import: rows are read, checked and written a part at a time.

One part is read while the one before is written, so memory holds two parts (and the samples' ids),
however many rows there are. An import that is interrupted goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.errors import InputError
from backend.progress import SILENT, Progress
from backend.store.imports.arrays import Array, Rows
from backend.store.imports.ids import shown
from backend.store.imports.options import ImportOptions
from backend.store.imports.places import Place
from backend.store.imports.plan import Plan, plan_import
from backend.store.imports.sources import Sources
from backend.store.kinds import SCORES
from backend.store.samples import samples_table
from backend.store.vectors import part_rows
from backend.types import LayerRef, Pooling

if TYPE_CHECKING:
    from backend.store.manifest import Manifest
    from backend.store.reader import Store
    from backend.store.run import Run
    from backend.store.writer import RunWriter

_BLOCK_BYTES = 8 * 2**20

log = logging.getLogger(__name__)

Vectors = dict[tuple[LayerRef, Pooling], np.ndarray]


def add_run(store: Store, sources: Sources, **options: Any) -> Run:
    """Arrays or files of activations as a new run; see :class:`ImportOptions` and ``plan_import``.

    What was assumed (ids, pooling) is logged as warnings.
    """
    plan = plan_import(sources, ImportOptions(**options))
    for note in plan.notes:
        log.warning("%s", note)
    return store.run(carry_out(store, plan, replace=ImportOptions(**options).replace).run_id)


def carry_out(
    store: Store, plan: Plan, *, replace: bool = False, progress: Progress = SILENT
) -> Manifest:
    """Write a planned import; returns the manifest of its run.

    InputError for values that cannot be kept or files that turn out damaged: nothing is left then.
    """
    with store.writer(plan.manifest, replace=replace) as writer:
        try:
            _write_all(writer, plan, progress)
        except _Unusable as error:
            writer.discard()
            raise error.problem from error
        if plan.scores is not None:
            writer.add(SCORES, plan.scores)
        return writer.commit()


class _Unusable(Exception):  # noqa: N818 -- carries an error, is none of its own
    """The sources cannot be imported, so that nothing of this work is worth keeping."""

    def __init__(self, problem: InputError) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _write_all(writer: RunWriter, plan: Plan, progress: Progress) -> None:
    n, rows = len(plan.samples.ids), _rows_at_once(plan.manifest)
    reader = _Reader(plan, writer.state())
    records = islice(plan.samples.records(), writer.n_written, None)
    writing: Future[None] | None = None
    progress.advance(writer.n_written, n, "samples")
    with ThreadPoolExecutor(1, "write") as pool:
        for start in range(writer.n_written, n, rows):
            stop = min(start + rows, n)
            try:
                own = list(islice(records, stop - start))
                vectors = reader.read(start, stop)
                pictures = [plan.samples.picture(record) for record in own]
            except InputError as error:
                raise _Unusable(error) from error
            table = samples_table(list(zip(own, pictures, strict=True)), writer.manifest.tasks)
            if writing is not None:
                writing.result()
            writing = pool.submit(writer.write_part, table, vectors)
            progress.advance(stop, n, "samples")
        if writing is not None:
            writing.result()
    for name in plan.samples.undecodable[:3]:
        log.warning("no thumbnail: %s", name)
    if len(plan.samples.undecodable) > 3:
        log.warning("and %d more images without one", len(plan.samples.undecodable) - 3)


def _rows_at_once(manifest: Manifest) -> int:
    """Twice a capture's parts: nothing is computed meanwhile, and flushing files is what takes."""
    return 2 * part_rows(manifest)


class _Reader:
    """Reads the vectors of ranges of the run's rows, whatever order their arrays have."""

    def __init__(self, plan: Plan, directory: Path) -> None:
        self._plan = plan
        self._dtype = np.dtype(plan.manifest.dtype)
        # One part is read while the one before is written.
        self._memory: tuple[Vectors, Vectors] = ({}, {})
        self._turn = 0
        self._order = {id(part): plan.orders.get(at) for at, part in enumerate(plan.contents)}
        self._arrays: dict[int, list[Place]] = {}
        for place in plan.places:
            self._arrays.setdefault(id(place.array), []).append(place)
        self._gathered: dict[tuple[int, int | None], Array] = {}
        for at, part in enumerate(plan.contents):
            if part.prepare is not None:
                own = directory / f"long-{at}"
                own.mkdir(exist_ok=True)
                try:
                    part.prepare(own)
                except InputError as error:
                    raise _Unusable(error) from error
        self._directory = directory

    def read(self, start: int, stop: int) -> Vectors:
        """{(layer, pooling): (rows, d)} of the run's type; InputError for NaN or infinite values.

        With the first such value the rest is only looked through, so that the error names all. The
        arrays are overwritten two reads later: memory that is taken anew each time costs more than
        reading does.
        """
        vectors = self._filled(start, stop)
        if not self._plan.allow_nan and any(_bad_rows(v).any() for v in vectors.values()):
            raise self._unusable_values(start)
        return vectors

    def _filled(self, start: int, stop: int) -> Vectors:
        self._turn = (self._turn + 1) % len(self._memory)
        memory = self._memory[self._turn]
        vectors: Vectors = {}
        for place in self._plan.places:
            key = (place.ref, place.pooling)
            if key not in memory or len(memory[key]) < stop - start:
                memory[key] = np.empty((stop - start, place.width), self._dtype)
            vectors[key] = memory[key][: stop - start]
        for places in self._arrays.values():
            if places[0].plane is None or places[0].axis == 0:
                for place in places:
                    self._fill(vectors[place.ref, place.pooling], place, start)
            else:
                self._fill_stacked(vectors, places, start, stop)
        return {key: vectors[key] for key in self._plan.manifest.captures}

    def _fill(self, out: np.ndarray, place: Place, start: int) -> None:
        if self._order[id(place.contents)] is None:
            place.array.read_into(out, start, place.plane)
        else:
            with np.errstate(over="ignore"):
                out[...] = self._taken(place, start, start + len(out), place.plane)

    def _fill_stacked(
        self, vectors: Vectors, places: Sequence[Place], start: int, stop: int
    ) -> None:
        """(n, L, d): the layers of a sample lie side by side, so they are read at once."""
        first = places[0]
        row = int(np.prod(first.array.shape[1:])) * first.array.dtype.itemsize
        at_once = max(1, _BLOCK_BYTES // row)
        for begin in range(start, stop, at_once):
            end = min(begin + at_once, stop)
            if self._order[id(first.contents)] is None:
                block = first.array.read(begin, end)
            else:
                block = self._taken(first, begin, end, None)
            for place in places:
                with np.errstate(over="ignore"):
                    out = vectors[place.ref, place.pooling]
                    out[begin - start : end - start] = block[:, place.plane]

    def _taken(self, place: Place, start: int, stop: int, plane: int | None) -> np.ndarray:
        """Rows of contents in another order than the run's."""
        order = self._order[id(place.contents)]
        if order is None:
            raise ValueError("these rows are in the run's order")
        array = place.array if place.array.seekable else self._gather(place.array, place.n, plane)
        values: np.ndarray = array.take(order[start:stop], plane if array is place.array else None)
        return values.reshape(len(values), *place.array.shape[1 if plane is None else 2 :])

    def _gather(self, array: Array, n: int, plane: int | None) -> Array:
        """An array that can only be read in its own order, copied to where any row can be."""
        key = (id(array), plane)
        if key not in self._gathered:
            width = int(np.prod(array.shape[1 if plane is None else 2 :]))
            rows = Rows(array.name, array.where, (n, width), array.dtype)
            out = rows.write(self._directory / f"gathered-{len(self._gathered)}.rows")
            at_once = max(1, 2**20 // width)
            for start in range(0, n, at_once):
                piece = array.read(start, min(start + at_once, n), plane)
                out[start : start + len(piece)] = piece.reshape(len(piece), width)
            self._gathered[key] = rows
        return self._gathered[key]

    def _unusable_values(self, start: int) -> InputError:
        """Which layers hold NaN or infinite values from row ``start`` on, in how many rows."""
        bad: dict[str, list[str]] = {}
        ids, rows = self._plan.samples.ids, _rows_at_once(self._plan.manifest)
        for first in range(start, len(ids), rows):
            for (ref, pooling), values in self._filled(first, min(first + rows, len(ids))).items():
                own = [ids[first + i] for i in np.flatnonzero(_bad_rows(values))]
                if own:
                    name = f"{ref.stream} layer {ref.label} ({pooling})"
                    bad.setdefault(name, []).extend(own)
        parts = [f"{name} in {len(own):,} rows ({shown(own)})" for name, own in bad.items()]
        more = f" and {len(parts) - 3} more layers" if len(parts) > 3 else ""
        return InputError(
            f"NaN or infinite values as {self._dtype}: {'; '.join(parts[:3])}{more}",
            hint="Mend or leave out these samples, or keep them with `allow_nan`",
        )


def _bad_rows(values: np.ndarray) -> np.ndarray:
    """(rows,) whether a row holds NaN or an infinite value."""
    with np.errstate(all="ignore"):
        # A sum that is finite says it of all its terms; most arrays need no more than that.
        sums = np.add.reduce(values, axis=1, dtype=np.float32)
    bad: np.ndarray = ~np.isfinite(sums)
    bad[bad] = ~np.isfinite(values[bad]).all(axis=1)
    return bad
