"""What may be said about an import besides where its arrays lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from backend.types import How, Pooling


@dataclass(frozen=True)
class ImportOptions:
    """Everything is optional; what is None is as the mapping file says, or as described.

    - ``pattern``: how names say stream, layer and pooling; see
      :class:`backend.store.imports.pattern.Pattern`. ``mapping``: a TOML file instead or besides.
    - ``stream``, ``pooling``: of arrays whose names do not say it (pooling: ``cls``).
    - ``first_layer``: the layer that number 0 of a name, or the first layer of a stacked array, is:
      1 where layers were counted from 0 and 0 is the output of block 1.
    - ``layer_axis``: of stacked arrays; 1 for (n, L, d), 0 for (L, n, d).
    - ``modalities``: of streams that are not called like theirs. ``fusion``: layers by stream,
      counted as everywhere (k is the output of block k); ``how`` they fuse.
    - ``samples``: a table (csv, jsonl, Parquet, DataFrame) with ``id`` and optionally ``text``,
      ``split``, ``label`` or ``label_<task>``, ``image`` (a path below the table's folder, of a
      DataFrame below ``images``) or ``thumbnail``. ``scores``: task, metric, split, value.
    - ``name``, ``family``, ``revision``, ``seed``, ``placement``: of the model. ``dataset``,
      ``split``: of the samples. ``run_id``: else made of both.
    - ``dtype``: how vectors are kept: as float32, or float16 where all arrays are.
    - ``allow_nan``: keep rows with NaN or infinite values, which measures will name.
    - ``binary_dtype``: of the values in binary columns. ``table``: the one table of a DuckDB file.
    - ``command``: the command line of the import, which a page shows where something is missing.
    - ``replace``: replace a run of the same id once this one is whole.
    """

    pattern: str | None = None
    mapping: str | Path | None = None
    stream: str | None = None
    pooling: Pooling | None = None
    first_layer: int | None = None
    layer_axis: int | None = None
    modalities: Mapping[str, str] = field(default_factory=dict)
    fusion: Mapping[str, Sequence[int]] = field(default_factory=dict)
    how: How | None = None
    samples: str | Path | pd.DataFrame | None = None
    images: str | Path | None = None
    scores: str | Path | pd.DataFrame | None = None
    name: str | None = None
    family: str | None = None
    revision: str | None = None
    seed: int | None = None
    placement: str | None = None
    dataset: str | None = None
    split: str | None = None
    run_id: str | None = None
    dtype: str | None = None
    allow_nan: bool | None = None
    binary_dtype: str = "float32"
    table: str | None = None
    command: str = ""
    replace: bool = False
