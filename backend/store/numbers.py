"""The numbers of a run alone: what may be passed on where its samples may not.

No image, no text, no vector, and no name of anything but classes: samples and groups are numbered,
and commands that name files are left out. To be small, numbers are rounded to a few significant
digits, and of the measures there are those that the study's claims ask for and pages show first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.errors import InputError
from backend.store.contents import RunContents
from backend.store.kinds import (
    INTERVENTIONS,
    MEASURES,
    PREDICTIONS,
    SAE,
    SAE_MATCHES,
    SCORES,
    SHARED_SPACE,
    TOKENS,
    TRAINING_MEASURES,
    TRAINING_SCORES,
    Kind,
)
from backend.store.manifest import Manifest, OriginInfo
from backend.store.run import Run
from backend.types import LayerRef, Pooling, StreamSpec

KEPT = (
    *(MEASURES, SCORES, PREDICTIONS, TRAINING_MEASURES, TRAINING_SCORES, INTERVENTIONS),
    *(TOKENS, SAE, SAE_MATCHES, SHARED_SPACE),
)
"""Kinds that say nothing of a sample but its number."""

POOLING: Pooling = "cls"
"""Measures of the other pooling are left out: they would double the size."""

LEFT_OUT = ("pwcca", "mean_cca", "jaccard_knn", "linear_predictivity", "cka_rbf")
"""Measures that a kept one stands for: half of all rows."""

_NUMBER = re.compile(r"s\d{6,}")

_DIGITS = 5
_PROBABILITY_DIGITS = 4


class Numbers:
    """Numbers in place of names: the same name always gets the same one."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._given: dict[str, str] = {}

    def of(self, names: pa.ChunkedArray) -> pa.Array:
        """``s000000``, ``s000001``, ... in the order in which names are first seen; nulls stay."""
        given, prefix = self._given, self._prefix
        return pa.array(
            [
                None if name is None else given.setdefault(name, f"{prefix}{len(given):06d}")
                for name in names.to_pylist()
            ],
            pa.string(),
        )


class NumbersOnly:
    """The contents of a run without its samples' names, texts and images; read-only.

    See :class:`backend.store.contents.RunContents`. ``samples`` and ``groups`` are shared by all
    runs of a data set, which so keep the same samples.
    """

    def __init__(self, run: Run, samples: Numbers, groups: Numbers) -> None:
        self._contents: RunContents = run.contents
        self._ids, self._groups = samples, groups
        self._of_samples = run.groups()
        origin = OriginInfo(kind=run.manifest.origin.kind)
        self._manifest = run.manifest.model_copy(update={"origin": origin, "grouped": True})

    @property
    def where(self) -> str:
        """What an error names."""
        return self._contents.where

    @property
    def checkpoint(self) -> Path | None:
        """None."""
        return None

    def manifest(self) -> bytes:
        """run.json without the commands and files that made the run."""
        return self._manifest.to_json().encode()

    def samples(
        self, schema: pa.Schema, columns: Sequence[str], rows: np.ndarray | None
    ) -> pa.Table:
        """Numbers, splits and labels; empty texts, no images."""
        table = self._contents.samples(schema, columns, rows)
        for at, name in enumerate(table.column_names):
            if name == "sample_id":
                column = self._ids.of(table[name])
            elif name == "text":
                column = pa.array([""] * len(table), pa.string())
            elif name == "group":
                column = self._grouped(len(table), rows)
            elif name in ("thumbnail", "image_digest"):
                column = pa.nulls(len(table), schema.field(name).type)
            else:
                continue
            table = table.set_column(at, schema.field(name), column)
        return table

    def _grouped(self, n: int, rows: np.ndarray | None) -> pa.Array:
        """The groups that the run has, given or found: what they were found by is gone."""
        if self._of_samples is None:
            return pa.nulls(n, pa.string())
        own = self._of_samples if rows is None else self._of_samples[rows]
        return self._groups.of(pa.chunked_array([pa.array(own.tolist(), pa.string())]))

    def keys(self, kind: Kind) -> tuple[str, ...]:
        """Of the kinds that are :data:`KEPT`, as far as they are of the kept pooling."""
        if kind not in KEPT:
            return ()
        keys = self._contents.keys(kind)
        return tuple(key for key in keys if kind is not MEASURES or len(self.table(kind, key)))

    def place(self, kind: Kind, key: str) -> str:
        """Where the run keeps the table."""
        return self._contents.place(kind, key)

    def table(self, kind: Kind, key: str) -> pa.Table:
        """The rows, rounded."""
        table = self._contents.table(kind, key)
        if kind is MEASURES:
            left_out = pc.field("measure").isin(list(LEFT_OUT))
            table = table.filter((pc.field("pooling") == POOLING) & ~left_out)
        digits = _PROBABILITY_DIGITS if kind is PREDICTIONS else _DIGITS
        for at, field in enumerate(table.schema):
            if pa.types.is_floating(field.type):
                column = pa.array(significant(table[field.name].to_numpy(), digits), field.type)
                table = table.set_column(at, field, column)
            elif field.name == "sample_id":
                table = table.set_column(at, field, self._ids.of(table[field.name]))
        return table

    def add(self, kind: Kind, key: str, table: pa.Table) -> None:
        """InputError: nothing can be added."""
        raise InputError("is read-only", where=self.where)

    def captured(self) -> frozenset[tuple[LayerRef, Pooling]]:
        """Nothing: no vectors are kept."""
        return frozenset()

    def vectors(
        self, spec: StreamSpec, ref: LayerRef, pooling: Pooling, rows: np.ndarray | None
    ) -> np.ndarray:
        """InputError: no vectors are kept."""
        raise InputError("no vectors are kept", where=self.where)


def is_numbered(run: Run) -> bool:
    """Whether the run's samples have numbers in place of names: it comes from numbers alone."""
    nameless = not run.manifest.origin.data
    return nameless and all(_NUMBER.fullmatch(name) for name in run.sample_ids())


class NumberedRuns:
    """Runs without their samples: the same sample of a data set has one number in all of them."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], tuple[Numbers, Numbers]] = {}

    def run(self, run: Run) -> Run:
        """The same run, its numbers alone."""
        data = run.manifest.dataset
        numbers = self._of.setdefault((data.name, data.layout), (Numbers("s"), Numbers("g")))
        contents = NumbersOnly(run, *numbers)
        return Run(contents, Manifest.from_json(contents.manifest(), where=contents.where))


def significant(values: np.ndarray, digits: int) -> np.ndarray:
    """Rounded to so many significant digits; zeros, NaN and infinities stay."""
    out = np.array(values, dtype=np.float64)
    some = np.isfinite(out) & (out != 0)
    exponent = np.floor(np.log10(np.abs(out[some])))
    places = (digits - 1 - exponent).astype(int)
    out[some] = [round(value, at) for value, at in zip(out[some].tolist(), places, strict=True)]
    return out
