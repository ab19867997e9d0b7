"""A trace as files and as values of JSON, for other programs."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from backend import __version__
from backend.errors import InputError
from backend.inference.difference import parting
from backend.inference.reference import PLACE, length_of_step, no_step, place_columns
from backend.inference.values import MapKey, NextWords, Picture, Trace
from backend.types import LayerRef, Pooling

VECTORS, CURVES, ATTENTION, ABOUT = "trace.parquet", "curves.csv", "attention.npz", "trace.json"
WHAT_IF = "what_if.parquet"
"""The files of :func:`write_traced`."""


@dataclass(frozen=True, eq=False)
class Traced:
    """What is told of a pair: its trace, a row a site (:func:`sites_table`), and how it was made.

    ``curves`` are those of :func:`backend.inference.standing.standing` among the pairs of the run
    ``reference``, where one was named. ``seconds`` by stage. ``others`` are the pair's
    counterfactuals by name.
    """

    trace: Trace
    picture: Picture
    sites: pd.DataFrame
    curves: pd.DataFrame | None = None
    reference: str = ""
    notes: tuple[str, ...] = ()
    device: str = "cpu"
    seconds: Mapping[Any, float] = field(default_factory=dict)
    others: Mapping[str, Trace] = field(default_factory=dict)


def sites_table(trace: Trace, pooling: Pooling) -> pd.DataFrame:
    """A row a site: place, width, norm, step from the site before and why there is none.

    Sites after the model's own pooling have one vector, whatever ``pooling`` says.
    """
    rows = []
    for spec in trace.streams:
        before: LayerRef | None = None
        for ref in spec.refs:
            own = pooling if pooling in spec.poolings_of(ref) else spec.poolings_of(ref)[0]
            vector = trace.vectors.get((ref, own))
            if vector is None:
                continue
            place = place_columns(spec, ref, own)
            reason = no_step(spec, ref, before)
            last = None if before is None else trace.vectors.get((before, own))
            step = math.nan
            if not reason and last is not None:
                step = float(length_of_step(last, vector))
            elif not reason:
                reason = "the site before has no vector of this pooling"
            row = {**place, "width": vector.size, "norm": float(np.linalg.norm(vector))}
            rows.append({**row, "step": step, "reason": reason})
            before = ref
    return pd.DataFrame(rows)


def about(traced: Traced) -> dict[str, Any]:
    """Everything but vectors and maps, and where it comes from, as values of JSON."""
    trace, picture = traced.trace, traced.picture
    return {
        "fusionscope": __version__,
        "versions": {"numpy": np.__version__, "torch": version("torch")},
        "model": {"name": trace.model, "family": trace.family, "digest": trace.digest},
        "picture": {"digest": picture.digest, "size": list(picture.image.size)},
        "reference": traced.reference or None,
        "device": traced.device,
        "seconds": {stage: round(spent, 4) for stage, spent in traced.seconds.items()},
        "notes": list(traced.notes),
        "cut_tokens": trace.cut,
        "unsupported": dict(trace.unsupported),
        "sites": _records(traced.sites),
        "curves": [] if traced.curves is None else _records(traced.curves),
        "outputs": _outputs(trace),
        "what_if": {
            name: {
                "parts_at": {
                    stream: ref.label if ref is not None else None
                    for stream, ref in parting(trace, other).items()
                },
                "outputs": _outputs(other),
            }
            for name, other in traced.others.items()
        },
        "next_words": [] if trace.next_words is None else _words(trace.next_words),
        "tokens": {
            name: {
                "roles": tokens.roles.tolist(),
                "texts": list(tokens.texts),
                "kind": tokens.kind,
                "origins": _plain(tokens.origins.tolist()),
            }
            for name, tokens in trace.tokens.items()
        },
        "attention": [
            {"file": ATTENTION, "name": _map_name(key), "shape": list(weights.shape)}
            for key, weights in trace.attention.items()
        ],
    }


def _outputs(trace: Trace) -> list[dict[str, Any]]:
    return [
        {
            "task": output.task,
            "kind": output.kind,
            "probabilities": dict(
                zip(output.classes, map(float, output.probabilities), strict=True)
            ),
        }
        for output in trace.outputs
    ]


def _words(words: NextWords) -> list[dict[str, Any]]:
    rows = zip(words.refs, words.words, words.probabilities.tolist(), strict=True)
    return [
        {"stream": ref.stream, "site": ref.label, "words": list(likely), "probabilities": values}
        for ref, likely, values in rows
    ]


def _map_name(key: MapKey) -> str:
    """``vision-10.fusion-reads-text``."""
    return f"{key.ref.stream}-{key.ref.label}-reads-{key.reads}"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [_plain(row) for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    """The same without NaN, which JSON does not have: null."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_traced(traced: Traced, path: Path) -> None:
    """A new folder with vectors, attention, curves where there are, and :func:`about` them.

    The vectors of counterfactuals are in a file of their own, with their ``name``.

    It appears when it is whole, and nothing in it is called by what a user sent. InputError where
    it exists or cannot be written.
    """
    if path.exists():
        raise InputError("exists", where=str(path), hint="Choose another folder.")
    building = path.with_name(f".{path.name}.partial")
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        pq.write_table(vectors_table(traced.trace), building / VECTORS, compression="zstd")
        if traced.others:
            tables = [
                vectors_table(other).add_column(0, "name", pa.array([name] * len(other.vectors)))
                for name, other in traced.others.items()
            ]
            pq.write_table(pa.concat_tables(tables), building / WHAT_IF, compression="zstd")
        if traced.curves is not None:
            traced.curves.to_csv(building / CURVES, index=False)
        if traced.trace.attention:
            maps = {_map_name(key): weights for key, weights in traced.trace.attention.items()}
            np.savez_compressed(building / ATTENTION, **maps)  # type: ignore[arg-type]
        text = json.dumps(about(traced), indent=2, allow_nan=False)
        (building / ABOUT).write_text(text + "\n", encoding="utf-8")
        building.rename(path)
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", where=str(path)) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def vectors_table(trace: Trace) -> pa.Table:
    """A row a site and pooling: its place, and ``vector``, a list of float32."""
    rows = [
        {**place_columns(trace.stream(ref.stream), ref, pooling), "vector": vector}
        for (ref, pooling), vector in trace.vectors.items()
    ]
    columns = {name: [row[name] for row in rows] for name in PLACE}
    vectors = pa.array([row["vector"] for row in rows], pa.list_(pa.float32()))
    return pa.table({**columns, "vector": vectors})
