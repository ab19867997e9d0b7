"""Reading what a detector made of an image: features and boxes of regions."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from backend.data.images import DecodeError
from backend.data.sample import Regions

MAX_BYTES = 256 * 2**20

# What numpy and zipfile raise on damaged files; anything else would be a fault to hear about.
_DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    MemoryError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_regions(path: Path) -> Regions:
    """``features`` (R, d) and ``boxes`` (R, 4) of an .npz or .safetensors file, as float32.

    Boxes are left, top, right, bottom in pixels of the image. At most ``MAX_BYTES`` are read, and
    nothing is unpickled. Raises :class:`DecodeError` for another format, a damaged file, arrays
    that are missing or of other shapes, and values that are no numbers.
    """
    readers: dict[str, Callable[[Path], tuple[np.ndarray, np.ndarray]]] = {
        ".npz": _npz,
        ".safetensors": _safetensors,
    }
    read = readers.get(path.suffix)
    if read is None:
        raise DecodeError("neither an .npz nor a .safetensors file")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DecodeError(error.strerror or str(error)) from error
    if size > MAX_BYTES:
        raise DecodeError(f"{size:,} bytes, at most {MAX_BYTES:,} are read")
    features, boxes = read(path)
    for name, values in (("features", features), ("boxes", boxes)):
        if values.dtype.kind not in "fiu":
            raise DecodeError(f"{name} are of type {values.dtype}, not numbers")
    if features.ndim != 2 or not features.size:
        raise DecodeError(f"features are of shape {features.shape}, not (regions, d)")
    if boxes.shape != (len(features), 4):
        raise DecodeError(f"boxes are of shape {boxes.shape}, not ({len(features)}, 4)")
    features, boxes = features.astype(np.float32), boxes.astype(np.float32)
    if not (np.isfinite(features).all() and np.isfinite(boxes).all()):
        raise DecodeError("values that are no finite numbers")
    if (boxes[:, :2] > boxes[:, 2:]).any():
        raise DecodeError("boxes are not left, top, right, bottom")
    return Regions(features, boxes)


def _npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
        if unpacked > MAX_BYTES:
            raise DecodeError(f"{unpacked:,} bytes unpacked, at most {MAX_BYTES:,} are read")
        with np.load(path, allow_pickle=False) as arrays:
            _require(set(arrays.files))
            return arrays["features"], arrays["boxes"]
    except _DAMAGE as error:
        raise DecodeError(f"not an .npz file that can be read: {str(error)[:120]}") from error


def _safetensors(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as arrays:
            _require(set(arrays.keys()))
            return arrays.get_tensor("features"), arrays.get_tensor("boxes")
    except (*_DAMAGE, SafetensorError) as error:
        raise DecodeError(
            f"not a .safetensors file that can be read: {str(error)[:120]}"
        ) from error


def _require(names: set[str]) -> None:
    missing = [name for name in ("features", "boxes") if name not in names]
    if missing:
        raise DecodeError(f"no array {' or '.join(missing)} in it")
