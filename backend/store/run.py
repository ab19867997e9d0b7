"""Reading one run: its samples, vectors, measures, projections and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from backend.errors import InputError
from backend.store import tables
from backend.store.commands import capture_command
from backend.store.labels import Labels, labels_of
from backend.store.manifest import Manifest
from backend.store.paths import RunPaths, parquet_keys, parse_activation_name
from backend.types import LayerRef, Pooling, StreamSpec


class Run:
    """One finished run of a store. Nothing is read before it is asked for.

    Every method raises InputError, naming the file, when a file is missing or corrupt.
    """

    def __init__(self, paths: RunPaths, manifest: Manifest | None = None) -> None:
        self.paths = paths
        self.manifest = Manifest.read(paths.manifest) if manifest is None else manifest

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

    # Samples

    def samples(
        self, columns: Sequence[str] | None = None, ids: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Samples in the run's order, or those of ``ids`` in the order of ``ids``.

        ``columns`` None means all but the thumbnails, which are only read when named.
        """
        names = tables.samples_schema(self.manifest).names
        wanted = [name for name in names if name != "thumbnail"] if columns is None else columns
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise InputError(
                f"run {self.run_id} has no sample column {unknown[0]!r}",
                hint=f"It has: {', '.join(names)}",
            )
        if ids is None:
            return tables.to_pandas(tables.read_parquet(self.paths.samples, list(wanted)))
        return tables.to_pandas(self._rows(list(wanted), self._positions(ids)))

    def sample(self, sample_id: str) -> pd.Series:
        """Every column of one sample, the thumbnail included."""
        names = tables.samples_schema(self.manifest).names
        return self.samples(columns=names, ids=[sample_id]).iloc[0]

    def sample_ids(self) -> np.ndarray:
        """(n,) strings (object array) in the run's order."""
        ids: np.ndarray = self.ids.to_numpy(zero_copy_only=False)
        return ids

    @cached_property
    def ids(self) -> pa.Array:
        """Sample ids in the run's order as an Arrow array, read once."""
        column = tables.read_parquet(self.paths.samples, ["sample_id"]).column(0)
        return column.combine_chunks()

    def labels(self) -> Labels:
        """Labels of the samples by task, in the run's order; without tasks that have none."""
        names = [f"label_{task.name}" for task in self.manifest.tasks]
        if not names:
            return {}
        table = tables.read_parquet(self.paths.samples, names)
        columns = {task.name: [table[f"label_{task.name}"]] for task in self.manifest.tasks}
        return labels_of(self.manifest.tasks, columns, str(self.paths.samples))

    def _positions(self, ids: Sequence[str]) -> np.ndarray:
        found = pc.index_in(pa.array(list(ids), pa.string()), value_set=self.ids)
        if found.null_count:
            missing = [str(i) for i, at in zip(ids, found.to_pylist(), strict=True) if at is None]
            raise InputError(
                f"run {self.run_id} has no sample {missing[0]!r}"
                + (f" (and {len(missing) - 1} others)" if len(missing) > 1 else "")
            )
        positions: np.ndarray = found.to_numpy(zero_copy_only=False).astype(np.int64)
        return positions

    def _rows(self, columns: list[str], positions: np.ndarray) -> pa.Table:
        """The rows at ``positions``, reading only the row groups that hold them."""
        with tables.open_parquet(self.paths.samples) as file:
            sizes = [
                file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)
            ]
        ends = np.cumsum(sizes)
        groups = np.searchsorted(ends, positions, side="right")
        needed = np.unique(groups)
        table = tables.read_parquet(self.paths.samples, columns, needed.tolist())
        read_sizes = np.array(sizes, dtype=np.int64)[needed]
        starts_in_table = np.cumsum(read_sizes) - read_sizes
        starts_in_file = (ends - np.array(sizes))[needed]
        at = np.searchsorted(needed, groups)
        return table.take(pa.array(positions - starts_in_file[at] + starts_in_table[at]))

    # Vectors

    def captured(self) -> tuple[tuple[LayerRef, Pooling], ...]:
        """Every site and pooling that has vectors, by stream, pooling and position."""
        present = set(map(parse_activation_name, parquet_keys(self.paths.activations)))
        return tuple(capture for capture in self.manifest.captures if capture in present)

    def layers(self, stream: str, pooling: Pooling = "cls") -> tuple[LayerRef, ...]:
        """The captured sites of a stream under one pooling, in order of position."""
        self.manifest.stream(stream)
        return tuple(r for r, p in self.captured() if r.stream == stream and p == pooling)

    @property
    def has_activations(self) -> bool:
        """Whether any vectors were kept."""
        return bool(self.captured())

    def vectors(
        self, stream: str, layer: int | str | LayerRef, pooling: Pooling = "cls"
    ) -> np.ndarray:
        """(n, d) float32, C-contiguous, rows in sample order, the caller's own copy.

        ``layer`` is a number, ``"4"``, ``"4.fusion"`` or a LayerRef of ``stream``; d is the width
        of that site. Vectors stored as float16 are widened. A layer that was not captured raises
        InputError with what exists and the command that would make it.
        """
        ref = as_layer(stream, layer)
        spec = self.manifest.stream(stream)
        path = self.paths.activation(ref, pooling)
        if ref not in spec.refs or not path.exists():
            raise self._missing_vectors(ref, pooling)
        width = spec.width_of(ref)
        out = np.empty((self.n, width), dtype=np.float32)
        expected = tables.vector_type(width, self.manifest.dtype)
        row = 0
        for column in tables.iter_row_groups(path, "vector"):
            if column.type != expected:
                raise InputError(
                    f"vectors are {column.type}, run.json says {expected}", where=str(path)
                )
            if row + len(column) > self.n:
                row += len(column)
                break
            row = tables.fill_vectors(out, row, column)
        if row != self.n:
            raise InputError(f"holds {row} rows, run.json says {self.n}", where=str(path))
        return out

    def _missing_vectors(self, ref: LayerRef, pooling: Pooling) -> InputError:
        spec = self.manifest.stream(ref.stream)
        if ref in spec.refs and pooling not in spec.poolings_of(ref):
            return _no_such_pooling(spec, ref, pooling)
        captured = self.captured()
        if not captured:
            return InputError(
                f"run {self.run_id} keeps no activations", hint=f"Make them: {self._command()}"
            )
        poolings = sorted({p for r, p in captured if r.stream == ref.stream})
        if pooling not in poolings:
            return InputError(
                f"run {self.run_id} has no {pooling} vectors of {ref.stream}, only "
                f"{_or_none(poolings)}",
                hint=f"Make them: {self._command(pooling)}",
            )
        labels = ", ".join(r.label for r in self.layers(ref.stream, pooling))
        return InputError(
            f"run {self.run_id} has no {pooling} vectors of {ref.stream} layer {ref.label}",
            hint=f"It has layers {labels}",
        )

    def _command(self, pooling: str = "") -> str:
        """The capture command that would make what is missing."""
        store = str(self.paths.dir.parent.parent)
        return capture_command(self.manifest, store, (pooling,) if pooling else ())

    # Tidy tables

    def measure_keys(self) -> tuple[str, ...]:
        """Sorted keys of the measures that were computed."""
        return parquet_keys(self.paths.measures)

    def projection_keys(self) -> tuple[str, ...]:
        """Sorted keys of the projections that were fitted."""
        return parquet_keys(self.paths.projections)

    def measure_names(self, keys: Sequence[str] | None = None) -> tuple[str, ...]:
        """Sorted names of the measures of all keys, or of some: such as ``("cka",)``."""
        found: set[str] = set()
        for key in self.measure_keys() if keys is None else keys:
            table = tables.read_checked(self.paths.measure(key), tables.MEASURES)
            found.update(table["measure"].unique().to_pylist())
        return tuple(sorted(found))

    def measures(
        self, names: Sequence[str] | None = None, keys: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Tidy measures (column ``key`` in front): all, or those named, such as ``["cka"]``.

        ``keys`` limits what is read to some of :meth:`measure_keys`.
        """
        keep = None if names is None else pc.field("measure").isin(list(names))
        read = self.measure_keys() if keys is None else keys
        return self._keyed(tables.MEASURES, read, self.paths.measure, keep)

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
            equal["stream"] = stream or ref.stream or None
            equal |= {"layer": ref.layer, "site": ref.site}
        keep = _all_equal(equal)
        return self._keyed(tables.PROJECTIONS, self.projection_keys(), self.paths.projection, keep)

    def driver_keys(self) -> tuple[str, ...]:
        """Sorted keys of the driving samples that were found."""
        return parquet_keys(self.paths.drivers)

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
        equal: dict[str, object] = {"pooling": pooling}
        for side, ref in (("a", a), ("b", b)):
            if ref is not None:
                equal |= {
                    f"stream_{side}": ref.stream,
                    f"layer_{side}": ref.layer,
                    f"site_{side}": ref.site,
                }
        keep = _all_equal(equal)
        return self._keyed(tables.DRIVERS, self.driver_keys(), self.paths.driver, keep)

    def scores(self) -> pd.DataFrame:
        """Task scores: task, metric, split, value. No rows where the run has none."""
        return tables.to_pandas(self._scores())

    def _scores(self) -> pa.Table:
        if not self.paths.scores.exists():
            return tables.SCORES.empty_table()
        return tables.read_checked(self.paths.scores, tables.SCORES)

    def training_measures(self) -> pd.DataFrame:
        """Measures while the model was trained: tidy rows with ``epoch`` and ``step`` in front.

        Step 0 is before training; the samples are of the dev split that training used. No rows
        where the run has none.
        """
        if not self.paths.training_measures.exists():
            return tables.to_pandas(tables.TRAINING.empty_table())
        return tables.to_pandas(tables.read_checked(self.paths.training_measures, tables.TRAINING))

    def score_summary(self) -> dict[str, float]:
        """{metric: value} on the run's own split (else "test", else the last one).

        With several tasks the keys are ``task.metric``.
        """
        rows = self._scores().to_pylist()
        splits = list(dict.fromkeys(row["split"] for row in rows))
        preferred = [s for s in (self.manifest.dataset.split, "test") if s in splits]
        chosen = (preferred or splits[-1:] or [""])[0]
        rows = [row for row in rows if row["split"] == chosen]
        several = len({row["task"] for row in rows}) > 1
        return {
            f"{row['task']}.{row['metric']}" if several else row["metric"]: row["value"]
            for row in rows
        }

    @property
    def checkpoint(self) -> Path | None:
        """The save_pretrained directory, if the run keeps one."""
        return self.paths.checkpoint if self.paths.checkpoint.is_dir() else None

    def add_measures(self, key: str, rows: pd.DataFrame) -> None:
        """Add measures under a new key. A key that exists raises InputError."""
        tables.write_tidy(self.paths.measure(key), tables.measures_table(rows))

    def add_drivers(self, key: str, rows: pd.DataFrame) -> None:
        """Add driving samples under a new key. A key that exists raises InputError."""
        tables.write_tidy(self.paths.driver(key), tables.drivers_table(rows))

    def add_projection(self, key: str, rows: pd.DataFrame) -> None:
        """Add layer coordinates under a new key. A key that exists raises InputError."""
        tables.write_tidy(self.paths.projection(key), tables.projections_table(rows))

    def _keyed(
        self,
        schema: pa.Schema,
        keys: Sequence[str],
        path_of: Callable[[str], Path],
        keep: pc.Expression | None,
    ) -> pd.DataFrame:
        """Rows of every key's file that ``keep`` selects, with the key in front."""
        parts = [schema.empty_table().add_column(0, "key", pa.array([], pa.string()))]
        for key in keys:
            table = tables.read_checked(path_of(key), schema)
            if keep is not None:
                table = table.filter(keep)
            parts.append(table.add_column(0, "key", pa.array([key] * len(table), pa.string())))
        return tables.to_pandas(pa.concat_tables(parts))


def _no_such_pooling(spec: StreamSpec, ref: LayerRef, pooling: Pooling) -> InputError:
    """Why a site has no vectors of a pooling whatever is captured, and which to use."""
    poolings = spec.poolings_of(ref)
    if poolings != spec.poolings:
        why = f"{spec.name} layer {ref.label} is one vector that the model has pooled itself"
    elif pooling == "cls":
        why = f"stream {spec.name} has no summary token"
    else:
        why = f"stream {spec.name} has {_or_none(poolings)}"
    return InputError(f"{why}, so no {pooling}", hint=f"Use {_or_none(poolings)}")


def _or_none(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _all_equal(values: dict[str, object]) -> pc.Expression | None:
    """Every column that has a value equals it; None where none has."""
    keep: pc.Expression | None = None
    for column, value in values.items():
        if value is not None:
            test = pc.field(column) == value
            keep = test if keep is None else keep & test
    return keep


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
