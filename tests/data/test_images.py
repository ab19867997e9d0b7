from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from backend.data.images import DecodeError, decode, decode_file, image_digest


def encoded(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    out = io.BytesIO()
    image.save(out, kind, **options)
    out.seek(0)
    return out


def png_header(width: int, height: int) -> io.BytesIO:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_reads_every_format_of_the_list_as_rgb(kind):
    image = decode(encoded(Image.new("RGB", (5, 4), (10, 20, 30)), kind))
    assert (image.mode, image.size) == ("RGB", (5, 4))


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "TGA"])
def test_refuses_formats_outside_the_list(kind):
    with pytest.raises(DecodeError, match="not a JPEG, PNG, WEBP, GIF or BMP file"):
        decode(encoded(Image.new("RGB", (16, 16)), kind))


def test_the_content_decides_not_the_file_name(tmp_path: Path):
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(Image.new("RGB", (4, 4)), "PPM").read())
    with pytest.raises(DecodeError, match="not a JPEG"):
        decode_file(path)


@pytest.mark.parametrize("size", [(8000, 8000), (60_000, 60_000)])
def test_too_many_pixels_are_refused_before_decoding(size):
    with pytest.raises(DecodeError, match="pixels"):
        decode(png_header(*size))


def test_the_pixel_limit_itself_is_allowed():
    image = encoded(Image.new("RGB", (10, 10)), "PNG")
    assert decode(image, max_pixels=100).size == (10, 10)
    image.seek(0)
    with pytest.raises(DecodeError, match="10 x 10 pixels, at most 99 are read"):
        decode(image, max_pixels=99)


def test_exif_orientation_is_applied_and_metadata_dropped():
    image = Image.new("RGB", (6, 4), (0, 0, 255))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    exif[0x010E] = "where the author lives"
    upright = decode(encoded(image, "PNG", exif=exif))
    assert upright.size == (4, 6)
    assert upright.getpixel((3, 0)) == (255, 0, 0)
    assert not upright.getexif() and not upright.info


@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_applied_as_pillow_does(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = encoded(Image.effect_noise((7, 5), 80), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(stream.getvalue())))
    assert decode(stream).tobytes() == expected.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_an_image_of_several_strips_is_whole(mode):
    image = Image.effect_noise((700, 900), 80).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    white = Image.new("RGBA", image.size, "white")
    expected = Image.alpha_composite(white, image) if mode == "RGBA" else image
    expected = expected.convert("RGB").convert(mode).convert("RGB")
    decoded = decode(encoded(image if mode == "RGBA" else expected.convert(mode), "PNG"))
    assert decoded.tobytes() == expected.tobytes()


def test_transparent_pixels_become_white():
    assert decode(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0)), "PNG")).getpixel((0, 0)) == (
        255,
        255,
        255,
    )
    palette = Image.new("P", (2, 2), 0)
    assert decode(encoded(palette, "GIF", transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_not_clipped():
    grey = decode(encoded(Image.new("I;16", (2, 2), 32768), "PNG"))
    assert grey.getpixel((0, 0)) == (128, 128, 128)


def test_the_transparent_value_of_sixteen_bit_grey_is_compared_in_sixteen_bits():
    grey = Image.new("I;16", (2, 1), 0x1234)
    grey.putpixel((1, 0), 0x12FF)
    decoded = decode(encoded(grey, "PNG", transparency=0x1234))
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0x12, 0x12, 0x12)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_other_modes_become_rgb(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert decode(encoded(Image.new(mode, (3, 3)), kind)).mode == "RGB"


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff"])
def test_what_is_no_image_is_a_decode_error(data):
    with pytest.raises(DecodeError):
        decode(io.BytesIO(data))


def test_a_truncated_image_is_a_decode_error():
    noise = Image.effect_noise((64, 64), 80)
    for kind in ("JPEG", "PNG"):
        whole = encoded(noise, kind).read()
        with pytest.raises(DecodeError):
            decode(io.BytesIO(whole[: len(whole) // 2]))


def test_a_missing_file_is_a_decode_error(tmp_path: Path):
    with pytest.raises(DecodeError, match="No such file"):
        decode_file(tmp_path / "gone.png")


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP"]),
    damage=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_bytes_give_an_image_or_a_decode_error_and_nothing_else(kind, damage):
    raw = bytearray(encoded(Image.effect_noise((12, 12), 60).convert("RGB"), kind).read())
    for place, value in damage:
        raw[place % len(raw)] = value
    try:
        image = decode(io.BytesIO(bytes(raw)), max_pixels=1_000_000)
    except DecodeError:
        return
    assert image.mode == "RGB"


def test_a_digest_is_of_pixels_and_size_alone() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (700, 600, 3), dtype=np.uint8)  # of two strips
    image = Image.fromarray(pixels)
    digest = image_digest([image])
    assert digest == image_digest([image.copy()]) and len(digest or "") == 16
    state = hashlib.blake2b(b"600x700 " + pixels.tobytes(), digest_size=8)
    assert digest == state.hexdigest()
    turned = Image.fromarray(pixels.reshape(600, 700, 3))
    pixels[-1, -1, 2] ^= 1
    others = [image_digest([turned]), image_digest([Image.fromarray(pixels)])]
    others += [image_digest([image, image]), image_digest([])]
    assert len({digest, *others}) == 5 and others[-1] is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_webp_s_decoder_is_gone_before_room_for_the_pixels_is_taken(mode, monkeypatch) -> None:
    """It holds two canvases: of 49 megapixels 0.37 GiB beside the frame and the pixels."""
    held = []
    prepare = ImageFile.ImageFile.load_prepare

    def looked(self: ImageFile.ImageFile) -> None:
        held.append("_decoder" in vars(self))
        prepare(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", looked)
    values = np.random.default_rng(0).integers(0, 256, (30, 40, len(mode)), dtype=np.uint8)
    image = Image.fromarray(values)
    white = Image.new("RGBA", image.size, "white")
    shown = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    assert np.array_equal(decode(encoded(image, "WEBP", lossless=True, exact=True)), shown)
    assert held == [False]
