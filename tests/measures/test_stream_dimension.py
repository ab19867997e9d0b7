"""Dimensions from batches are the full-data values, and a stream survives being written down."""

import zipfile

import numpy as np
import pytest

from backend.errors import InputError
from backend.measures import (
    CKAStream,
    cka_matrix,
    effective_dimension,
    participation_ratio,
    spectrum,
)
from backend.measures.streaming.stream_sums import stream_nbytes


def feed(layers, size, **options):
    stream = CKAStream(**options)
    for start in range(0, len(layers[0]), size):
        stream.update([x[start : start + size] for x in layers])
    return stream


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 50, 1000])
@pytest.mark.parametrize(("n", "batch"), [(200, 32), (200, 1), (20, 7)])
def test_dimensions_of_batches_are_those_of_all_data(arrays, dtype, offset, n, batch):
    layers = [(x + offset).astype(dtype) for x in arrays.related(n, (6, 30, 11))]
    stream = feed(layers, batch, pairs="consecutive")
    for k, (x, shares, dimension, ratio) in enumerate(
        zip(
            layers,
            stream.spectra(),
            stream.effective_dimensions(),
            stream.participation_ratios(),
            strict=True,
        )
    ):
        full = effective_dimension(x)
        np.testing.assert_allclose(shares, spectrum(x), atol=1e-10)
        assert (dimension.value, dimension.n, dimension.dims) == (full.value, n, full.dims), k
        assert dimension.params == {"threshold": 0.95}
        assert ratio.value == pytest.approx(participation_ratio(x).value, abs=1e-8)
        assert [w for w in full.warnings if w.code != "copies"] == [*dimension.warnings]


@pytest.mark.parametrize("n", [200, 600])
def test_wide_float32_layers_have_the_dimensions_of_all_data(arrays, n):
    layers = [(x + 1000).astype(np.float32) for x in arrays.related(n, (300, 290))]
    stream = feed(layers, 64)
    for x, dimension, ratio in zip(
        layers, stream.effective_dimensions(), stream.participation_ratios(), strict=True
    ):
        assert dimension.value == effective_dimension(x).value
        assert ratio.value == pytest.approx(participation_ratio(x).value, rel=1e-6)


def test_the_threshold_is_a_parameter_and_one_gives_the_rank(arrays):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 3)) @ rng.normal(size=(3, 9)) + 7
    stream = feed([x], 9)
    assert stream.effective_dimensions(1.0)[0].value == 3
    assert (
        stream.effective_dimensions(0.5, labels=["a"])[0].value == effective_dimension(x, 0.5).value
    )
    with pytest.raises(InputError, match="threshold"):
        stream.effective_dimensions(1.5)
    with pytest.raises(InputError, match="2 labels for 1 layers"):
        stream.participation_ratios(labels=["a", "b"])


def test_a_constant_layer_has_no_dimension_and_says_why(arrays):
    x = arrays.related(40, (4,))[0].astype(np.float32)
    constant = np.full((40, 3), 0.1, dtype=np.float32)
    stream = feed([x, constant], 13)
    for results in (
        stream.effective_dimensions(labels=["a", "b"]),
        stream.participation_ratios(labels=["a", "b"]),
    ):
        assert np.isfinite(results[0].value) and not results[0].reason
        assert np.isnan(results[1].value)
        assert str(results[1].reason).startswith("b is constant")
    assert np.isnan(stream.spectra()[1]).all()


def test_merged_halves_have_the_dimensions_of_the_whole(arrays):
    layers = [x + 300 for x in arrays.related(60, (4, 9))]
    whole = feed(layers, 60).participation_ratios()
    halves = feed([x[:25] for x in layers], 6).merge(feed([x[25:] for x in layers], 10))
    for a, b in zip(whole, halves.participation_ratios(), strict=True):
        assert b.value == pytest.approx(a.value, abs=1e-10)


def test_one_sample_has_no_dimension(arrays):
    with pytest.raises(InputError, match="needs at least 2 samples, got 1"):
        feed([np.ones((1, 3))], 1).spectra()


@pytest.mark.parametrize("pairs", ["all", "consecutive", [(2, 0)]])
def test_bytes_are_known_before_the_first_batch(arrays, pairs):
    stream = feed(arrays.related(30, (6, 30, 11)), 10, pairs=pairs)
    sums = stream._sums
    held = [a for p in sums.pairs.values() for a in (p.c, p.u, p.v)]
    held += [a for side in sums.sides for a in (side.s, side.shift)]
    assert stream.nbytes == stream_nbytes((6, 30, 11), pairs) == sum(a.nbytes for a in held)


def test_a_saved_stream_goes_on_to_the_same_bits(arrays, tmp_path):
    layers = [(x + 100).astype(np.float32) for x in arrays.related(60, (6, 300, 11))]
    stream = feed([x[:40] for x in layers], 7, pairs=[(0, 2)])
    path = tmp_path / "stream.npz"
    stream.save(path)
    loaded = CKAStream.load(path)
    assert (loaded.n, loaded.widths, loaded.tracked) == (40, stream.widths, stream.tracked)
    for one in (stream, loaded):
        one.update([x[40:] for x in layers])
    for estimator in ("biased", "debiased"):
        a, b = (one.matrix(estimator=estimator) for one in (stream, loaded))
        np.testing.assert_array_equal(a.values, b.values)
        np.testing.assert_array_equal(a.null_sds, b.null_sds)
    assert [r.value for r in stream.participation_ratios()] == [
        r.value for r in loaded.participation_ratios()
    ]
    other = feed(layers, 60, pairs=[(0, 2)])
    assert loaded.merge(other).n == 120
    np.testing.assert_allclose(
        stream.matrix().values[0, 2], cka_matrix(layers).values[0, 2], atol=1e-6
    )


def test_saving_replaces_in_one_step_and_pickles_nothing(arrays, tmp_path, monkeypatch):
    layers = arrays.related(20, (4, 5))
    path = tmp_path / "stream.npz"
    feed(layers, 20).save(path)
    before = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                np.lib.format.read_array(member, allow_pickle=False)

    def full_disk(handle, **arrays):
        handle.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(InputError, match="No space left"):
        feed(layers, 5).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["stream.npz"]


def test_files_that_hold_no_stream_are_refused(arrays, tmp_path):
    path = tmp_path / "stream.npz"
    with pytest.raises(InputError, match="there is no such file"):
        CKAStream.load(path)
    with pytest.raises(InputError, match="has seen no batch"):
        CKAStream().save(path)
    feed(arrays.related(20, (40, 50)), 20).save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 0x10
    for broken in (b"", b"text", whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="not the sums of a stream"):
            CKAStream.load(path)
    np.savez(path, counts=np.array([1, 3]))
    with pytest.raises(InputError, match="not the sums of a stream"):
        CKAStream.load(path)
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="not the sums of a stream"):
        CKAStream.load(tmp_path / "evil.npy")
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(InputError, match="not the sums of a stream"):
        CKAStream.load(tmp_path / "plain.npy")
