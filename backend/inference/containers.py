"""The files of uploaded pictures, taken apart: what they say they hold, and the pixels alone.

A decoder reads more of a file than its pixels: texts and profiles that unpack to many times their
size, EXIF directories of thousands of entries, frames without end, scans that paint the same
pixels again. So only what a first frame needs is handed on, part by part, and everything else is
never looked at. Sources: PNG 3rd edition (W3C), ITU-T T.81 (JPEG), RFC 9649 (WebP), GIF89a,
Windows bitmap headers, Exif 2.32 (CIPA DC-008).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAX_PARTS = 200_000
MAX_SCANS = 64


class BrokenFileError(Exception):
    """The file is damaged, cut off, or put together in a way that no ordinary program writes."""


@dataclass(frozen=True)
class Contents:
    """What is in the file of a picture.

    ``data`` is a file of the same format with the first frame and nothing but what its pixels
    need. ``width`` and ``height`` are pixels, as the header claims them and before any turning;
    ``frames`` is counted, ``orientation`` is that of EXIF (1 to 8), ``bits`` are those of one
    channel, ``channels`` 4 is CMYK in a JPEG.
    """

    data: bytes
    width: int
    height: int
    frames: int = 1
    orientation: int = 1
    bits: int = 8
    channels: int = 3


def contents(data: bytes) -> Contents | None:
    """Take a PNG, JPEG, WebP, GIF or BMP file apart, without decoding; None for any other.

    The first bytes tell the format. Raises :class:`BrokenFileError`, also for a file of more than
    ``MAX_PARTS`` parts (chunks, segments, blocks), a JPEG of more than ``MAX_SCANS`` scans and a
    run-length coded bitmap, which cost time out of proportion to their size.
    """
    for magic, take_apart in _FORMATS.items():
        if magic.match(data):
            try:
                return take_apart(data)
            except (struct.error, IndexError) as error:
                raise BrokenFileError(f"ends within a header: {error}") from error
    return None


_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


def _png(data: bytes) -> Contents:
    length, name, width, height, bits = struct.unpack_from(">I4sIIB", data, 8)
    if (length, name) != (13, b"IHDR"):
        raise BrokenFileError("no header first")
    kept = [data[:8]]
    frames, still, orientation = 0, False, 1
    for name, start, end in _png_chunks(data):
        if name in _PNG_KEPT and not (name == b"IHDR" and len(kept) > 1):
            kept.append(data[start:end])
        if name == b"IDAT" and not frames:
            still = True  # a picture beside the animation, for programs that do not play it
        elif name == b"fcTL":
            frames += 1
        elif name == b"eXIf":
            orientation = exif_orientation(data[start + 8 : end - 4])
    if frames and still:
        frames += 1
    return Contents(b"".join(kept), width, height, max(1, frames), orientation, bits)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each chunk, length and checksum included."""
    start = 8
    for _ in range(MAX_PARTS):
        if start + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, start)
        yield name, start, start + 12 + length
        if name == b"IEND":
            return
        start += 12 + length
    raise BrokenFileError("too many chunks")


_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # none of these begins a JPEG segment
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TABLES = (0xC4, 0xCC, 0xDB, 0xDD)
_COLOURS = {0xE0: b"JFIF\0", 0xEE: b"Adobe"}


def _jpeg(data: bytes) -> Contents:
    kept = [data[:2]]
    frame: tuple[int, int, int, int] | None = None
    scans, orientation = 0, 1
    for marker, start, body, end in _jpeg_segments(data):
        if marker in _FRAME_HEADERS:
            if frame is not None:
                raise BrokenFileError("two frame headers")
            frame = struct.unpack_from(">BHHB", data, body)
        elif marker == _SOS:
            scans += 1
            if scans > MAX_SCANS:
                raise BrokenFileError("too many scans")
        elif marker == 0xE1 and data[body : body + 6] == b"Exif\0\0":
            orientation = exif_orientation(data[body + 6 : end])
        # Adobe and JFIF segments say how the channels are to be read.
        colours = marker in _COLOURS and data.startswith(_COLOURS[marker], body)
        if colours or marker in _FRAME_HEADERS or marker in (*_TABLES, _SOS, _EOI):
            kept.append(data[start:end])
    if frame is None:
        raise BrokenFileError("no frame header")
    bits, height, width, channels = frame
    return Contents(b"".join(kept), width, height, 1, orientation, bits, channels)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(marker, start, start of the body, end); a scan's coded pixels belong to its segment."""
    end = 2
    for _ in range(MAX_PARTS):
        match = _MARKER.search(data, end)
        if match is None:
            return
        start, body = match.span()
        marker = data[start + 1]
        if marker == _EOI:
            yield marker, start, body, body
            return
        if marker in (_SOI, _TEM):
            end = body
            continue
        (length,) = struct.unpack_from(">H", data, body)
        end = body + length
        if marker == _SOS:
            following = _MARKER.search(data, end)
            end = len(data) if following is None else following.start()
        yield marker, start, body + 2, end
    raise BrokenFileError("too many segments")


_WEBP_ALPHA, _WEBP_ANIMATION = 0x10, 0x02


def _webp(data: bytes) -> Contents:
    first, length = struct.unpack_from("<4sI", data, 12)
    start = 20
    if first != b"VP8X":
        width, height = _webp_size(first, data, start)
        return Contents(_riff([data[12 : start + length + length % 2]]), width, height)
    flags = data[start]
    width, height = (1 + int.from_bytes(data[start + k : start + k + 3], "little") for k in (4, 7))
    animated = bool(flags & _WEBP_ANIMATION)
    header = bytes([flags & (_WEBP_ALPHA | _WEBP_ANIMATION)]) + data[start + 1 : start + 10]
    kept = [b"VP8X" + struct.pack("<I", 10) + header]
    wanted = {b"ANIM", b"ANMF"} if animated else {b"ALPH", b"VP8 ", b"VP8L"}
    frames, orientation = 0, 1
    for name, start, end in _webp_chunks(data):
        if name in wanted:
            kept.append(data[start - 8 : end + (end - start) % 2])
            wanted -= {name}
        if name == b"ANMF":
            frames += 1
        elif name == b"EXIF":
            orientation = exif_orientation(data[start:end].removeprefix(b"Exif\0\0"))
    return Contents(_riff(kept), width, height, max(1, frames * animated), orientation)


def _webp_size(name: bytes, data: bytes, start: int) -> tuple[int, int]:
    """Width and height of a still picture's only chunk, lossy or lossless."""
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, start + 6)
        return width & 0x3FFF, height & 0x3FFF
    (packed,) = struct.unpack_from("<I", data, start + 1)
    return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of the body of each chunk."""
    start = 12
    for _ in range(MAX_PARTS):
        if start + 8 > len(data):
            return
        name, length = struct.unpack_from("<4sI", data, start)
        yield name, start + 8, start + 8 + length
        start += 8 + length + length % 2
    raise BrokenFileError("too many chunks")


def _riff(chunks: list[bytes]) -> bytes:
    """A WebP file of these chunks."""
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _gif(data: bytes) -> Contents:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _table_bytes(flags)
    kept = [data[:at]]
    control, frames, parts = b"", 0, 0
    while at < len(data) and data[at] != 0x3B:
        start = at
        if data[at] == 0x21:
            at += 2
        elif data[at] == 0x2C:
            frames += 1
            left, top, across, down, flags = struct.unpack_from("<HHHHB", data, at + 1)
            at += 11 + _table_bytes(flags)
        else:
            break  # Pillow looks for the next block after junk; here the file ends
        while at < len(data) and data[at]:
            at += 1 + data[at]
            parts += 1
            if parts > MAX_PARTS:
                raise BrokenFileError("too many blocks")
        at += 1
        parts += 1
        if data[start : start + 2] == b"!\xf9":
            control = data[start:at]
        elif data[start] == 0x2C and frames == 1:
            kept += [control, data[start:at]]
            width, height = max(width, left + across), max(height, top + down)
    if not frames:
        raise BrokenFileError("no frame")
    return Contents(b"".join([*kept, b";"]), width, height, frames)


def _table_bytes(flags: int) -> int:
    """Bytes of the colour table that a GIF's flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _bmp(data: bytes) -> Contents:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return Contents(data, width, height)
    width, height, _, _, compression = struct.unpack_from("<iiHHI", data, 18)
    if compression not in (0, 3):
        raise BrokenFileError("a compressed bitmap")
    return Contents(data, width, abs(height))


_FORMATS: dict[re.Pattern[bytes], Callable[[bytes], Contents]] = {
    re.compile(rb"\x89PNG\r\n\x1a\n"): _png,
    re.compile(rb"\xff\xd8\xff"): _jpeg,
    re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL): _webp,
    re.compile(rb"GIF8[79]a"): _gif,
    re.compile(rb"BM"): _bmp,
}


def exif_orientation(exif: bytes) -> int:
    """Tag 274 (a SHORT) of the first directory, 1 to 8; 1, upright, where there is none.

    Nothing else of the directory is read, and nothing outside it.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, at)
        for entry in range(entries):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, at + 2 + 12 * entry)
            if (tag, kind) == (274, 3):
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
