"""The permutation test: counts on explicit Grams, corrected for all cells, batches of layers."""

import numpy as np
import pytest

from backend.errors import InputError
from backend.measures import cka, cka_matrix, permutation_test


def test_p_values_are_the_counts_of_explicit_shuffles(arrays):
    a, b = arrays.related(12, (3, 20), noise=6.0), arrays.related(12, (4, 5, 2), seed=1)
    result = permutation_test(a, b, permutations=50, seed=4)
    rng = np.random.default_rng(4)
    orders = [rng.permutation(12) for _ in range(50)]
    shuffled = np.array([[[float(cka(x, y[o])) for y in b] for x in a] for o in orders])
    true = cka_matrix(a, b).values
    np.testing.assert_allclose(result.values, true, atol=1e-13)
    np.testing.assert_allclose(result.p_values, (1 + (shuffled >= true).sum(axis=0)) / 51)
    highest = shuffled.max(axis=(1, 2))
    np.testing.assert_allclose(
        result.p_corrected, (1 + (highest[:, None, None] >= true).sum(axis=0)) / 51
    )
    assert result.params == {"kernel": "linear", "permutations": 50, "seed": 4}


def test_analytic_p_values_agree_with_those_of_many_shuffles(arrays):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3, 60, 8)) * np.r_[4.0, 4.0, np.ones(6)]
    shuffled = permutation_test(list(a), list(b), permutations=4000)
    analytic = cka_matrix(list(a), list(b), p_value=True)
    np.testing.assert_allclose(shuffled.p_values, analytic.p_values, atol=0.03)


def test_corrected_p_values_are_below_five_percent_in_five_percent_of_null_matrices():
    rng = np.random.default_rng(0)
    raw = corrected = 0
    for seed in range(200):
        latent = rng.normal(size=(2, 20, 4))  # the layers of one side resemble each other
        a, b = ([z + 0.5 * rng.normal(size=(20, 4)) for _ in range(4)] for z in latent)
        result = permutation_test(a, b, permutations=59, seed=seed)
        raw += (result.p_values <= 0.05).any()
        corrected += (result.p_corrected <= 0.05).any()
    assert 3 <= corrected <= 19  # binomial(200, 0.05), 99.9 %
    assert raw > 1.5 * corrected


def test_correction_is_milder_than_holms_for_layers_that_resemble_each_other():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 5))
    y = x + 2.2 * rng.normal(size=(40, 5))
    a, b = ([z + 0.01 * rng.normal(size=z.shape) for _ in range(5)] for z in (x, y))
    by_shuffles = permutation_test(a, b, permutations=999).p_corrected
    by_holm = cka_matrix(a, b, p_value=True).p_corrected
    assert by_holm.max() > 3 * by_shuffles.max()
    assert (by_shuffles >= permutation_test(a, b, permutations=999).p_values).all()


def test_layers_of_one_list_are_each_pair_once_without_the_diagonal(arrays):
    x = arrays.related(20, (3,))[0]
    layers = [x, x + 0.1, np.random.default_rng(9).normal(size=(20, 6))]
    result = permutation_test(layers, permutations=99)
    for p in (result.p_values, result.p_corrected):
        assert np.isnan(np.diag(p)).all()
        np.testing.assert_array_equal(p, p.T)
    assert result.p_values[0, 1] == result.p_corrected[0, 1] == 0.01
    assert result.p_corrected[0, 2] > 0.01
    # Without the diagonal's ones in the maximum.
    cross = permutation_test(layers[:1], layers[1:], permutations=99)
    np.testing.assert_array_equal(cross.p_values[0], result.p_values[0, 1:])


def test_batches_and_blocks_do_not_change_the_counts(arrays, monkeypatch):
    layers = arrays.related(30, (3, 4, 50), noise=8.0)
    whole = permutation_test(layers, permutations=99)
    monkeypatch.setattr("backend.measures.chance.shuffles._BATCH_BYTES", 1)
    monkeypatch.setattr("backend.measures.chance.shuffles._ACCUMULATE", 100)
    parts = permutation_test(layers, permutations=99)
    np.testing.assert_array_equal(whole.p_values, parts.p_values)
    np.testing.assert_array_equal(whole.p_corrected, parts.p_corrected)


def test_undefined_cells_are_nan_with_a_reason_and_do_not_count(arrays):
    x = arrays.related(20, (3,))[0]
    result = permutation_test([x], [-x, np.ones((20, 2))], permutations=19, other_labels=["y", "c"])
    assert result.p_corrected[0, 0] == 0.05
    assert np.isnan(result.p_values[0, 1]) and np.isnan(result.p_corrected[0, 1])
    assert {at: str(reason) for at, reason in result.reasons.items()} == {
        (0, 1): "c is constant: every sample has the same vector"
    }


def test_unusable_arguments_are_named(arrays):
    x, y = arrays.related(20, (3, 4))
    with pytest.raises(InputError, match="permutations: needs at least 1, got 0"):
        permutation_test([x], [y], permutations=0)
    with pytest.raises(InputError, match=r"others\[0\]: 10 samples, but layers\[0\] has 20"):
        permutation_test([x], [y[:10]])
    with pytest.raises(InputError, match="no layers"):
        permutation_test([])


def test_samples_that_belong_together_are_exchanged_together():
    """Five captions of a photo, contents unrelated: sample by sample all would be clear."""
    rng = np.random.default_rng(0)
    below = {"alone": 0, "together": 0}
    groups = np.repeat(np.arange(16), 5)
    for seed in range(60):
        x, y = (np.repeat(rng.normal(size=(16, 3)), 5, axis=0) for _ in range(2))
        x, y = (one + 0.2 * rng.normal(size=one.shape) for one in (x, y))
        for name, together in (("alone", None), ("together", groups)):
            result = permutation_test([x], [y], permutations=59, seed=seed, groups=together)
            below[name] += int(result.p_values[0, 0] <= 0.05)
            if together is not None:
                value = float(cka(x, y, groups=groups))
                assert abs(result.values[0, 0] - value) < 1e-12
    assert below["alone"] > 40 and below["together"] <= 9
    few = permutation_test([x], [y], groups=np.repeat(np.arange(2), 40))
    assert np.isnan(few.p_values).all() and "ways" in str(few.warnings)
