"""Reading one run: its samples, vectors, measures, projections and scores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from backend.data.groups import Grouping
from backend.errors import InputError
from backend.store.absent import missing_vectors
from backend.store.checks import Scope, run_scope
from backend.store.contents import RunContents
from backend.store.grouping import grouping_in
from backend.store.holder import TableHolder
from backend.store.kinds import (
    DRIVERS,
    MEASURES,
    PREDICTIONS,
    PROJECTIONS,
    SCORES,
    TRAINING_MEASURES,
    Kind,
    Side,
)
from backend.store.labels import Labels, labels_of
from backend.store.manifest import Manifest
from backend.store.paths import check_pooling
from backend.store.scores import Score, own_scores, summary
from backend.store.tables import samples_schema, to_pandas
from backend.types import LayerRef, Pooling, StreamSpec

if TYPE_CHECKING:
    from backend.store.export import Format


class Run(TableHolder):
    """One finished run of a store. Nothing is read before it is asked for.

    Every method raises InputError, naming the file, when a file is missing or corrupt.
    """

    def __init__(self, contents: RunContents, manifest: Manifest | None = None) -> None:
        self._contents = contents
        self.manifest = manifest or Manifest.from_json(
            contents.manifest(), where=f"{contents.where}/run.json"
        )

    @property
    def contents(self) -> RunContents:
        """Where the run's rows lie: files, or a packed store."""
        return self._contents

    @property
    def scope(self) -> Scope:
        """What the rows of the run may speak of."""
        return run_scope(self.manifest, lambda: self.ids)

    def add(self, kind: Kind, rows: pd.DataFrame | pa.Table, key: str = "") -> None:
        """As :meth:`TableHolder.add`; InputError, too, where the run was replaced meanwhile.

        What was computed from the vectors of before is nothing of the new one's.
        """
        where = f"{self._contents.where}/run.json"
        if Manifest.from_json(self._contents.manifest(), where=where) != self.manifest:
            raise InputError(
                "was replaced while this was computed",
                where=f"run {self.run_id}",
                hint="Give the command again.",
            )
        super().add(kind, rows, key)

    def __repr__(self) -> str:
        return f"Run({self.run_id!r}, n={self.n})"

    @property
    def run_id(self) -> str:
        """The run's id: the name of its directory."""
        return self.manifest.run_id

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.manifest.dataset.n

    @property
    def streams(self) -> tuple[StreamSpec, ...]:
        """The model's streams in order."""
        return self.manifest.streams

    @property
    def checkpoint(self) -> Path | None:
        """The save_pretrained directory, if the run keeps one."""
        return self.contents.checkpoint

    # Samples

    def samples(
        self, columns: Sequence[str] | None = None, ids: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Samples in the run's order, or those of ``ids`` in the order of ``ids``.

        ``columns`` None means all but the thumbnails, which are only read when named.
        """
        schema = samples_schema(self.manifest)
        names = schema.names
        wanted = [name for name in names if name != "thumbnail"] if columns is None else columns
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise InputError(
                f"run {self.run_id} has no sample column {unknown[0]!r}",
                hint=f"It has: {', '.join(names)}",
            )
        rows = None if ids is None else self.positions(ids)
        return to_pandas(self.contents.samples(schema, wanted, rows))

    def sample(self, sample_id: str) -> pd.Series:
        """Every column of one sample, the thumbnail included."""
        names = samples_schema(self.manifest).names
        return self.samples(columns=names, ids=[sample_id]).iloc[0]

    def sample_ids(self) -> np.ndarray:
        """(n,) strings (object array) in the run's order."""
        ids: np.ndarray = self.ids.to_numpy(zero_copy_only=False)
        return ids

    @cached_property
    def ids(self) -> pa.Array:
        """Sample ids in the run's order as an Arrow array, read once."""
        schema = samples_schema(self.manifest)
        return self.contents.samples(schema, ["sample_id"], None).column(0).combine_chunks()

    def positions(self, ids: Sequence[str]) -> np.ndarray:
        """(len(ids),) row numbers of samples; InputError names one that the run does not have."""
        places = pc.index_in(pa.array(list(ids), pa.string()), value_set=self.ids)
        if places.null_count:
            missing = [str(i) for i, at in zip(ids, places.to_pylist(), strict=True) if at is None]
            raise InputError(
                f"run {self.run_id} has no sample {missing[0]!r}"
                + (f" (and {len(missing) - 1} others)" if len(missing) > 1 else "")
            )
        positions: np.ndarray = places.to_numpy(zero_copy_only=False).astype(np.int64)
        return positions

    def labels(self) -> Labels:
        """Labels of the samples by task, in the run's order; without tasks that have none."""
        tasks = self.manifest.tasks
        if not tasks:
            return {}
        schema = samples_schema(self.manifest)
        table = self.contents.samples(schema, [f"label_{task.name}" for task in tasks], None)
        columns = {task.name: [table[f"label_{task.name}"]] for task in tasks}
        return labels_of(tasks, columns, f"samples of run {self.run_id}")

    def grouping(self) -> Grouping:
        """Which samples belong together; see :func:`backend.data.groups.grouping`."""
        return self._grouping

    @cached_property
    def _grouping(self) -> Grouping:
        return grouping_in(self.contents, samples_schema(self.manifest), self.n)

    def groups(self) -> np.ndarray | None:
        """(n,) the name of each sample's group in the run's order; None where all stand alone.

        Given by the data set, else found: samples with the same image or text are one.
        """
        return self.grouping().names

    # Vectors

    def captured(self) -> tuple[tuple[LayerRef, Pooling], ...]:
        """Every site and pooling that has vectors, by stream, pooling and position."""
        captured = self.contents.captured()
        return tuple(capture for capture in self.manifest.captures if capture in captured)

    def layers(self, stream: str, pooling: Pooling = "cls") -> tuple[LayerRef, ...]:
        """The captured sites of a stream under one pooling, in order of position."""
        self.manifest.stream(stream)
        return tuple(r for r, p in self.captured() if r.stream == stream and p == pooling)

    @property
    def has_activations(self) -> bool:
        """Whether any vectors were kept."""
        return bool(self.captured())

    def vectors(
        self,
        stream: str,
        layer: int | str | LayerRef,
        pooling: Pooling = "cls",
        rows: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """(n, d) float32, C-contiguous, rows in sample order, the caller's own copy.

        ``layer`` is a number, ``"4"``, ``"4.fusion"`` or a LayerRef of ``stream``; d is the width
        of that site. ``rows`` are the numbers of the samples that are wanted, in any order, and
        nothing else is read: (len(rows), d). Vectors stored as float16 are widened. InputError for
        a layer that was not captured, with what exists and the command that would make it;
        IndexError for a row that is none.
        """
        ref = as_layer(stream, layer)
        spec = self.manifest.stream(stream)
        if (ref, check_pooling(pooling)) not in self.contents.captured():
            raise missing_vectors(self.manifest, self.captured(), self.contents.where, ref, pooling)
        if rows is None:
            return self.contents.vectors(spec, ref, pooling, None)
        wanted = np.asarray(rows, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < self.n:
            raise IndexError(f"rows lie outside 0..{self.n - 1}")
        return self.contents.vectors(spec, ref, pooling, wanted)

    def export(
        self, path: str | Path, format: Format = "safetensors", *, streams: Sequence[str] = ()
    ) -> Path:
        """Write vectors, samples and scores to a new folder; see :mod:`backend.store.export`."""
        from backend.store.export import export_run

        return export_run(self, Path(path), format, streams=streams)

    # Tables

    def measure_names(self, keys: Sequence[str] | None = None) -> tuple[str, ...]:
        """Sorted names of the measures of all keys, or of some: such as ``("cka",)``."""
        names = self.table(MEASURES, keys)["measure"].unique().to_pylist()
        return tuple(sorted(names))

    def measures(
        self, names: Sequence[str] | None = None, keys: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Tidy measures (column ``key`` in front): all, or those named, such as ``["cka"]``.

        ``keys`` limits what is read to some of ``keys(MEASURES)``.
        """
        where = None if names is None else pc.field("measure").isin(list(names))
        return to_pandas(self.table(MEASURES, keys, where))

    def projections(
        self,
        stream: str | None = None,
        layer: int | str | LayerRef | None = None,
        pooling: Pooling | None = None,
        method: str | None = None,
    ) -> pd.DataFrame:
        """Layer coordinates of all keys (column ``key``); arguments that are given filter."""
        equal: dict[str, object] = {"stream": stream, "pooling": pooling, "method": method}
        if layer is not None:
            ref = layer if isinstance(layer, LayerRef) else as_layer(stream or "", layer)
            equal |= {"stream": stream or ref.stream or None, "layer": ref.layer, "site": ref.site}
        return to_pandas(self.table(PROJECTIONS, where=_all_equal(equal)))

    def drivers(
        self,
        a: LayerRef | None = None,
        b: LayerRef | None = None,
        pooling: Pooling | None = None,
    ) -> pd.DataFrame:
        """The samples that drive pairs of layers (column ``key``); arguments that are given filter.

        ``rank`` counts from 1 at the largest ``share`` of the pair's similarity; negative ranks
        count from -1 at the smallest (most negative) one.
        """
        equal = {"pooling": pooling, **_at(DRIVERS, "_a", a), **_at(DRIVERS, "_b", b)}
        return to_pandas(self.table(DRIVERS, where=_all_equal(equal)))

    def scores(self) -> pd.DataFrame:
        """Task scores: task, metric, split, value. No rows where the run has none."""
        return to_pandas(self.table(SCORES))

    def predictions(self) -> pd.DataFrame:
        """What the model gives every labelled sample of the test split (else dev), by class.

        Columns: task, split, sample_id, class, probability (0..1), target (whether the class is
        the sample's). The samples are those that the scores are of, of which the run may have
        captured a part. No rows where the run has none.
        """
        return to_pandas(self.table(PREDICTIONS))

    def training_measures(self) -> pd.DataFrame:
        """Measures while the model was trained: tidy rows with ``epoch`` and ``step`` in front.

        Step 0 is before training; the samples are of the dev split that training used. No rows
        where the run has none.
        """
        return to_pandas(self.table(TRAINING_MEASURES))

    def score_summary(self) -> dict[str, float]:
        """{metric: value} on the run's own split (else "test", else the last one).

        With several tasks the keys are ``task.metric``.
        """
        scores = [Score(**row) for row in self.table(SCORES).to_pylist()]
        return summary(own_scores(scores, self.manifest.dataset.split))


def as_layer(stream: str, layer: int | str | LayerRef) -> LayerRef:
    """The LayerRef of ``stream`` that ``layer`` means; InputError for what is not a layer."""
    if isinstance(layer, LayerRef):
        if layer.stream != stream:
            raise InputError(f"layer {layer.label} is of stream {layer.stream!r}, not {stream!r}")
        return layer
    try:
        return LayerRef.parse(stream, layer)
    except ValueError as error:
        raise InputError(str(error)) from error


def _at(kind: Kind, side: Side, ref: LayerRef | None) -> dict[str, object]:
    """The columns of one side and what they hold for a layer; nothing for no layer."""
    if ref is None:
        return {}
    values = (ref.stream, ref.layer, ref.site)
    return dict(zip(kind.place_columns(side), values, strict=True))


def _all_equal(values: dict[str, object]) -> pc.Expression | None:
    """Every column that has a value equals it; None where none has."""
    tests = [pc.field(column) == value for column, value in values.items() if value is not None]
    where: pc.Expression | None = None
    for test in tests:
        where = test if where is None else where & test
    return where
