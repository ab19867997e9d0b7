"""What is between traces: where they part, how far, and what four pairs make together."""

from dataclasses import replace

import numpy as np
import pytest

from backend.errors import InputError
from backend.inference.difference import difference, interaction, parting
from backend.inference.values import Trace
from backend.types import StreamSpec
from tests.inference.reference_pairs import at, ref, with_vectors

SPECS = (
    StreamSpec.of("vision", "vision", 3, 8, [2], reads="text"),
    StreamSpec.of("text", "text", 3, 8, [2], reads="vision"),
)
SITES = [site for spec in SPECS for site in spec.refs]


def trace(vectors):
    vectors = {key: np.asarray(vector, np.float32) for key, vector in vectors.items()}
    return Trace("tiny", "fusion", "d1", SPECS, vectors, {})


def random_vectors(seed, poolings=("cls", "mean")):
    rng = np.random.default_rng(seed)
    return {(site, pooling): rng.normal(size=8) for site in SITES for pooling in poolings}


@pytest.mark.parametrize("site", ["vision 0", "vision 2.fusion", "vision 2", "vision 3"])
def test_traces_part_at_the_first_site_that_was_changed(site):
    changed = ref(site)
    later = SPECS[0].refs[SPECS[0].refs.index(changed) :]
    a = trace(random_vectors(0))
    b = with_vectors(a, {(r, "cls"): a.vectors[r, "cls"] * 1.01 for r in later})
    assert parting(a, b) == {"vision": changed, "text": None}
    assert parting(b, a) == {"vision": changed, "text": None}


def test_one_pooling_is_enough_to_part():
    a = trace(random_vectors(0))
    site = ref("text 1")
    b = with_vectors(a, {(site, "mean"): a.vectors[site, "mean"] + 1})
    assert parting(a, b) == {"vision": None, "text": site}


def test_float_noise_does_not_part_and_the_tolerance_says_what_noise_is():
    a = trace(random_vectors(0))
    rng = np.random.default_rng(1)
    noisy = {key: v + 1e-5 * np.linalg.norm(v) * _unit(rng) for key, v in a.vectors.items()}
    b = trace(noisy)
    assert set(parting(a, b).values()) == {None}
    assert parting(a, b, tolerance=5e-6) == {"vision": ref("vision 0"), "text": ref("text 0")}


def test_what_is_not_a_number_parts():
    a = trace(random_vectors(0))
    b = with_vectors(a, {(ref("text 2"), "cls"): np.full(8, np.nan)})
    assert parting(a, b)["text"] == ref("text 2")
    assert at(difference(a, b), ref("text 2"), pooling="cls")["reason"] == (
        "layer 2 of text is not finite"
    )


def test_distances_are_those_of_the_vectors_and_rows_are_in_order():
    a, b = trace(random_vectors(0, ("mean",))), trace(random_vectors(1, ("mean",)))
    table = difference(a, b)
    assert table["stream"].tolist() == [site.stream for site in SITES]
    assert table["position"].tolist() == [0, 1, 1.5, 2, 3] * 2
    for site in SITES:
        x, y = (t.vectors[site, "mean"].astype(float) for t in (a, b))
        row = at(table, site)
        apart = sum((p - q) ** 2 for p, q in zip(x, y, strict=True)) ** 0.5
        longest = max(sum(x**2), sum(y**2)) ** 0.5
        assert row["distance"] == pytest.approx(apart)
        assert row["relative"] == pytest.approx(apart / longest)
        assert row["cosine"] == pytest.approx(sum(x * y) / (sum(x**2) * sum(y**2)) ** 0.5)


def test_zero_vectors_are_equal_and_have_no_angle():
    zero = {(ref("vision 0"), "cls"): np.zeros(8)}
    row = difference(trace(zero), trace(zero)).iloc[0]
    assert (row["distance"], row["relative"]) == (0, 0)
    assert np.isnan(row["cosine"])
    assert row["reason"] == "layer 0 of vision is zero: a zero vector has no angle"
    assert parting(trace(zero), trace(zero)) == {"vision": None}


def test_opposite_vectors_are_two_apart():
    a = trace(random_vectors(0))
    b = trace({key: -v for key, v in a.vectors.items()})
    table = difference(a, b)
    assert np.allclose(table["relative"], 2)
    assert np.allclose(table["cosine"], -1)


def grid(both, image=3.0, caption=4.0, seed=0):
    """Four pairs of which image, caption and both together move a common vector.

    Each moves it by a length of its own along an axis of its own.
    """
    base = random_vectors(seed, ("mean",))
    e = np.eye(8)
    signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    return [
        trace(
            {
                key: v + (i * image * e[0] + c * caption * e[1] + i * c * both * e[2]) / 2
                for key, v in base.items()
            }
        )
        for i, c in signs
    ]


def test_an_additive_grid_has_no_interaction():
    table = interaction(*grid(both=0.0))
    assert len(table) == len(SITES)
    assert np.allclose(table["interaction"], 0, atol=1e-6)
    assert np.allclose(table["relative"], 0, atol=1e-6)
    assert np.allclose(table["share"], 0, atol=1e-6)


def test_a_planted_interaction_has_its_size_beside_the_effects():
    table = interaction(*grid(both=2.5, image=3.0, caption=4.0))
    assert np.allclose(table["row_effect"], 3.0)
    assert np.allclose(table["column_effect"], 4.0)
    assert np.allclose(table["interaction"], 2.5)
    assert np.allclose(table["relative"], 2.5 / 5.0)
    assert np.allclose(table["share"], 2.5**2 / (3**2 + 4**2 + 2.5**2))
    assert table["reason"].eq("").all()


def test_noise_is_the_tolerance_of_the_longest_of_the_four():
    tl, tr, bl, br = grid(both=0.0)
    bl = with_vectors(bl, {(ref("text 1"), "mean"): 100 * bl.vectors[ref("text 1"), "mean"]})
    row = at(interaction(tl, tr, bl, br, tolerance=1e-3), ref("text 1"))
    assert row["noise"] == pytest.approx(
        1e-3 * sum(bl.vectors[ref("text 1"), "mean"].astype(float) ** 2) ** 0.5
    )


def test_rows_and_columns_are_told_apart_and_swapping_them_keeps_the_interaction():
    tl, tr, bl, br = grid(both=2.5)
    turned = interaction(tl, bl, tr, br)
    assert np.allclose(turned["row_effect"], 4.0)
    assert np.allclose(turned["column_effect"], 3.0)
    assert np.allclose(turned["interaction"], 2.5)


def test_the_squares_of_the_effects_are_the_spread_of_the_four():
    traces = [trace(random_vectors(seed)) for seed in range(4)]
    table = interaction(*traces)
    row = at(table, ref("text 2.fusion"), pooling="cls")
    x = np.stack([t.vectors[ref("text 2.fusion"), "cls"] for t in traces]).astype(float)
    squares = row["row_effect"] ** 2 + row["column_effect"] ** 2 + row["interaction"] ** 2
    assert squares == pytest.approx(((x - x.mean(axis=0)) ** 2).sum())


def test_where_nothing_or_only_the_interaction_varies_the_ratio_has_a_reason():
    same = interaction(*grid(both=0.0, image=0.0, caption=0.0))
    assert same[["relative", "share"]].isna().all(axis=None)
    assert same["reason"].iloc[0] == "layer 0 of vision is the same for all four pairs"
    only = interaction(*grid(both=1.0, image=0.0, caption=0.0))
    assert only["relative"].isna().all()
    assert np.allclose(only["share"], 1)
    assert only["reason"].iloc[0] == "neither side alone changes layer 0 of vision"


def test_one_of_four_that_is_not_finite_leaves_the_site_out():
    tl, tr, bl, br = grid(both=1.0)
    tr = with_vectors(tr, {(ref("vision 3"), "mean"): np.full(8, np.inf)})
    table = interaction(tl, tr, bl, br)
    assert at(table, ref("vision 3"))["reason"] == "layer 3 of vision is not finite"
    assert np.isnan(at(table, ref("vision 3"))[["interaction", "noise"]].astype(float)).all()
    assert at(table, ref("vision 2"))["interaction"] == pytest.approx(1.0)


@pytest.mark.parametrize("change", [{"digest": "d2"}, {"streams": SPECS[:1]}])
def test_traces_of_two_models_are_not_compared(change):
    a = trace(random_vectors(0))
    b = replace(a, model="other", **change)
    for compare in (difference, parting, lambda x, y: interaction(x, x, x, y)):
        with pytest.raises(InputError, match="tiny and other are two models"):
            compare(a, b)


def _unit(rng):
    direction = rng.normal(size=8)
    return direction / np.linalg.norm(direction)
