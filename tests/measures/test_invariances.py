"""What each measure declares in the registry, it is: property tests over the whole family."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import InputError
from backend.measures import MEASURES, spectrum
from backend.measures.core.base import prepare
from backend.measures.registry import PRESETS, measure
from backend.measures.suite.dimensions import of_spectrum

CASES = [(m, e) for m in MEASURES.values() if m.function and not m.labelled for e in m.estimators]
IDS = [f"{m.name}-{e}" for m, e in CASES]


def value(chosen, estimator, sides):
    return float(result(chosen, estimator, sides))


def result(chosen, estimator, sides):
    """With the arguments of the default preset, where they are those of the function."""
    sides = sides[:1] if chosen.kind == "single" else sides
    use = chosen.presets["default"]
    arguments = {} if use.together else dict(use.arguments)
    if len(chosen.estimators) > 1:
        arguments["estimator"] = estimator
    return chosen.of(*sides, **arguments)


def least(chosen):
    return chosen.least_samples(chosen.arguments)


def enough(chosen, n, *widths):
    """At least n samples; more where a measure needs them."""
    return max(n, 2 * sum(widths) + 2) if chosen.exceeds_widths else n


def stretched(x, seed, size):
    """An invertible map that is no rotation; its condition number is 100."""
    d = x.shape[1]
    return x @ orthogonal(d, seed) @ np.diag(np.geomspace(1, 100, d)) @ orthogonal(d, seed + 1)


def orthogonal(d, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


TRANSFORMATIONS = {
    "shift": lambda x, seed, size: x + size * np.random.default_rng(seed).normal(size=x.shape[1]),
    "scale": lambda x, seed, size: x * size,
    "orthogonal": lambda x, seed, size: x @ orthogonal(x.shape[1], seed),
    "invertible": stretched,
}


@pytest.mark.parametrize(("chosen", "estimator"), CASES, ids=IDS)
@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(5, 40),
    widths=st.tuples(st.integers(2, 50), st.integers(2, 50)),
    seed=st.integers(0, 2**31),
    size=st.sampled_from([1e-5, 1e-3, 1.0, 50.0, 1000.0]),
)
def test_declared_invariances_hold(chosen, estimator, n, widths, seed, size):
    n = max(enough(chosen, n, *widths), least(chosen))
    if chosen.equal_widths:
        widths = (widths[0], widths[0])
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 2))
    sides = [latent @ rng.normal(size=(2, d)) + rng.normal(size=(n, d)) for d in widths]
    before = value(chosen, estimator, sides)
    low, high = chosen.range
    assert low is None or before >= low - 1e-12
    assert high is None or before <= high + 1e-12
    for name in chosen.invariances - {"permutation"}:
        moved = [TRANSFORMATIONS[name](side, seed + i, size) for i, side in enumerate(sides)]
        assert value(chosen, estimator, moved) == pytest.approx(before, rel=1e-7, abs=1e-7), name
    if "permutation" in chosen.invariances:
        order = rng.permutation(n)
        moved = [side[order] for side in sides]
        assert value(chosen, estimator, moved) == pytest.approx(before, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("chosen", "estimator"), CASES, ids=IDS)
def test_what_is_not_declared_is_not_invariant(chosen, estimator):
    rng = np.random.default_rng(0)
    sides = [rng.normal(size=(60, 8)), rng.normal(size=(60, 8))]
    # They agree most in the first coordinates, and those are what the stretching brings out.
    sides[1] = 2 * sides[0] + sides[1] * np.geomspace(0.1, 10, 8)
    sides[0][:, 0] += 1
    unequal = [side @ np.diag(np.geomspace(100, 1, 8)) for side in sides]
    changed = abs(value(chosen, estimator, unequal) - value(chosen, estimator, sides)) > 0.01
    assert changed != ("invertible" in chosen.invariances)


PAIRWISE = [(m, e) for m, e in CASES if m.kind == "pairwise"]


@pytest.mark.parametrize(("chosen", "estimator"), PAIRWISE)
@settings(max_examples=25, deadline=None)
@given(n=st.integers(5, 40), d=st.integers(2, 60), seed=st.integers(0, 2**31))
def test_pairwise_measures_are_symmetric_and_fixed_on_themselves(chosen, estimator, n, d, seed):
    n = max(enough(chosen, n, d, d), least(chosen))
    x, y = np.random.default_rng(seed).normal(size=(2, n, d))
    ab, ba = value(chosen, estimator, [x, y]), value(chosen, estimator, [y, x])
    assert (ab == pytest.approx(ba, abs=1e-12)) == chosen.symmetric
    on_itself = value(chosen, estimator, [x, x])
    if chosen.exact_on_itself:
        assert on_itself == pytest.approx(chosen.on_itself, abs=1e-9)
    else:
        assert on_itself > ab


def test_results_name_the_measure_they_are_registered_under():
    x = np.random.default_rng(0).normal(size=(20, 4))
    for chosen, estimator in CASES:
        named = result(chosen, estimator, (x, x))
        assert (named.measure, named.estimator) == (chosen.name, estimator)


def test_every_measure_that_has_a_matrix_has_the_same_values_there():
    rng = np.random.default_rng(0)
    layers = [rng.normal(size=(60, d)) for d in (4, 6, 5)]
    for chosen in MEASURES.values():
        use = chosen.presets["default"]
        if not chosen.matrix or use.together:
            continue
        matrix = chosen.of_all(layers, labels=list("abc"), **use.arguments)
        alone = [[float(chosen.of(x, y, **use.arguments)) for y in layers] for x in layers]
        np.testing.assert_allclose(matrix.values, alone, atol=1e-7, err_msg=chosen.name)
        assert matrix.measure == chosen.name


def test_what_follows_from_a_spectrum_is_what_the_vectors_give():
    x = np.random.default_rng(0).normal(size=(40, 6))
    facts = prepare(x, "x")
    for name, arguments in of_spectrum().items():
        chosen = MEASURES[name]
        there = chosen.from_spectrum(facts, spectrum(x), "x", **arguments)
        assert there == pytest.approx(chosen.of(x, **arguments), rel=1e-12)


def test_the_words_of_every_measure_are_there():
    for chosen in MEASURES.values():
        assert chosen.label and chosen.axis and chosen.meaning.endswith("."), chosen.name
        assert chosen.symmetric == (not chosen.direction), chosen.name
        assert "default" in chosen.presets and set(chosen.presets) <= set(PRESETS), chosen.name


def test_unknown_measure_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match=r"unknown measure 'tea'\. Choose one of .*cka, "):
        measure("tea")
