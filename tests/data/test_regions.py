from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from backend.data import regions
from backend.data.images import DecodeError
from backend.data.regions import read_regions

FEATURES = np.arange(12.0).reshape(3, 4)
BOXES = np.array([[0, 0, 4, 3], [1, 1, 8, 6], [2, 0, 3, 1]])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_both_formats_give_the_same_float32(tmp_path: Path, ending: str, dtype: type):
    path = tmp_path / f"a.{ending}"
    arrays = {"features": FEATURES.astype(dtype), "boxes": BOXES}
    np.savez(path, **arrays) if ending == "npz" else save_file(arrays, path)
    read = read_regions(path)
    assert read.features.dtype == read.boxes.dtype == np.float32
    np.testing.assert_array_equal(read.features, FEATURES)
    np.testing.assert_array_equal(read.boxes, BOXES)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": FEATURES}, "no array boxes in it"),
        ({"vectors": FEATURES}, "no array features or boxes in it"),
        ({"features": FEATURES[0], "boxes": BOXES}, r"features are of shape \(4,\)"),
        ({"features": FEATURES[:0], "boxes": BOXES[:0]}, r"features are of shape \(0, 4\)"),
        ({"features": FEATURES, "boxes": BOXES[:2]}, r"boxes are of shape \(2, 4\), not \(3, 4\)"),
        ({"features": FEATURES, "boxes": BOXES.T}, r"boxes are of shape \(4, 3\)"),
        ({"features": FEATURES, "boxes": BOXES[:, ::-1]}, "not left, top, right, bottom"),
        ({"features": FEATURES * np.nan, "boxes": BOXES}, "no finite numbers"),
        ({"features": FEATURES.astype(str), "boxes": BOXES}, "features are of type"),
        ({"features": FEATURES.astype(object), "boxes": BOXES}, "can be read"),
    ],
)
def test_arrays_that_are_missing_or_of_other_shapes_are_one_line(tmp_path: Path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DecodeError, match=message) as caught:
        read_regions(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)


def test_an_object_array_is_not_unpickled(tmp_path: Path):
    class Told:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "unpickled",))

    np.savez(tmp_path / "a.npz", features=np.array([Told()], dtype=object), boxes=BOXES)
    with pytest.raises(DecodeError):
        read_regions(tmp_path / "a.npz")
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
@pytest.mark.parametrize("raw", [b"", b"nonsense", b"\x93NUMPY\x01\x00"])
def test_a_damaged_file_is_one_line(tmp_path: Path, ending: str, raw: bytes):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(raw)
    with pytest.raises(DecodeError, match="that can be read"):
        read_regions(path)


def test_another_ending_and_too_large_a_file_are_refused(tmp_path: Path, monkeypatch):
    with pytest.raises(DecodeError, match=r"neither an \.npz nor a \.safetensors file"):
        read_regions(tmp_path / "a.npy")
    np.savez_compressed(tmp_path / "a.npz", features=np.zeros((1000, 100)), boxes=np.zeros(4000))
    monkeypatch.setattr(regions, "MAX_BYTES", 100_000)
    with pytest.raises(DecodeError, match="bytes unpacked, at most 100,000 are read"):
        read_regions(tmp_path / "a.npz")
