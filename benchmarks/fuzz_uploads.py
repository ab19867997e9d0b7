"""Damaged pictures and odd captions: each must end as a value or as one friendly sentence.

    uv run python benchmarks/fuzz_uploads.py --cases 20000
    uv run python benchmarks/fuzz_uploads.py --cases 1 --first 4711     # one case again

Valid files of every format (animated, progressive, 16-bit, CMYK, with EXIF) are damaged: bits
flipped, cut off, pieces swapped within a file and between two, numbers in headers set to extremes,
PNG chunks changed under a right checksum, random bytes with and without a right beginning.
Captions are random characters of every kind. Printed are the counts by damage and outcome, the
slowest case and the peak memory; anything but a value or an InputError ends the run with the
number of its case.
"""

from __future__ import annotations

import argparse
import io
import resource
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable

import numpy as np
from PIL import Image

from backend.errors import InputError
from backend.inference.uploads import read_caption, read_picture

_EXTREMES = (b"\0", b"\x01", b"\x7f", b"\x80", b"\xfe", b"\xff")
_MAGIC = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"\xff\xd8\xff\xe0",
    b"\xff\xd8\xff\xc2\0\x11\x08\0\x20\0\x20\x03",
    b"RIFF\xff\xff\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x1f\0\0\x1f\0\0ANMF",
    b"RIFF\xff\xff\0\0WEBPVP8L",
    b"GIF89a\x20\0\x20\0\0\0\0,\0\0\0\0\x20\0\x20\0\0\x08",
    b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
)
_CHARACTERS = (
    (0, 0x20),
    (0x20, 0x7F),
    (0x80, 0xA0),
    (0x5D0, 0x700),
    (0x200B, 0x2070),
    (0x900, 0x980),
    (0xD800, 0xE000),
    (0xFDD0, 0xFE10),
    (0xFFF0, 0x10000),
    (0x1F300, 0x1FAFF),
    (0xE0000, 0xE01F0),
    (0, 0x110000),
)


def valid_files() -> dict[str, bytes]:
    """Small files of every format and of what is odd in it, by name."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(rng.integers(0, 256, (24, 32), dtype=np.uint8)))
    grey = Image.fromarray(rng.integers(0, 65536, (24, 32), dtype=np.uint16))
    palette = rgb.quantize(32)
    frames = [rgb, rgb.rotate(180), rgb.rotate(180).transpose(Image.Transpose.TRANSPOSE)]
    frames = [frame.resize(rgb.size) for frame in frames]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    moving = {"save_all": True, "append_images": frames[1:]}

    def saved(image: Image.Image, kind: str, **options: object) -> bytes:
        out = io.BytesIO()
        image.save(out, kind, **options)  # type: ignore[arg-type]
        return out.getvalue()

    return {
        "png": saved(rgb, "PNG", exif=exif),
        "png rgba": saved(rgba, "PNG", icc_profile=bytes(500)),
        "png 16 bits": saved(grey, "PNG"),
        "png palette": saved(palette, "PNG", transparency=bytes(range(32))),
        "png animated": saved(rgb, "PNG", **moving),
        "jpeg": saved(rgb, "JPEG", exif=exif, comment=b"a comment"),
        "jpeg progressive": saved(rgb, "JPEG", progressive=True),
        "jpeg cmyk": saved(rgb.convert("CMYK"), "JPEG", icc_profile=bytes(500)),
        "webp": saved(rgb, "WEBP", method=0),
        "webp exif": saved(rgba, "WEBP", exif=exif, method=0),
        "webp lossless": saved(rgba, "WEBP", lossless=True, method=0),
        "webp animated": saved(rgba, "WEBP", method=0, **moving),
        "gif": saved(palette, "GIF", transparency=3, comment=b"a comment"),
        "gif animated": saved(palette, "GIF", **moving),
        "bmp": saved(rgb, "BMP"),
        "bmp palette": saved(palette, "BMP"),
    }


Damage = Callable[[np.random.Generator, list[bytes]], bytes]


def _one(rng: np.random.Generator, files: list[bytes]) -> bytearray:
    return bytearray(files[rng.integers(len(files))])


def _place(rng: np.random.Generator, data: bytes | bytearray) -> int:
    """A place in the data; every second time in its first 64 bytes."""
    return int(rng.integers(min(64, len(data)) if rng.random() < 0.5 else len(data)))


def flipped_bits(rng: np.random.Generator, files: list[bytes]) -> bytes:
    """1 to 8 bits flipped."""
    data = _one(rng, files)
    for _ in range(rng.integers(1, 9)):
        data[_place(rng, data)] ^= 1 << int(rng.integers(8))
    return bytes(data)


def cut_off(rng: np.random.Generator, files: list[bytes]) -> bytes:
    """The beginning of a file."""
    data = _one(rng, files)
    return bytes(data[: _place(rng, data)])


def swapped_pieces(rng: np.random.Generator, files: list[bytes]) -> bytes:
    """Two neighbouring pieces in the other order."""
    data = bytes(_one(rng, files))
    a, b, c = sorted(_place(rng, data) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def spliced(rng: np.random.Generator, files: list[bytes]) -> bytes:
    """The beginning of one file and the end of another one."""
    first, second = bytes(_one(rng, files)), bytes(_one(rng, files))
    return first[: _place(rng, first)] + second[_place(rng, second) :]


def repeated_piece(rng: np.random.Generator, files: list[bytes]) -> bytes:
    """A piece of up to 200 bytes, 2 to 2,000 times."""
    data = bytes(_one(rng, files))
    start = _place(rng, data)
    end = start + int(rng.integers(1, 201))
    return data[:start] + data[start:end] * int(rng.integers(2, 2001)) + data[end:]


def extreme_numbers(rng: np.random.Generator, files: list[bytes]) -> bytes:
    """1 to 4 numbers of 1 to 4 bytes set to the largest, the smallest or one about halfway."""
    data = _one(rng, files)
    for _ in range(rng.integers(1, 5)):
        start, width = _place(rng, data), int(rng.integers(1, 5))
        data[start : start + width] = _EXTREMES[rng.integers(len(_EXTREMES))] * width
    return bytes(data)


def signed_chunks(rng: np.random.Generator, files: list[bytes]) -> bytes:
    """A PNG with changed chunks, left out ones and twice there, checksums right."""
    pngs = [data for data in files if data.startswith(b"\x89PNG")]
    data = bytes(_one(rng, pngs))
    parts, start = [], 8
    while start < len(data):
        length, name = struct.unpack_from(">I4s", data, start)
        body = bytearray(data[start + 8 : start + 8 + length])
        if body and rng.random() < 0.4:
            body[rng.integers(len(body))] = rng.integers(256)
        checksum = struct.pack(">I", zlib.crc32(name + body))
        parts += [struct.pack(">I", length) + name + body + checksum] * int(rng.integers(0, 3) or 1)
        start += 12 + length
    if rng.random() < 0.3:
        rng.shuffle(parts)
    return data[:8] + b"".join(parts)


def random_bytes(rng: np.random.Generator, files: list[bytes]) -> bytes:
    """Up to 4,000 random bytes, mostly after a right beginning."""
    magic = b"" if rng.random() < 0.2 else _MAGIC[rng.integers(len(_MAGIC))]
    return magic + rng.bytes(int(rng.integers(4000)))


DAMAGES: tuple[Damage, ...] = (
    flipped_bits,
    cut_off,
    swapped_pieces,
    spliced,
    repeated_piece,
    extreme_numbers,
    signed_chunks,
    random_bytes,
)


def odd_caption(rng: np.random.Generator) -> str:
    """Up to 60 characters of every kind, one in twenty times a hundred times as many."""
    n = int(rng.integers(60)) * (100 if rng.random() < 0.05 else 1)
    ranges = np.array(_CHARACTERS)[rng.integers(len(_CHARACTERS), size=n)]
    return "".join(map(chr, rng.integers(ranges[:, 0], ranges[:, 1])))


def outcome(case: int, files: list[bytes]) -> tuple[str, str]:
    """(what was done, what came of it) of the case of that number: ``read`` or ``refused``.

    Whatever is raised beside InputError is a fault and is let through.
    """
    rng = np.random.default_rng(case)
    if case % 10 == 9:
        try:
            read_caption(odd_caption(rng)).text.encode()
        except InputError:
            return "caption", "refused"
        return "caption", "read"
    damage = DAMAGES[rng.integers(len(DAMAGES))]
    try:
        picture = read_picture(damage(rng, files))
    except InputError:
        return damage.__name__, "refused"
    assert picture.image.mode == "RGB" and not picture.image.info
    return damage.__name__, "read"


def main() -> None:
    """Run the cases and print their counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    args = parser.parse_args()
    files = list(valid_files().values())
    counts: Counter[tuple[str, str]] = Counter()
    slowest = (0.0, args.first)
    begun = time.perf_counter()
    for case in range(args.first, args.first + args.cases):
        start = time.perf_counter()
        try:
            counts[outcome(case, files)] += 1
        except BaseException:
            print(f"case {case}", file=sys.stderr)
            raise
        slowest = max(slowest, (time.perf_counter() - start, case))
    print(f"{'damage':16} {'read':>8} {'refused':>8}")
    for name in sorted({name for name, _ in counts}):
        print(f"{name:16} {counts[name, 'read']:8,} {counts[name, 'refused']:8,}")
    scale = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale
    print(
        f"{args.cases:,} cases in {time.perf_counter() - begun:.0f} s; "
        f"the slowest {slowest[0]:.2f} s (case {slowest[1]}); peak memory {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
