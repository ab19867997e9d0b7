"""What a store's runs are, without opening each of them again.

A store of thousands of runs is listed on every click, so the facts of runs that were seen once
stay: in memory, and for the next process in ``<store>/.index.parquet``. It is derived: it may
be deleted, it is written anew beside itself and renamed (the last of several writers wins), and a
store that cannot be written to does without. Nothing in it is believed that does not fit: each
row holds the identity of the directory and of the run.json that it was made from, so that a run
that was replaced, deleted, edited or copied in shows at once.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from backend import __version__
from backend.errors import InputError
from backend.store.files import published
from backend.store.manifest import Manifest
from backend.store.pages import sizes
from backend.store.scores import Score, own_scores, summary
from backend.store.streams import StreamInfo, stream_summary
from backend.store.wall import FAULTS, require_size
from backend.types import StreamSpec

log = logging.getLogger(__name__)

INDEX_NAME = ".index.parquet"
_STREAMS = TypeAdapter(tuple[StreamInfo, ...])
WORTH_WRITING = 32
"""How many runs are read anew before the index is written: small stores need none."""


class Entry(NamedTuple):
    """One run as listings show it; everything but ``state`` follows from what it was made from.

    ``state`` is the identity of the run's directory, ``version`` that of its run.json: a run that
    was replaced has another one. ``placement`` and ``placed`` (its layers, as JSON) are None for a
    released model. ``streams`` is JSON (see :func:`backend.store.streams.stream_summary`),
    ``structure`` tells runs of other streams apart.
    """

    run_id: str
    state: str
    version: str
    run_json: bytes
    model: str
    family: str
    digest: str
    label: str
    placement: str | None
    placed: str | None
    seed: int | None
    dataset: str
    layout: str
    split: str
    n: int
    fingerprint: str
    poolings: tuple[str, ...]
    dtype: str
    created: str
    streams: str
    structure: str
    has_activations: bool
    has_checkpoint: bool
    scores: tuple[Score, ...]

    @property
    def manifest(self) -> Manifest:
        """The whole run.json, parsed when it is asked for."""
        return _parsed(self.run_json, self.run_id)

    @property
    def specs(self) -> tuple[StreamSpec, ...]:
        """The model's streams in order."""
        return _specs(self.structure)

    def own_scores(self) -> tuple[Score, ...]:
        """Scores on the run's own split (else "test", else the last one)."""
        return own_scores(self.scores, self.split)

    @property
    def score_summary(self) -> dict[str, float]:
        """{metric: value} on the run's own split; ``task.metric`` where there are several tasks."""
        return summary(self.own_scores())


class Identity(NamedTuple):
    """Of what an entry was made: the run's directory and its run.json."""

    state: str
    version: str


@lru_cache(maxsize=4096)
def _parsed(run_json: bytes, run_id: str) -> Manifest:
    return Manifest.from_json(run_json.decode(), where=f"run.json of {run_id}")


@lru_cache(maxsize=1024)
def _specs(structure: str) -> tuple[StreamSpec, ...]:
    try:
        return tuple(info.spec for info in _STREAMS.validate_json(structure))
    except ValueError as error:
        raise InputError(f"its index holds streams that are none ({error})") from error


def entry_of(
    identity: Identity,
    run_json: bytes,
    manifest: Manifest,
    scores: Iterable[tuple[str, str, str, float]],
    *,
    has_activations: bool,
    has_checkpoint: bool,
) -> Entry:
    """What listings show of a run; ``manifest`` is what ``run_json`` says."""
    placement = manifest.placement
    placed = None if placement is None else json.dumps([placement.text, placement.vision])
    return Entry(
        run_id=manifest.run_id,
        state=identity.state,
        version=identity.version,
        run_json=run_json,
        model=manifest.model.name,
        family=manifest.model.family,
        digest=manifest.model.digest,
        label=manifest.label,
        placement=None if placement is None else placement.name,
        placed=placed,
        seed=manifest.seed,
        dataset=manifest.dataset.name,
        layout=manifest.dataset.layout,
        split=manifest.dataset.split,
        n=manifest.dataset.n,
        fingerprint=manifest.dataset.fingerprint,
        poolings=manifest.poolings,
        dtype=manifest.dtype,
        created=manifest.created,
        streams=json.dumps([stream_summary(spec) for spec in manifest.streams]),
        structure=_STREAMS.dump_json(manifest.model.streams).decode(),
        has_activations=has_activations,
        has_checkpoint=has_checkpoint,
        scores=tuple(Score(*row) for row in scores),
    )


_SCORE = pa.struct(
    [
        ("task", pa.string()),
        ("metric", pa.string()),
        ("split", pa.string()),
        ("value", pa.float64()),
    ]
)
_TYPES: dict[str, pa.DataType] = {
    "run_json": pa.binary(),
    "seed": pa.int64(),
    "n": pa.int64(),
    "poolings": pa.list_(pa.string()),
    "has_activations": pa.bool_(),
    "has_checkpoint": pa.bool_(),
    "scores": pa.list_(_SCORE),
}
# Another version of the program may derive other facts from the same run.json.
SCHEMA = pa.schema(
    [(name, _TYPES.get(name, pa.string())) for name in Entry._fields],
    metadata={"fusionscope": __version__},
)


def table_of(entries: Sequence[Entry]) -> pa.Table:
    """Entries as Arrow rows; inverse of :func:`entries_in`."""
    columns = list(zip(*entries, strict=True)) if entries else [() for _ in Entry._fields]
    arrays = []
    for field, column in zip(SCHEMA, columns, strict=True):
        values = (
            [[s._asdict() for s in row] for row in column] if field.name == "scores" else column
        )
        arrays.append(pa.array(values, field.type))
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def entries_in(table: pa.Table) -> Iterator[Entry]:
    """The entries of Arrow rows."""
    columns = [_values(table[field.name].combine_chunks()) for field in SCHEMA]
    return map(Entry._make, zip(*columns, strict=True))


def _values(column: pa.Array) -> list[object]:
    """A column in Python; its lists as tuples, and taken whole: one by one costs ten times that."""
    if not pa.types.is_list(column.type):
        return list(column.to_pylist())
    flat = column.flatten()
    if pa.types.is_struct(flat.type):
        items: list[object] = [*map(Score._make, zip(*map(_values, flat.flatten()), strict=True))]
    else:
        items = _values(flat)
    ends = pc.list_value_length(column).to_numpy().cumsum().tolist()
    return [tuple(items[start:end]) for start, end in pairwise([0, *ends])]


def read_index(store: Path) -> Mapping[str, Entry]:
    """The entries of the store's index by run id; none where there is no index that fits."""
    try:
        require_size(sizes(store / INDEX_NAME).decoded, (store / INDEX_NAME).stat().st_size, "")
        table = pq.read_table(store / INDEX_NAME, memory_map=False)
        table.validate(full=True)
        made_by = (table.schema.metadata or {}).get(b"fusionscope")
        if made_by != __version__.encode() or not table.schema.equals(SCHEMA, check_metadata=False):
            return {}
        return {entry.run_id: entry for entry in entries_in(table)}
    except (pa.ArrowException, *FAULTS):
        return {}  # missing or damaged: every run is read, and the index written anew


def write_index(store: Path, entries: Sequence[Entry]) -> None:
    """Keep the entries for the next process, where the store can be written to."""
    if not os.access(store, os.W_OK):
        return
    try:
        with published(store / INDEX_NAME, replace=True) as temporary:
            pq.write_table(table_of(entries), temporary, compression="zstd", use_dictionary=False)
    except InputError as error:
        log.info("the index of the store is not kept: %s", error)
