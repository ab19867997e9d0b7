from __future__ import annotations

import hashlib
import io
import logging
import struct
import subprocess
import sys
import time
import traceback
import unicodedata
import warnings
import zlib
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backend.data.images import decode
from backend.errors import InputError
from backend.inference import uploads
from backend.inference.containers import (
    MAX_SCANS,
    BrokenFileError,
    contents,
    exif_orientation,
)
from backend.inference.uploads import (
    MAX_BYTES,
    MAX_CHARACTERS,
    read_caption,
    read_picture,
)
from benchmarks.fuzz_uploads import DAMAGES, outcome, valid_files

SECRET = "Kestrel-7419"


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(width: int = 13, height: int = 9, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def pixels(picture: uploads.Picture) -> np.ndarray:
    return np.asarray(picture.image)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(values: np.ndarray, bits: int, colour: int, *chunks: bytes) -> bytes:
    """A PNG written out by hand: ``values`` (h, w) or (h, w, c), ``chunks`` before the pixels."""
    height, width = values.shape[:2]
    rows = values.astype(">u2" if bits == 16 else "u1").reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = [chunk(b"IHDR", head), *chunks, chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def refusal(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read_picture(data)
    text = str(caught.value)
    assert text.startswith("picture: ") and text.endswith(".") and "\n" not in text
    return text


def tiff(
    entries: list[tuple[int, int, int, bytes]], order: str = ">", entry_count: int = 0
) -> bytes:
    """A TIFF directory of (tag, type, count, 4 bytes of value)."""
    head = b"MM\0*" if order == ">" else b"II*\0"
    body = b"".join(struct.pack(f"{order}HHI", *entry[:3]) + entry[3] for entry in entries)
    count = entry_count or len(entries)
    return head + struct.pack(f"{order}IH", 8, count) + body + b"\0\0\0\0"


# --- formats


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
def test_lossless_formats_give_the_pixels_that_were_saved(kind):
    values = noise()
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = read_picture(saved(Image.fromarray(values), kind, **options))
    np.testing.assert_array_equal(pixels(picture), values)
    assert picture.notes == ()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_gives_what_pillow_makes_of_it(options):
    data = saved(Image.fromarray(noise(40, 30)), "JPEG", **options)
    np.testing.assert_array_equal(
        pixels(read_picture(data)), np.asarray(Image.open(io.BytesIO(data)))
    )


def test_an_adobe_marker_says_that_the_channels_of_a_jpeg_are_rgb():
    values = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    data = bytearray(saved(Image.fromarray(values), "JPEG", keep_rgb=True, quality=95))
    assert b"Adobe" in data
    for marker, first, step in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        for channel in range(3):  # by the names R, G and B they would be known without a marker
            data[data.index(marker) + first + step * channel] = 1 + channel
    np.testing.assert_allclose(pixels(read_picture(bytes(data))), values, atol=3)


def test_a_gif_gives_its_palettes_colours():
    palette = Image.fromarray(noise()).quantize(16)
    picture = read_picture(saved(palette, "GIF"))
    np.testing.assert_array_equal(pixels(picture), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("name", valid_files())
def test_the_pixels_are_those_that_stored_samples_are_decoded_to(name):
    data = valid_files()[name]
    stored = decode(io.BytesIO(data))
    np.testing.assert_array_equal(pixels(read_picture(data)), np.asarray(stored))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_every_mode_becomes_rgb_without_metadata(mode):
    picture = read_picture(saved(Image.new(mode, (3, 2)), "PNG"))
    assert (picture.image.mode, picture.image.size, picture.image.info) == ("RGB", (3, 2), {})


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"<?xml version='1.0'?><svg onload='alert(1)'/>", "an SVG drawing"),
        (b"\xef\xbb\xbf\n <SVG xmlns='x'></SVG>", "an SVG drawing"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "a HEIC or AVIF picture"),
        (b"<html>an <img src=x></html>", "not a PNG, JPEG, WebP, GIF or BMP picture"),
        (b"%PDF-1.7 <svg", "not a PNG, JPEG, WebP, GIF or BMP picture"),
        (saved(Image.new("RGB", (4, 4)), "TIFF"), "not a PNG, JPEG, WebP, GIF or BMP picture"),
        (saved(Image.new("RGB", (4, 4)), "PPM"), "not a PNG, JPEG, WebP, GIF or BMP picture"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(30), "not a PNG, JPEG, WebP, GIF or BMP picture"),
        (b"PK\x03\x04" + bytes(30), "not a PNG, JPEG, WebP, GIF or BMP picture"),
        (b"x", "not a PNG, JPEG, WebP, GIF or BMP picture"),
    ],
)
def test_other_files_are_refused_by_what_they_are(data, sentence):
    assert f"picture: {sentence}" in refusal(data)


def test_an_empty_file_is_refused():
    assert refusal(b"") == "picture: the file is empty. Choose another one."


@pytest.mark.parametrize("name", valid_files())
@pytest.mark.parametrize("share", [0.05, 0.15])
def test_a_file_that_ends_within_its_first_frame_is_refused(name, share):
    data = valid_files()[name]
    assert "damaged, cut off" in refusal(data[: int(len(data) * share)])


def test_a_bitmap_that_is_compressed_is_refused():
    plain = Image.fromarray(np.full((4, 4), 7, np.uint8)).quantize(4)
    data = bytearray(saved(plain, "BMP"))
    data[30] = 1  # run-length coded: four times "4 pixels of colour 0, end of line"
    start = int.from_bytes(data[10:14], "little")
    coded = bytes(data[:start]) + b"\4\0\0\0" * 4 + b"\0\1"
    assert decode(io.BytesIO(coded)).size == (4, 4)
    assert "of a kind that is not read" in refusal(coded)


# --- animations


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_read_and_said(kind):
    frames = [Image.fromarray(noise(seed=seed)) for seed in range(3)]
    options = {"lossless": True} if kind == "WEBP" else {}
    if kind == "GIF":
        frames = [frame.quantize(64) for frame in frames]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    picture = read_picture(data)
    np.testing.assert_array_equal(pixels(picture), np.asarray(frames[0].convert("RGB")))
    assert picture.notes == ("the first of 3 frames",)


def test_the_still_picture_beside_an_animated_png_is_read():
    frames = [Image.fromarray(noise(seed=seed)) for seed in range(3)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    picture = read_picture(data)
    np.testing.assert_array_equal(pixels(picture), np.asarray(frames[0]))
    assert picture.notes == ("the first of 3 frames",)


def test_a_gif_of_very_many_frames_costs_the_first_one():
    one = saved(Image.new("P", (4, 4)), "GIF")
    start = one.index(b",", 13)
    frame = one[start:-1]
    picture = read_picture(one[:start] + frame * 50_000 + b";")
    assert picture.notes == ("the first of 50,000 frames",)
    assert "damaged" in refusal(one[:start] + frame * 150_000 + b";")


# --- colours


INKS = np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 128, 64, 32], [10, 20, 30, 200], [0, 0, 0, 255]])


def cmyk_jpeg(**options: object) -> bytes:
    inks = np.repeat(np.repeat(INKS[None].astype(np.uint8), 16, axis=0), 16, axis=1)
    return saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=100, subsampling=0, **options)


def without_adobe(data: bytes) -> bytes:
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


@pytest.mark.parametrize("profile", [None, b"no profile at all" * 30])
@pytest.mark.parametrize("adobe", [True, False])
def test_cmyk_inks_are_subtracted_from_white_whether_or_not_there_is_a_profile(profile, adobe):
    data = cmyk_jpeg(icc_profile=profile) if profile else cmyk_jpeg()
    assert b"Adobe" in data
    if not adobe:
        data = without_adobe(data)
    picture = read_picture(data)
    inks = INKS / 255
    expected = 255 * (1 - inks[:, :3]) * (1 - inks[:, 3:])
    np.testing.assert_allclose(pixels(picture)[8, 8::16], expected, atol=4)
    assert picture.notes == ("CMYK as RGB, without a colour profile",)


SIXTEEN = np.random.default_rng(1).integers(0, 65536, (5, 7, 4))


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (3, 2)])
def test_sixteen_bits_keep_their_upper_eight(channels, colour):
    values = SIXTEEN[..., :channels]
    picture = read_picture(png(values, 16, colour))
    expected = np.broadcast_to(values >> 8, (*values.shape[:2], 3))
    np.testing.assert_array_equal(pixels(picture), expected)
    assert picture.notes == ("8 of its 16 bits a channel",)


@pytest.mark.parametrize(("channels", "colour"), [(2, 4), (4, 6)])
def test_sixteen_bits_with_transparency_are_put_on_white(channels, colour):
    values = SIXTEEN[..., :channels]
    picture = read_picture(png(values, 16, colour))
    alpha = (values[..., -1:] >> 8) / 255
    expected = (values[..., :-1] >> 8) * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(
        pixels(picture), np.broadcast_to(expected, (*values.shape[:2], 3)), atol=1.01
    )
    assert picture.notes == ("transparent parts on white", "8 of its 16 bits a channel")


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (3, 2)])
def test_the_transparent_colour_of_sixteen_bits_is_compared_in_sixteen_bits(channels, colour):
    values = SIXTEEN[..., :channels]
    key = values[2, 3]
    data = png(values, 16, colour, chunk(b"tRNS", key.astype(">u2").tobytes()))
    picture = read_picture(data)
    expected = np.broadcast_to(values >> 8, (*values.shape[:2], 3)).copy()
    expected[2, 3] = 255
    np.testing.assert_array_equal(pixels(picture), expected)


def test_a_palette_with_graded_transparency_is_put_on_white():
    colours = noise(1, 4).reshape(4, 3)
    alphas = np.array([0, 85, 170, 255])
    chunks = chunk(b"PLTE", colours.tobytes()), chunk(b"tRNS", bytes(alphas.tolist()))
    picture = read_picture(png(np.arange(4)[None], 8, 3, *chunks))
    share = alphas[:, None] / 255
    np.testing.assert_allclose(pixels(picture)[0], colours * share + 255 * (1 - share), atol=1)
    assert picture.notes == ("transparent parts on white",)


def test_an_alpha_channel_that_hides_nothing_is_not_remarked_on():
    values = noise(channels=4)
    values[..., 3] = 255
    picture = read_picture(saved(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(pixels(picture), values[..., :3])
    assert picture.notes == ()


def test_a_single_transparent_pixel_of_a_large_picture_is_remarked_on():
    values = np.full((1200, 900, 4), 255, np.uint8)
    values[0, 0] = 0
    picture = read_picture(saved(Image.fromarray(values), "PNG"))
    assert picture.notes == ("transparent parts on white",)


# --- turning


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(kind, orientation):
    blocks = noise(4, 3).repeat(16, axis=0).repeat(16, axis=1)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a maker", orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0}
    picture = read_picture(saved(Image.fromarray(blocks), kind, exif=exif, **options))
    upright = UPRIGHT[orientation](blocks)
    assert pixels(picture).shape == upright.shape
    tolerance = 0 if kind != "JPEG" else 12
    np.testing.assert_allclose(pixels(picture).astype(int), upright, atol=tolerance)
    assert picture.notes == (("turned upright as its EXIF says",) if orientation > 1 else ())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_is_made_smaller_says_so(kind: str) -> None:
    large = Image.new("RGB", (4_200, 4_100), (200, 90, 10))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read_picture(saved(large, kind, exif=exif))
    assert picture.image.size == (2_050, 2_100)
    assert picture.notes == (
        "made smaller, from 4,200 x 4,100 to 2,100 x 2,050 pixels",
        "turned upright as its EXIF says",
    )
    whole = read_picture(saved(large.crop((0, 0, 4_096, 4_096)), kind))
    assert whole.image.size == (4_096, 4_096) and whole.notes == ()


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_is_read_in_both_byte_orders(order):
    value = struct.pack(f"{order}HH", 8, 0)
    assert exif_orientation(tiff([(271, 2, 1, b"x\0\0\0"), (274, 3, 1, value)], order)) == 8


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II*\0",
        b"MM\0*\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"JUNK" + bytes(40),
        tiff([(274, 3, 1, b"\0\x09\0\0")]),
        tiff([(274, 3, 1, b"\0\0\0\0")]),
        tiff([(274, 2, 1, b"\0\x06\0\0")]),
        tiff([(271, 3, 1, b"\0\x06\0\0")]),
        tiff([(271, 3, 1, b"\0\x06\0\0")], entry_count=60_000),
    ],
)
def test_an_exif_directory_without_a_usable_orientation_turns_nothing(exif):
    assert exif_orientation(exif) == 1
    values = noise()
    picture = read_picture(png(values, 8, 2, chunk(b"eXIf", exif)))
    np.testing.assert_array_equal(pixels(picture), values)


def test_an_exif_directory_of_thousands_of_entries_is_not_unpacked():
    entries = [(1000 + k, 7, 40_000, struct.pack(">I", 60)) for k in range(5_000)]
    app1 = b"Exif\0\0" + tiff(entries)
    plain = saved(Image.fromarray(noise()), "JPEG")
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + plain[2:]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = read_picture(data)
    assert picture.digest == read_picture(plain).digest


# --- bombs and limits


def webp_claiming(chunk_name: bytes, body: bytes) -> bytes:
    inner = b"WEBP" + chunk_name + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def patched(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


def claiming(side: int) -> dict[str, bytes]:
    """Files of every format that claim ``side`` x ``side`` pixels and hold next to none."""
    small = Image.new("RGB", (8, 8))
    jpeg, gif = saved(small, "JPEG"), saved(small.quantize(4), "GIF")
    frame = gif.index(b",\0\0\0\0", 13)
    webp_side = (side - 1).to_bytes(3, "little")
    vp8 = b"\x30\x01\0\x9d\x01\x2a" + struct.pack("<HH", side, side) + bytes(40)
    packed = struct.pack("<I", (side - 1) | (side - 1) << 14)
    lines = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 1)
    return {
        "png interlaced": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", lines) + chunk(b"IDAT", b"x"),
        "jpeg": patched(jpeg, jpeg.index(b"\xff\xc0") + 5, struct.pack(">HH", side, side)),
        "webp canvas": webp_claiming(b"VP8X", b"\x02\0\0\0" + webp_side * 2),
        "webp lossy": webp_claiming(b"VP8 ", vp8),
        "webp lossless": webp_claiming(b"VP8L", b"\x2f" + packed + bytes(40)),
        "gif screen": patched(gif, 6, struct.pack("<HH", side, side)),
        "gif frame": patched(gif, frame + 5, struct.pack("<HH", side, side)),
        "bmp": patched(saved(small, "BMP"), 18, struct.pack("<ii", side, -side)),
        "bmp of OS/2": b"BM" + bytes(12) + struct.pack("<IHHHH", 12, side, side, 1, 24),
    }


@pytest.mark.parametrize("name", claiming(9_000))
def test_too_many_pixels_are_refused_by_the_header(name, monkeypatch):
    monkeypatch.setattr(uploads, "decode_with_remarks", None)  # it would be called in vain
    text = refusal(claiming(9_000)[name])
    assert text == "picture: 9,000 x 9,000 pixels, at most 25,000,000 are read. Make it smaller."


@pytest.mark.parametrize("side", [60_000])
@pytest.mark.parametrize("name", ["png interlaced", "jpeg", "gif screen", "bmp", "webp canvas"])
def test_the_largest_claims_are_refused_too(name, side):
    assert "60,000 x 60,000 pixels" in refusal(claiming(side)[name])


def test_a_hundred_megabytes_are_refused_unread(monkeypatch):
    monkeypatch.setattr(uploads, "contents", None)
    text = refusal(bytes(100_000_000))
    assert text == "picture: 100,000,000 bytes, at most 20,000,000 are read. Make it smaller."


def test_the_limit_of_bytes_itself_is_read():
    values = noise()
    data = png(values, 8, 2)
    np.testing.assert_array_equal(pixels(read_picture(data + bytes(MAX_BYTES - len(data)))), values)
    refusal(data + bytes(MAX_BYTES - len(data) + 1))


@pytest.mark.parametrize(("size", "accepted"), [((1, 1), True), ((1, 50), True), ((51, 1), False)])
def test_one_side_is_at_most_fifty_times_the_other(size, accepted):
    data = saved(Image.new("RGB", size, (3, 4, 5)), "PNG")
    if accepted:
        picture = read_picture(data)
        assert picture.image.size == size and picture.image.getpixel((0, 0)) == (3, 4, 5)
    else:
        refusal(data)


def test_a_line_of_20_000_pixels_is_refused_with_the_way_out():
    text = refusal(saved(Image.new("RGB", (1, 20_000)), "PNG"))
    assert text == (
        "picture: 1 x 20,000 pixels; a side may be 50 times the other at most. "
        "Cut out a part of it."
    )


@cache
def bomb() -> bytes:
    """A hundred megabytes of zeros, compressed."""
    return zlib.compress(bytes(100_000_000), 1)


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt", b"iCCP"])
def test_texts_and_profiles_that_unpack_to_a_hundred_megabytes_are_never_unpacked(name):
    body = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[name] + bomb()
    values = noise()
    data = png(values, 8, 2, chunk(name, body))
    inside = contents(data)
    assert inside is not None and name not in inside.data
    start = time.perf_counter()
    np.testing.assert_array_equal(pixels(read_picture(data)), values)
    assert time.perf_counter() - start < 1


def test_pixels_behind_the_last_row_are_not_unpacked():
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", bomb())
    start = time.perf_counter()
    assert pixels(read_picture(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))).tolist() == [
        [[0, 0, 0]]
    ]
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "data",
    [
        png(noise(), 8, 2, *[chunk(b"teXt", b"")] * 200_000),
        b"\xff\xd8\xff\xfe\0\2" + b"\xff\xfe\0\2" * 200_000 + saved(Image.new("L", (2, 2)), "JPEG"),
        webp_claiming(b"VP8X", b"\0\0\0\0" + b"\7\0\0" * 2 + b"EXIF\0\0\0\0" * 200_000),
        b"GIF89a\2\0\2\0\0\0\0" + b"!\xfe" + b"\1a" * 5_000_000,
    ],
    ids=["png", "jpeg", "webp", "gif"],
)
def test_a_file_of_hundreds_of_thousands_of_parts_is_refused_in_time(data):
    start = time.perf_counter()
    assert "damaged" in refusal(data)
    assert time.perf_counter() - start < 5


def test_a_jpeg_that_paints_its_pixels_again_and_again_is_refused():
    data = saved(Image.fromarray(noise(64, 64)), "JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    scans = data.count(b"\xff\xda")
    read_picture(data)
    repeated = data[:scan] + data[scan:-2] * (MAX_SCANS - scans + 2) + b"\xff\xd9"
    assert "damaged" in refusal(repeated)


@pytest.mark.parametrize("name", valid_files())
def test_only_one_frame_reaches_the_decoder(name):
    whole = contents(valid_files()[name])
    assert whole is not None
    handed_on = contents(whole.data)
    assert handed_on is not None
    assert (handed_on.frames, handed_on.orientation, handed_on.data) == (1, 1, whole.data)
    assert (handed_on.width, handed_on.height) == (whole.width, whole.height)


def test_only_what_the_pixels_need_reaches_the_decoder():
    exif = Image.Exif()
    exif[0x010E] = SECRET
    values = Image.fromarray(noise())
    text = chunk(b"tEXt", b"k\0" + SECRET.encode())
    files = [
        png(noise(), 8, 2, text) + SECRET.encode(),
        saved(values, "JPEG", exif=exif, comment=SECRET) + SECRET.encode(),
        saved(values, "WEBP", exif=exif, xmp=SECRET.encode()),
        saved(values.quantize(8), "GIF", comment=SECRET.encode()) + SECRET.encode(),
    ]
    for data in files:
        inside = contents(data)
        assert SECRET.encode() in data
        assert inside is not None and SECRET.encode() not in inside.data


PEAKS = """
import sys
from pathlib import Path
from backend.inference.uploads import read_picture

def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

for name in ["warm", *sys.argv[2:]]:
    data = Path(sys.argv[1], name).read_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = peak()
    width, height = read_picture(data).image.size
    print((peak() - before) / (width * height))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_the_memory_of_decoding_is_bounded_by_the_pixels(tmp_path):
    rgba = Image.fromarray(noise(25, 15, 4)).resize((2000, 1200), Image.Resampling.NEAREST)
    files = {
        "warm": saved(rgba.resize((20, 20)), "WEBP"),
        "jpeg": saved(rgba.convert("RGB").convert("CMYK"), "JPEG", progressive=True),
        "png": saved(rgba, "PNG", compress_level=1),
        "gif": saved(rgba.convert("RGB").quantize(8), "GIF", transparency=1),
        "webp": saved(rgba, "WEBP", lossless=True, method=0),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", PEAKS, str(tmp_path), *list(files)[1:]],
        capture_output=True,
        check=True,
    )
    _, *others, webp = map(float, done.stdout.split())
    assert 4 < max(others) <= 14  # the docstring's bytes a pixel, and one for what is around
    assert 4 < webp <= 18


# --- the digest


def test_the_digest_is_of_the_size_and_the_pixels_alone():
    values = noise(6, 4)
    image = Image.fromarray(values)
    exif = Image.Exif()
    exif[0x0112] = 8
    on_its_side = Image.fromarray(np.rot90(values, -1))
    same = [
        saved(image, "PNG"),
        saved(image, "BMP"),
        saved(image, "WEBP", lossless=True),
        saved(on_its_side, "PNG", exif=exif),
        png(values, 8, 2, chunk(b"tEXt", b"k\0v")),
    ]
    expected = hashlib.sha256(b"6 x 4 RGB\n" + values.tobytes()).hexdigest()
    assert {read_picture(data).digest for data in same} == {expected}


def test_the_digest_differs_by_one_value_and_by_the_shape():
    values = noise(6, 4)
    other = values.copy()
    other[3, 5, 2] ^= 1
    pictures = [values, other, values.reshape(6, 4, 3)]
    assert len({read_picture(saved(Image.fromarray(v), "PNG")).digest for v in pictures}) == 3


def test_the_digest_of_a_picture_of_several_strips_is_that_of_its_pixels():
    values = noise(1500, 1500)
    expected = hashlib.sha256(b"1500 x 1500 RGB\n" + values.tobytes()).hexdigest()
    picture = read_picture(saved(Image.fromarray(values), "BMP"))
    assert picture.digest == expected
    np.testing.assert_array_equal(pixels(picture), values)


# --- nothing of the content leaks


def test_no_message_and_no_log_holds_anything_of_a_file(caplog):
    caplog.set_level(logging.DEBUG)
    secret = SECRET.encode()
    exif = Image.Exif()
    exif[0x010E] = SECRET
    text = chunk(b"tEXt", secret + b"\0" + secret)
    whole = png(noise(), 8, 2, text, chunk(b"iCCP", secret + b"\0\0" + zlib.compress(b"x")))
    jpeg = saved(Image.fromarray(noise(60, 60)), "JPEG", exif=exif, comment=secret)
    caplog.clear()
    for data in (whole, jpeg):
        read_picture(data)
    broken = [
        whole.replace(b"IDAT", secret[:4]),
        patched(whole, whole.index(b"IDAT") + 8, secret),
        jpeg[: len(jpeg) // 2],
        secret,
        b"GIF89a" + secret,
    ]
    for data in broken:
        with pytest.raises(InputError) as caught:
            read_picture(data)
        told = "".join(traceback.format_exception(caught.value))
        assert SECRET not in told and SECRET[:4] not in str(caught.value)
        assert not told.count("During handling") and not told.count("direct cause")
    assert SECRET[:4] not in caplog.text


def test_no_message_and_no_note_holds_anything_of_a_caption(caplog):
    caplog.set_level(logging.DEBUG)
    caption = read_caption(f"{SECRET}\0" * 1_000)
    assert caption.notes and not any(SECRET in note for note in caption.notes)
    assert not caplog.records


# --- captions


@pytest.mark.parametrize(
    "text",
    [
        "one does not simply",
        "<b>bold</b> & <script>alert(1)</script> [a](javascript:b) **c** :smile: $x$",
        "two\nlines\tand a tab",
        "  space around ",
        "שלום עולם",
        "مرحبا بالعالم ١٢٣",
        "می‌خواهم",
        "क्‍ष",
        "👍🏽 👨‍👩‍👧‍👦 🏴‍☠️ 🏳️‍🌈 1️⃣ 🇪🇺",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f of Scotland",
        "e\u0301 and é stay apart",
        "\u06dd\u0661",
        "\ue000",
    ],
)
def test_what_can_be_seen_stays_as_it_is(text):
    assert read_caption(text) == uploads.Caption(text)


@pytest.mark.parametrize(
    ("text", "kept", "notes"),
    [
        ("a\0b\x1b[31mc\x7f\x9b", "ab[31mc", ("left out: 4 control characters",)),
        ("a\u200bb\ufeffc\u2060\u00ad", "abc", ("left out: 4 invisible characters",)),
        ("x\u202etxt.exe\u202c", "xtxt.exe", ("left out: 2 invisible characters",)),
        ("\u2066a\u2069\u200e\u200f\u061c", "a", ("left out: 5 invisible characters",)),
        ("a\u200db\u200c \u200dé", "ab é", ("left out: 3 invisible characters",)),
        ("é\u200d\u200dé", "éé", ("left out: 2 invisible characters",)),
        ("hi\U000e0068\U000e0069", "hi", ("left out: 2 invisible characters",)),
        ("a\ud800b\udfff", "ab", ("left out: 2 broken characters",)),
        ("a\uffff\ufdd0\U0001fffe", "a", ("left out: 3 broken characters",)),
        ("\ud83d\ude00!", "😀!", ()),
        (
            "a\r\nb\rc\u2028d\x85e\vf",
            "a\nb\nc\nd\ne\nf",
            ("line breaks of other kinds as plain ones",),
        ),
        ("\0a\u200b", "a", ("left out: 1 control character", "left out: 1 invisible character")),
    ],
)
def test_what_cannot_be_seen_is_left_out_and_said(text, kept, notes):
    assert read_caption(text) == uploads.Caption(kept, notes)


def test_a_long_caption_is_cut_and_said():
    caption = read_caption("word " * 20_000)
    assert caption == uploads.Caption("word " * 1_000, ("the first 5,000 of 100,000 characters",))
    assert read_caption("x" * MAX_CHARACTERS).notes == ()
    start = time.perf_counter()
    read_caption("\u200d" * 4_999 + "x" * 50_000_000)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("text", ["", " ", "\n\t \u3000"])
def test_an_empty_caption_is_refused(text):
    with pytest.raises(InputError, match=r"^caption: it is empty\. Write a few words\.$"):
        read_caption(text)


@pytest.mark.parametrize("text", ["\u200b", "\0\x01", "\ud800", " \u202e ", "\u200d" * 99])
def test_a_caption_of_which_nothing_can_be_seen_is_refused(text):
    with pytest.raises(InputError, match=r"^caption: nothing in it can be seen"):
        read_caption(text)


odd_text = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\u200c\u200d\u200b\ud83d\ude00\U0001f3f4\U000e0067é\r\n\0"),
    )
)


@settings(max_examples=200, deadline=None)
@given(odd_text)
def test_every_caption_becomes_text_that_can_be_written_and_is_read_again_unchanged(text):
    try:
        caption = read_caption(text)
    except InputError:
        return
    caption.text.encode("utf-8")
    categories = {unicodedata.category(c) for c in caption.text if c not in "\n\t"}
    assert not categories & {"Cc", "Cs"}
    assert read_caption(caption.text) == uploads.Caption(caption.text)


# --- damage


def test_damaged_files_end_as_a_picture_or_a_refusal(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PIXELS", 1_000_000)
    files = list(valid_files().values())
    outcomes = set()
    for case in range(600):
        start = time.perf_counter()
        outcomes.add(outcome(case, files))
        assert time.perf_counter() - start < 5, case
    names = {damage.__name__ for damage in DAMAGES} | {"caption"}
    assert outcomes >= {(name, "refused") for name in names}
    assert outcomes >= {(name, "read") for name in names - {"random_bytes"}}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b"RIFF"]), st.binary()
)
def test_any_bytes_after_a_right_beginning_are_taken_apart_or_refused(magic, rest):
    data = magic + (b"\0\0\0\0WEBPVP8X" if magic == b"RIFF" else b"") + rest
    try:
        inside = contents(data)
    except BrokenFileError:
        return
    assert inside is not None and len(inside.data) <= len(data) + 16
    assert inside.frames >= 1 and 1 <= inside.orientation <= 8
