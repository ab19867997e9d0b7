"""Reading recordings that came from outside."""

from __future__ import annotations

import io
from pathlib import Path
from struct import error as struct_error

import numpy as np

from backend.data.images import DecodeError
from backend.data.sample import Audio

MAX_BYTES = 512 * 2**20
_UNKNOWN_LENGTH = 0xFFFFFFFF  # what a program that writes to a pipe puts into the header

# What scipy raises on damaged files; anything else would be a fault to hear about.
_DAMAGE = (
    ValueError,
    OverflowError,
    ZeroDivisionError,
    TypeError,
    MemoryError,
    UnboundLocalError,  # a file without a data chunk
    struct_error,
)


def read_wav(path: Path) -> Audio:
    """A WAV file as mono float32 in -1..1: integers of any width scaled, channels averaged.

    At most ``MAX_BYTES`` are read. Raises :class:`DecodeError` for another format, for a file that
    is cut short or empty, and for values that are no numbers.
    """
    from scipy.io import wavfile

    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DecodeError(f"{size:,} bytes, at most {MAX_BYTES:,} are read")
        raw = path.read_bytes()
    except OSError as error:
        raise DecodeError(error.strerror or str(error)) from error
    if raw[:4] not in (b"RIFF", b"RIFX", b"RF64") or raw[8:12] != b"WAVE":
        raise DecodeError("not a WAV file")
    declared = int.from_bytes(raw[4:8], "big" if raw[:4] == b"RIFX" else "little")
    if declared == _UNKNOWN_LENGTH and raw[:4] == b"RIFF":
        raw = raw[:4] + (len(raw) - 8).to_bytes(4, "little") + raw[8:]
    elif declared != _UNKNOWN_LENGTH and declared + 8 > len(raw):
        raise DecodeError(f"cut short: {len(raw):,} of {declared + 8:,} bytes")
    try:
        rate, values = wavfile.read(io.BytesIO(raw))
    except _DAMAGE as error:
        raise DecodeError(f"a WAV file that cannot be read: {str(error)[:120]}") from error
    if not values.size or rate < 1:
        raise DecodeError("no samples in it")
    if values.dtype.kind == "u":
        half = 2.0 ** (8 * values.itemsize - 1)
        samples = (values.astype(np.float32) - half) / half
    elif values.dtype.kind == "i":
        samples = values.astype(np.float32) / 2.0 ** (8 * values.itemsize - 1)
    else:
        samples = values.astype(np.float32)
    if not np.isfinite(samples).all():
        raise DecodeError("values that are no finite numbers")
    return Audio(samples if samples.ndim == 1 else samples.mean(axis=1), int(rate))
