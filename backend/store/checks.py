"""Whether the rows of a table are what its kind, and the run or pair that it is of, allow.

Every reader and ``verify`` ask the same, so that no page and no command meets a row that it cannot
use: the columns are checked where a file is opened (:func:`backend.store.tables.check_columns`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from backend.store.kinds import NOWHERE, PLACE_COLUMNS, Kind, Place, check_sites
from backend.store.manifest import Manifest
from backend.types import BLOCK, TaskSpec

MAX_NAME_BYTES = 4096
"""Of a sample id and other names; a path is no longer."""
MAX_TEXT_BYTES = 2**20
_TEXTS = ("text", "params", "reason", "warnings")


def _no_ids() -> pa.Array | None:
    """Of a pair: its tables name no samples."""
    return None


@dataclass(frozen=True)
class Scope:
    """What the rows of a run, or of a pair of runs, may speak of.

    ``widths``: by side, the width of every place that is declared; ``n``: the number of samples;
    ``ids``: their ids, read when they are asked for.
    """

    widths: Mapping[str, Mapping[Place, int]]
    n: int
    ids: Callable[[], pa.Array | None] = _no_ids


def run_scope(manifest: Manifest, ids: Callable[[], pa.Array | None]) -> Scope:
    """What the tables of a run may speak of: the same places on either side."""
    widths = _widths(manifest)
    return Scope({"": widths, "_a": widths, "_b": widths}, manifest.dataset.n, ids)


def pair_scope(first: Manifest, second: Manifest) -> Scope:
    """What the tables of a pair may speak of; ``first`` is the run whose id sorts first."""
    n = min(first.dataset.n, second.dataset.n)
    return Scope({"_a": _widths(first), "_b": _widths(second)}, n)


def _widths(manifest: Manifest) -> dict[Place, int]:
    return {
        (ref.stream, ref.layer, ref.site): spec.width_of(ref)
        for spec in manifest.streams
        for ref in spec.refs
    }


def row_faults(kind: Kind, table: pa.Table, scope: Scope) -> Iterator[str]:
    """Everything that is wrong with rows whose columns are those of ``kind``.

    Rows that do not allow to look further end it.
    """
    try:
        check_filled(kind.schema, table)
        check_sites(kind, table)
        kind.check(table)
    except ValueError as error:
        yield str(error)
        return
    for side in kind.sides:
        widths = scope.widths[side]
        columns = list(kind.place_columns(side))
        for row in table.group_by(columns).aggregate([]).select(columns).to_pylist():
            place = tuple(row.values())
            if place not in widths and not (side in kind.optional and place == NOWHERE):
                yield f"{_words(*place)} is not a layer of this run"
    for column in kind.samples:
        ids = scope.ids()
        if ids is not None and len(table):
            unknown = pc.sum(pc.invert(pc.is_in(table[column], value_set=ids))).as_py()
            if unknown:
                yield f"{unknown} rows of samples that the run does not have"
    for column in kind.counts:
        if len(table) and (most := pc.max(table[column]).as_py()) > scope.n:
            yield f"{column} = {most}, but the run has {scope.n} samples"
    yield from _wrong_widths(kind, table, scope)


def _wrong_widths(kind: Kind, table: pa.Table, scope: Scope) -> Iterator[str]:
    """The first row whose numbers are not as many as its place is wide."""
    columns = [*PLACE_COLUMNS, *(name for name, _ in kind.wide)]
    for row in table.select(columns).to_pylist() if kind.wide else ():
        place = tuple(row[name] for name in PLACE_COLUMNS)
        width = scope.widths[""].get(place)
        wrong = [name for name, size in kind.wide if width and len(row[name]) != size * width]
        if wrong:
            yield f"{wrong[0]} of {_words(*place)} is not {width} numbers"
            return


def check_filled(schema: pa.Schema, table: pa.Table) -> None:
    """ValueError, naming the column, for nulls where there may be none and for texts too long."""
    for item in schema:
        if item.name not in table.column_names:
            continue
        column = table[item.name]
        if not item.nullable and column.null_count:
            raise ValueError(f"column {item.name} holds {column.null_count} nulls")
        if pa.types.is_string(item.type) and len(column):
            most = MAX_TEXT_BYTES if item.name in _TEXTS else MAX_NAME_BYTES
            length = pc.max(pc.binary_length(column)).as_py() or 0
            if length > most:
                raise ValueError(f"column {item.name} holds {length:,} bytes in one row")


def sample_faults(schema: pa.Schema, table: pa.Table, tasks: Sequence[TaskSpec]) -> Iterator[str]:
    """What is wrong with samples of a run of these tasks, of which ``table`` has some columns."""
    try:
        check_filled(schema, table)
    except ValueError as error:
        yield str(error)
    for task in tasks:
        name = f"label_{task.name}"
        if name in table.column_names and len(table):
            labels = table[name]
            values = pc.list_flatten(labels) if pa.types.is_list(labels.type) else labels
            allowed = (0, 1) if task.kind == "binary" else task.classes
            within = pc.is_in(values, value_set=pa.array(allowed, values.type))
            listed = pa.types.is_list(labels.type)
            wrong = values.filter(pc.invert(within if listed else pc.or_(within, values.is_null())))
            if len(wrong):
                yield f"column {name} holds {wrong[0].as_py()!r}, which is no class of the task"


def id_faults(ids: pa.ChunkedArray, n: int) -> Iterator[str]:
    """What is wrong with all sample ids of a run of ``n`` samples."""
    if len(ids) != n:
        yield f"{len(ids)} samples, run.json says {n}"
    if pc.count_distinct(ids).as_py() != len(ids):
        yield "a sample id occurs twice"


def _words(stream: str, layer: int, site: str) -> str:
    return f"{stream} layer {layer if site in (BLOCK, '') else f'{layer}.{site}'}"
