from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from backend.data import audio
from backend.data.audio import read_wav
from backend.data.images import DecodeError

WAVE = np.array([0.0, 0.5, -0.5, 0.25], dtype=np.float32)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (WAVE, 0.0),
        (WAVE.astype(np.float64), 0.0),
        ((WAVE * 2**15).astype(np.int16), 0.0),
        ((WAVE * 2.0**31).astype(np.int32), 0.0),
        ((WAVE * 128 + 128).astype(np.uint8), 0.0),
    ],
)
def test_every_width_gives_the_same_mono_float32(tmp_path: Path, values, error):
    wavfile.write(tmp_path / "a.wav", 8000, values)
    read = read_wav(tmp_path / "a.wav")
    assert (read.rate, read.samples.dtype) == (8000, np.float32)
    np.testing.assert_allclose(read.samples, WAVE, atol=error)


def test_channels_are_averaged(tmp_path: Path):
    wavfile.write(tmp_path / "a.wav", 8000, np.stack([WAVE, 3 * WAVE], axis=1) / 4)
    np.testing.assert_allclose(read_wav(tmp_path / "a.wav").samples, WAVE / 2)


def good(tmp_path: Path) -> bytes:
    wavfile.write(tmp_path / "good.wav", 8000, (WAVE * 2**15).astype(np.int16))
    return (tmp_path / "good.wav").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: b"ID3\x04" + raw[4:], "not a WAV file"),
        (lambda raw: b"", "not a WAV file"),
        (lambda raw: raw[:-3], r"cut short: 49 of 52 bytes"),
        (lambda raw: raw[:4] + struct.pack("<I", 4) + raw[8:12], "cannot be read"),
        (lambda raw: raw[:20] + struct.pack("<H", 85) + raw[22:], "cannot be read"),
        (lambda raw: raw[:22] + struct.pack("<H", 0) + raw[24:], "cannot be read"),
        (lambda raw: raw[:24] + struct.pack("<II", 0, 0) + raw[32:], "no samples in it"),
    ],
    ids=["mp3", "empty file", "cut short", "no data", "mp3 inside", "no channel", "rate 0"],
)
def test_a_file_that_is_no_good_wav_is_one_line(tmp_path: Path, change, message):
    path = tmp_path / "a.wav"
    path.write_bytes(change(good(tmp_path)))
    with pytest.raises(DecodeError, match=message) as caught:
        read_wav(path)
    assert "\n" not in str(caught.value)


def test_a_length_that_was_not_known_when_the_file_was_written_is_read(tmp_path: Path):
    raw = good(tmp_path)
    (tmp_path / "a.wav").write_bytes(raw[:4] + b"\xff" * 4 + raw[8:40] + b"\xff" * 4 + raw[44:])
    assert len(read_wav(tmp_path / "a.wav").samples) == len(WAVE)


def test_no_samples_and_values_that_are_no_numbers_are_refused(tmp_path: Path):
    for values, message in ((WAVE[:0], "no samples"), (WAVE * np.nan, "no finite numbers")):
        wavfile.write(tmp_path / "a.wav", 8000, values)
        with pytest.raises(DecodeError, match=message):
            read_wav(tmp_path / "a.wav")


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch):
    good(tmp_path)
    monkeypatch.setattr(audio, "MAX_BYTES", 51)
    with pytest.raises(DecodeError, match="52 bytes, at most 51 are read"):
        read_wav(tmp_path / "good.wav")
