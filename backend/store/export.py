"""A run's activations as files that anybody can read, and that can be imported again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from backend.errors import InputError
from backend.progress import SILENT, Progress
from backend.store import tables
from backend.store.imports.pattern import DEFAULT
from backend.store.imports.sources import MAPPING
from backend.store.kinds import SCORES
from backend.store.paths import layer_name
from backend.store.streams import StreamInfo

if TYPE_CHECKING:
    from backend.store.run import Run
    from backend.types import LayerRef, Pooling

Format = Literal["safetensors", "npy"]
SAMPLES, SCORES_FILE, TENSORS = "samples.parquet", "scores.parquet", "activations.safetensors"
_PIECE_BYTES = 32 * 2**20
_SAMPLES_AT_ONCE = 2_048
_SAFETENSORS = {"float32": "F32", "float16": "F16"}

Capture = tuple["LayerRef", "Pooling"]


def export_run(
    run: Run,
    path: Path,
    format: Format = "safetensors",
    *,
    streams: Sequence[str] = (),
    progress: Progress = SILENT,
) -> Path:
    """Write a folder with the run's vectors, samples and scores, and a mapping; returns it.

    ``npy`` is one (n, d) file a layer and pooling, called ``vision-4.fusion-cls.npy``;
    ``safetensors`` is one file with tensors of these names. Values are bit for bit those of the
    store. ``import-activations`` reads the folder again. Memory: some rows of one layer. InputError
    where the folder exists, or the run keeps no activations.
    """
    if format not in get_args(Format):
        raise InputError(
            f"{format!r} is unknown", field="format", hint=" or ".join(get_args(Format))
        )
    for name in streams:
        run.manifest.stream(name)
    captures = [c for c in run.captured() if not streams or c[0].stream in streams]
    if not captures:
        raise InputError(f"run {run.run_id} keeps no activations", where=str(path))
    if path.exists():
        raise InputError("exists", where=str(path), hint="Choose another folder")
    building = path.with_name(f".{path.name}.partial")
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        _write_samples(run, building / SAMPLES)
        scores = run.scores()
        if len(scores):
            pq.write_table(pa.Table.from_pandas(scores, SCORES.schema), building / SCORES_FILE)
        write = _write_npy if format == "npy" else _write_safetensors
        write(run, building, captures, progress)
        mapping = _mapping(run, {ref.stream for ref, _ in captures}, bool(len(scores)))
        (building / MAPPING).write_text(mapping, encoding="utf-8")
        building.rename(path)
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", where=str(path)) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return path


def _name(capture: Capture) -> str:
    return layer_name(*capture)


def _pieces(run: Run, capture: Capture) -> Iterator[np.ndarray]:
    """The vectors of one layer in the store's own type, some rows at a time."""
    ref, pooling = capture
    dtype = np.dtype(run.manifest.dtype).newbyteorder("<")
    width = run.manifest.stream(ref.stream).width_of(ref)
    at_once = max(1, _PIECE_BYTES // (4 * width))
    for start in range(0, run.n, at_once):
        rows = np.arange(start, min(start + at_once, run.n))
        # Vectors come as float32, which holds every float16 as it is.
        yield run.vectors(ref.stream, ref, pooling, rows=rows).astype(dtype, copy=False)


def _write_npy(run: Run, folder: Path, captures: Sequence[Capture], progress: Progress) -> None:
    for done, capture in enumerate(captures):
        progress.advance(done, len(captures), _name(capture))
        width = run.manifest.stream(capture[0].stream).width_of(capture[0])
        dtype = np.dtype(run.manifest.dtype).newbyteorder("<")
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (run.n, width),
        }
        with (folder / f"{_name(capture)}.npy").open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            _write_values(run, capture, stream)
    progress.advance(len(captures), len(captures), "")


def _write_safetensors(
    run: Run, folder: Path, captures: Sequence[Capture], progress: Progress
) -> None:
    """By hand, since the library wants all tensors in memory: header length, header, values."""
    header: dict[str, object] = {"__metadata__": {"format": "np", "run": run.run_id}}
    at, size = 0, np.dtype(run.manifest.dtype).itemsize
    for ref, pooling in captures:
        width = run.manifest.stream(ref.stream).width_of(ref)
        end = at + run.n * width * size
        header[_name((ref, pooling))] = {
            "dtype": _SAFETENSORS[run.manifest.dtype],
            "shape": [run.n, width],
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that values begin at a multiple of eight
    with (folder / TENSORS).open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for done, capture in enumerate(captures):
            progress.advance(done, len(captures), _name(capture))
            _write_values(run, capture, stream)
    progress.advance(len(captures), len(captures), "")


def _write_values(run: Run, capture: Capture, stream: BinaryIO) -> None:
    for piece in _pieces(run, capture):
        stream.write(np.ascontiguousarray(piece).data.cast("B"))


def _write_samples(run: Run, path: Path) -> None:
    """The samples with labels and thumbnails, some at a time."""
    schema, ids = tables.samples_schema(run.manifest), run.ids
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, len(ids), _SAMPLES_AT_ONCE):
            rows = run.samples(
                columns=schema.names, ids=ids[start : start + _SAMPLES_AT_ONCE].to_pylist()
            )
            writer.write_table(pa.Table.from_pandas(rows, schema, preserve_index=False))


def _mapping(run: Run, streams: set[str], with_scores: bool) -> str:
    """What the arrays are, as :class:`backend.store.imports.mapping.MappingForm` reads it."""
    manifest = run.manifest
    top: dict[str, object] = {
        "run_id": run.run_id,
        "pattern": DEFAULT,
        "dtype": manifest.dtype,
        "allow_nan": True,
        "samples": SAMPLES,
        "scores": SCORES_FILE if with_scores else None,
        "dataset": manifest.dataset.name,
        "split": manifest.dataset.split,
        "seed": manifest.seed,
        "placement": manifest.placement.name if manifest.placement else None,
    }
    lines = _table("", top)
    model = manifest.model
    lines += _table(
        "[model]", {"name": model.name, "family": model.family, "revision": model.revision}
    )
    for task in manifest.dataset.tasks:
        lines += _table("[[tasks]]", task.model_dump(mode="json"))
    for spec in manifest.streams:
        if spec.name in streams:
            info = StreamInfo.of(spec).model_dump(mode="json")
            values = {key: info[key] for key in ("modality", "sites", "meets", "note")}
            values["space"] = info.get("space")
            lines += _table(f"[streams.{_toml(spec.name)}]", values)
    return "\n".join(lines) + "\n"


def _table(head: str, values: dict[str, object]) -> list[str]:
    rows = [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]
    return (["", head] if head else []) + rows


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A TOML string is a JSON string, but for the one control character that JSON allows.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return str(value)
