"""Definitions of the catalogue's views, as SQL text over lists of files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from backend.store import tables
from backend.store.reader import Listing
from backend.store.run import Run
from backend.store.streams import stream_summary

_RUNS = pa.schema(
    [
        *[(name, pa.string()) for name in ("run_id", "model", "family", "label", "placement")],
        ("seed", pa.int64()),
        *[(name, pa.string()) for name in ("dataset", "split")],
        ("n", pa.int64()),
        ("fingerprint", pa.string()),
        ("poolings", pa.list_(pa.string())),
        *[(name, pa.string()) for name in ("dtype", "created", "streams")],
        ("has_activations", pa.bool_()),
        ("has_checkpoint", pa.bool_()),
        ("measures", pa.list_(pa.string())),
        ("projections", pa.list_(pa.string())),
    ]
)
_SAMPLES = pa.schema([(name, pa.string()) for name in ("sample_id", "split", "text")])
_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.int8(): "TINYINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
}


def runs_table(listing: Listing) -> pa.Table:
    """The rows of a store's listing with types that SQL knows."""
    rows = []
    for run, row in zip(listing.runs, listing.rows, strict=True):
        streams = json.dumps([stream_summary(spec) for spec in run.streams])
        rows.append({**{name: row[name] for name in _RUNS.names}, "streams": streams})
    return pa.Table.from_pylist(rows, schema=_RUNS)


def samples_view(runs: Sequence[Run]) -> str:
    """``samples``: runs may have different tasks, and tasks of one name but different kinds."""
    groups: dict[tuple[tuple[str, pa.DataType], ...], list[Path]] = defaultdict(list)
    kinds: dict[str, set[pa.DataType]] = defaultdict(set)
    for run in runs:
        schema = tables.samples_schema(run.manifest)
        labels = tuple((f.name, f.type) for f in schema if f.name.startswith("label_"))
        groups[labels].append(run.paths.samples)
        for name, kind in labels:
            kinds[name].add(kind)
    selects = [_empty_select(_SAMPLES)]
    for labels, files in groups.items():
        columns = ["sample_id", "split", "text"]
        for name, _ in labels:
            quoted = _identifier(name)
            agreed = len(kinds[name]) == 1
            columns.append(quoted if agreed else f"CAST({quoted} AS VARCHAR) AS {quoted}")
        selects.append(_file_select(columns, files, levels_up=1, with_key=False))
    return f"CREATE OR REPLACE VIEW samples AS {' UNION ALL BY NAME '.join(selects)}"


def plain_view(name: str, schema: pa.Schema, files: Sequence[Path]) -> str:
    """``scores`` or ``training_measures`` of the given files, of which a run has one."""
    select = _empty_select(schema)
    if files:
        select = _file_select(schema.names, files, levels_up=1, with_key=False)
    return f"CREATE OR REPLACE VIEW {name} AS {select}"


def keyed_view(name: str, schema: pa.Schema, files: Sequence[Path]) -> str:
    """``measures`` or ``projections`` of the given files, with the key that names each file."""
    select = _empty_select(schema, with_key=True)
    if files:
        select = _file_select(schema.names, files, levels_up=2, with_key=True)
    return f"CREATE OR REPLACE VIEW {name} AS {select}"


def _file_select(
    columns: Sequence[str], files: Sequence[Path], *, levels_up: int, with_key: bool
) -> str:
    """SELECT over files, with the run id (and key) taken from each file's path."""
    run_id = "filename"
    for _ in range(levels_up):
        run_id = f"parse_dirpath({run_id})"
    names = [f"parse_filename({run_id}) AS run_id"]
    if with_key:
        names.append("parse_filename(filename, true) AS key")
    listed = ", ".join(literal(str(path)) for path in files)
    # A view's definition cannot be bound; names come from schemas, paths are quoted above.
    source = f"read_parquet([{listed}], filename=true, hive_partitioning=false)"
    return f"SELECT {', '.join([*names, *columns])} FROM {source}"  # noqa: S608


def _empty_select(schema: pa.Schema, *, with_key: bool = False) -> str:
    """SELECT of the right columns and no rows."""
    columns = ["CAST(NULL AS VARCHAR) AS run_id"]
    if with_key:
        columns.append("CAST(NULL AS VARCHAR) AS key")
    columns += [f"CAST(NULL AS {_SQL_TYPES[f.type]}) AS {f.name}" for f in schema]
    return f"SELECT {', '.join(columns)} WHERE false"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """``text`` as a quoted SQL string."""
    return "'" + text.replace("'", "''") + "'"
