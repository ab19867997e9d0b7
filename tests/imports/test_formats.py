"""Every format gives the same run; every damaged file is one line."""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from backend.errors import InputError
from backend.store import Store
from backend.types import LayerRef

Vectors = dict[LayerRef, np.ndarray]
Written = tuple[Any, dict[str, Any]]
"""What is handed to add_run: sources and options."""


def _named(vectors: Vectors, form: str = "blocks.{1}.{0}") -> dict[str, np.ndarray]:
    return {form.format(ref.stream, ref.label): array for ref, array in vectors.items()}


PATTERN = {"pattern": "blocks.{layer}.{stream}"}


def _npy(folder: Path, vectors: Vectors) -> Written:
    for ref, array in vectors.items():
        (folder / ref.stream).mkdir(exist_ok=True)
        # One in Fortran's order and big-endian: both are numpy's own.
        values = np.asfortranarray(array.astype(">f4")) if ref.layer == 1 else array
        np.save(folder / ref.stream / f"layer_{ref.layer:02d}.npy", values)
    return folder, {"pattern": "{stream}/layer_{layer}"}


def _npz(folder: Path, vectors: Vectors) -> Written:
    np.savez(folder / "a.npz", **_named(vectors))
    return folder / "a.npz", PATTERN


def _compressed(folder: Path, vectors: Vectors) -> Written:
    np.savez_compressed(folder / "a.npz", **_named(vectors))
    return folder / "a.npz", PATTERN


def _safetensors(folder: Path, vectors: Vectors) -> Written:
    save_file(_named(vectors), folder / "a.safetensors")
    return folder / "a.safetensors", PATTERN


def _hdf5(folder: Path, vectors: Vectors) -> Written:
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "a.h5", "w") as file:
        for ref, array in vectors.items():
            file.create_dataset(f"{ref.stream}/h{ref.layer}", data=array, compression="gzip")
        file.create_dataset("notes", data=["a text", "another"])
    return folder / "a.h5", {"pattern": "{stream}/h{layer}"}


def _columns(vectors: Vectors, kind: str) -> pa.Table:
    columns = {}
    for name, array in _named(vectors).items():
        width = array.shape[1]
        if kind == "binary":
            rows = [row.astype("<f4").tobytes() for row in array]
            columns[name] = pa.array(rows, pa.binary(4 * width))
        elif kind == "fixed":
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), width)
        else:
            columns[name] = pa.array(array.tolist(), pa.list_(pa.float32()))
    return pa.table(columns)


def _parquet(kind: str) -> Callable[[Path, Vectors], Written]:
    def write(folder: Path, vectors: Vectors) -> Written:
        pq.write_table(_columns(vectors, kind), folder / "a.parquet", row_group_size=25)
        return folder / "a.parquet", PATTERN

    return write


def _long(vectors: Vectors) -> pd.DataFrame:
    """One row a sample and layer, in no order, of the stream of one width."""
    rows = [
        {"sample_id": f"{row}", "stream": ref.stream, "layer": ref.layer, "vector": vector.tolist()}
        for ref, array in vectors.items()
        if ref.stream == "text"
        for row, vector in enumerate(array)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=1)


def _with_table(written: Written) -> Written:
    sources, options = written
    return sources, options | {"samples": pd.DataFrame({"id": [str(row) for row in range(60)]})}


def _long_parquet(folder: Path, vectors: Vectors) -> Written:
    pq.write_table(pa.Table.from_pandas(_long(vectors)), folder / "a.parquet", row_group_size=7)
    return _with_table((folder / "a.parquet", {}))


def _duckdb(folder: Path, vectors: Vectors) -> Written:
    arrow = _columns(vectors, "list")
    with duckdb.connect(str(folder / "a.duckdb")) as connection:
        connection.register("arrow", arrow)
        connection.execute("CREATE TABLE acts AS SELECT * FROM arrow")
        connection.execute("CREATE TABLE other (a INTEGER)")
        connection.execute("INSERT INTO other VALUES (1)")
    return folder / "a.duckdb", {**PATTERN, "table": "acts"}


def _long_duckdb(folder: Path, vectors: Vectors) -> Written:
    frame = _long(vectors)
    with duckdb.connect(str(folder / "a.duckdb")) as connection:
        connection.register("frame", frame)
        connection.execute(
            "CREATE TABLE acts AS SELECT sample_id, layer, vector::FLOAT[6] AS vector FROM frame"
        )
    return _with_table((folder / "a.duckdb", {"stream": "text"}))


def _stacked(axis: int) -> Callable[[Path, Vectors], Written]:
    def write(folder: Path, vectors: Vectors) -> Written:
        streams = {ref.stream for ref in vectors}
        return {
            stream: np.stack([a for ref, a in vectors.items() if ref.stream == stream], axis)
            for stream in streams
        }, {"layer_axis": axis}

    return write


def _stacked_npz(folder: Path, vectors: Vectors) -> Written:
    arrays, options = _stacked(0)(folder, vectors)
    np.savez_compressed(folder / "a.npz", **arrays)
    return folder / "a.npz", options | {"pattern": "{stream}"}


def _memmaps(folder: Path, vectors: Vectors) -> Written:
    arrays: dict[str, Any] = {}
    for at, (name, array) in enumerate(_named(vectors).items()):
        np.save(folder / f"{name}.npy", array)
        path = folder / f"{name}.npy"
        arrays[name] = np.load(path, mmap_mode="r") if at % 2 else path
    return arrays, PATTERN


FORMATS = {
    "npy": _npy,
    "npz": _npz,
    "compressed npz": _compressed,
    "safetensors": _safetensors,
    "hdf5": _hdf5,
    "parquet lists": _parquet("list"),
    "parquet arrays": _parquet("fixed"),
    "parquet binary": _parquet("binary"),
    "parquet long": _long_parquet,
    "duckdb": _duckdb,
    "duckdb long": _long_duckdb,
    "stacked (n, L, d)": _stacked(1),
    "stacked (L, n, d)": _stacked(0),
    "stacked compressed": _stacked_npz,
    "memory maps and paths": _memmaps,
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_vectors_back(
    form: str, vectors: Vectors, store: Store, tmp_path: Path
) -> None:
    sources, options = FORMATS[form](tmp_path, vectors)
    run = store.add_run(sources, pooling="cls", **options)
    given = {
        ref: array for ref, array in vectors.items() if "long" not in form or ref.stream == "text"
    }
    assert {ref for ref, _ in run.captured()} == set(given)
    for ref, array in given.items():
        np.testing.assert_array_equal(run.vectors(ref.stream, ref), array, err_msg=str(ref))


def test_bfloat16_becomes_the_same_numbers_as_float32(store: Store, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    tensor = torch.randn(60, 4).to(torch.bfloat16)
    save_torch({"text-0-cls": tensor}, tmp_path / "a.safetensors")
    run = store.add_run(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(run.vectors("text", 0), tensor.float().numpy())


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize(
    "form", [name for name in FORMATS if "stacked (" not in name and "memory" not in name]
)
def test_a_file_that_is_cut_short_is_one_line_that_names_it_and_leaves_nothing(
    form: str, vectors: Vectors, store: Store, tmp_path: Path
) -> None:
    sources, options = FORMATS[form](tmp_path, vectors)
    path = sorted(sources.rglob("*.npy"))[0] if sources.is_dir() else sources
    _cut(path)
    with pytest.raises(InputError, match=path.name):
        store.add_run(sources, **options)
    assert not list(store.path.rglob("*"))


def test_a_compressed_array_that_was_changed_leaves_nothing(
    vectors: Vectors, store: Store, tmp_path: Path
) -> None:
    path, options = _compressed(tmp_path, vectors)
    with zipfile.ZipFile(path) as archive:
        last = archive.infolist()[-1]
    raw = bytearray(path.read_bytes())
    raw[last.header_offset + last.compress_size] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(InputError, match=last.filename.removesuffix(".npy")):
        store.add_run(path, **options)
    assert not list(store.paths.runs.glob("*"))


def test_pickled_objects_are_refused_unread(store: Store, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    np.save(tmp_path / "text-0-cls.npy", np.array([Bomb()] * 3, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="never unpickled"):
        store.add_run(tmp_path / "text-0-cls.npy")
    assert not (tmp_path / "exploded").exists()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(store: Store, tmp_path: Path) -> None:
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1), np.float32))
    rows = 300 * 2**20 // 4
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("text-0-cls.npy", "w", force_zip64=True) as stream,
    ):
        np.lib.format.write_array_header_1_0(stream, header | {"shape": (rows, 1)})
        for _ in range(300):
            stream.write(bytes(2**20))
    with pytest.raises(InputError, match="zip bomb"):
        store.add_run(tmp_path / "a.npz")


def test_a_duckdb_file_of_a_newer_version_is_one_line(
    vectors: Vectors, store: Store, tmp_path: Path
) -> None:
    path, options = _duckdb(tmp_path, vectors)
    raw = bytearray(path.read_bytes())
    raw[12:20] = struct.pack("<Q", struct.unpack("<Q", raw[12:20])[0] + 1)
    checksum = 5381  # DuckDB's own, over the header behind it
    for (word,) in struct.iter_unpack("<Q", raw[8:4096]):
        checksum ^= word * 0xBF58476D1CE4E5B9 % 2**64
    raw[:8] = struct.pack("<Q", checksum)
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"a\.duckdb.*newer"):
        store.add_run(path, **options)


def test_a_duckdb_file_reads_nothing_but_itself(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("id,layer\n1,2\n")
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        path = tmp_path / "secret.csv"
        connection.execute(f"CREATE VIEW acts AS FROM '{path}'")
    with pytest.raises(InputError, match="has no table"):
        store.add_run(tmp_path / "a.duckdb", stream="text")


def test_hdf5_that_points_into_another_file_is_refused(store: Store, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.zeros((3, 2), np.float32)
    layout = h5py.VirtualLayout((3, 2), np.float32)
    layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "x", (3, 2))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("text-0-cls", layout)
    with pytest.raises(InputError, match="another file"):
        store.add_run(tmp_path / "a.h5")


def test_hdf5_without_its_library_says_what_to_install(
    vectors: Vectors, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.h5").write_bytes(b"\x89HDF")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"needs h5py.*pip install 'fusionscope\[hdf5\]'"):
        store.add_run(tmp_path / "a.h5")
