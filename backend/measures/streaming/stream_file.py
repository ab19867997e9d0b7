"""A stream's sums as one .npz of plain arrays: nothing in it is pickled, on either way.

``widths`` (L,), ``tracked`` (P, 2), ``counts`` = (version, n), ``scalars`` = (eps of the products),
``squares`` and ``eps`` (L,), ``w`` (P,); of each layer ``s-i`` and ``shift-i``; of each pair
``c-i-j``, ``u-i-j``, ``v-i-j``. Every number is float64 or int64, so what is read is what was kept.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from backend.errors import InputError
from backend.measures.core.base import Float64
from backend.measures.streaming.stream_sums import Pair, Side, Sums, tracked_pairs

VERSION = 1


def write_sums(sums: Sums, path: Path) -> None:
    """Write ``path`` in one step (an older file is replaced); InputError if the disk refuses."""
    # Here and not above: the store's libraries are not needed to measure arrays.
    from backend.store.files import published

    arrays: dict[str, np.ndarray] = {
        "counts": np.array([VERSION, sums.n], dtype=np.int64),
        "scalars": np.array([sums.eps]),
        "widths": np.array([len(side.s) for side in sums.sides], dtype=np.int64),
        "tracked": np.array(list(sums.pairs), dtype=np.int64).reshape(-1, 2),
        "squares": np.array([side.squares for side in sums.sides]),
        "eps": np.array([side.eps for side in sums.sides]),
        "w": np.array([pair.w for pair in sums.pairs.values()]),
    }
    for i, side in enumerate(sums.sides):
        arrays |= {f"s-{i}": side.s, f"shift-{i}": side.shift}
    for (i, j), pair in sums.pairs.items():
        arrays |= {f"c-{i}-{j}": pair.c, f"u-{i}-{j}": pair.u, f"v-{i}-{j}": pair.v}
    with published(path, replace=True) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)


def read_sums(path: Path) -> Sums:
    """What :func:`write_sums` wrote; InputError for a missing, damaged or unknown file."""
    try:
        arrays = np.load(path, allow_pickle=False)
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise ValueError("one array")
        with arrays:
            return _sums(arrays)
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"not the sums of a stream ({first})", where=str(path)) from error


def _sums(arrays: Mapping[str, np.ndarray]) -> Sums:
    version, n = (int(count) for count in arrays["counts"])
    if version != VERSION or n < 0:
        raise ValueError(f"version {version}, n = {n}")
    widths = [int(width) for width in arrays["widths"]]
    tracked = [(int(i), int(j)) for i, j in arrays["tracked"]]
    if tracked != tracked_pairs(tracked, len(widths)):
        raise ValueError("the pairs are not those of the layers")
    (eps,) = _checked(arrays, "scalars", (1,))
    squares, epses = (_checked(arrays, name, (len(widths),)) for name in ("squares", "eps"))
    w = _checked(arrays, "w", (len(tracked),))
    sides = [
        Side(
            _checked(arrays, f"shift-{i}", (d,)),
            _checked(arrays, f"s-{i}", (d,)),
            float(squares[i]),
            float(epses[i]),
        )
        for i, d in enumerate(widths)
    ]
    pairs = {
        (i, j): Pair(
            _checked(arrays, f"c-{i}-{j}", (widths[i], widths[j])),
            _checked(arrays, f"u-{i}-{j}", (widths[j],)),
            _checked(arrays, f"v-{i}-{j}", (widths[i],)),
            float(w[at]),
        )
        for at, (i, j) in enumerate(tracked)
    }
    return Sums(n, sides, pairs, float(eps))


def _checked(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> Float64:
    array = arrays[name]
    if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
        raise ValueError(f"{name} is {array.dtype} {array.shape}, expected finite float64 {shape}")
    return array
