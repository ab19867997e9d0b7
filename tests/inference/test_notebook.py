"""A notebook hands over a file, its bytes or a picture of Pillow, and gets the same trace."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fusionscope
from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference.notebook import picture_of
from backend.inference.requests import CutAt
from backend.inference.tracing import trace_batch
from backend.inference.uploads import MAX_BYTES
from backend.paths import shipped_demo
from backend.store import Store


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    folder = Store(shipped_demo()).run("macros-late-s0").checkpoint
    assert folder is not None
    return folder


def test_a_notebook_traces_a_file_its_bytes_and_a_picture_alike(
    checkpoint: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    file = tmp_path / "meme.png"
    Image.fromarray(pixels).save(file)
    adapter = fusionscope.open_model(str(checkpoint))
    (expected,) = trace_batch(adapter, [Sample("i hate it", (Image.fromarray(pixels),))])
    for image in (file, str(file), file.read_bytes(), Image.fromarray(pixels)):
        trace = fusionscope.trace(adapter, image, "i hate it")
        for site, vector in expected.vectors.items():
            np.testing.assert_array_equal(trace.vectors[site], vector)
    opened = fusionscope.trace(checkpoint, file, "i hate it", attention=False, poolings=["cls"])
    assert not opened.attention and {pooling for _, pooling in opened.vectors} == {"cls"}
    with pytest.raises(InputError, match=r"gone\.png: cannot be read"):
        fusionscope.trace(adapter, tmp_path / "gone.png", "x")
    with pytest.raises(InputError, match="no stream 'sound'"):
        fusionscope.trace(adapter, file, "x", cuts=[CutAt("sound")])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_pictures_of_any_mode_are_taken(mode: str) -> None:
    taken = picture_of(Image.new(mode, (6, 4)))
    assert taken.image.mode == "RGB" and taken.image.size == (6, 4)


def test_a_picture_is_turned_upright() -> None:
    written = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (6, 4)).save(written, "JPEG", exif=exif)
    assert picture_of(Image.open(written)).image.size == (4, 6)


def encoded(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG", compress_level=1)
    return written.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16"])
def test_a_picture_is_the_same_as_its_file(mode: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 250)
    else:
        image = Image.fromarray(values).convert(mode)
    own, uploaded = picture_of(image), picture_of(encoded(image))
    assert own.digest == uploaded.digest
    assert own.image.tobytes() == uploaded.image.tobytes()


def test_a_picture_is_no_upload_only_its_pixels_are_bounded() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2700, 2700, 3), dtype=np.uint8)
    assert len(encoded(Image.fromarray(noise))) > MAX_BYTES
    assert picture_of(Image.fromarray(noise)).image.size == (2700, 2700)
    assert picture_of(Image.new("RGB", (1, 400))).image.size == (1, 400)
    with pytest.raises(InputError, match="30,000,000 x 1 pixels, 1 to 25,000,000 are read"):
        picture_of(Image.new("1", (30_000_000, 1)))
    with pytest.raises(InputError, match="0 x 5 pixels"):
        picture_of(Image.new("RGB", (0, 5)))


def test_a_picture_is_a_copy_and_one_of_a_broken_file_is_refused_in_a_line() -> None:
    image = Image.new("RGB", (6, 4))
    taken = picture_of(image)
    image.putpixel((0, 0), (255, 0, 0))
    assert taken.image.getpixel((0, 0)) == (0, 0, 0)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    half = Image.open(io.BytesIO(encoded(Image.fromarray(noise))[:6000]))
    with pytest.raises(InputError, match="picture: it cannot be read"):
        picture_of(half)
