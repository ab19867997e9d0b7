"""Shared values: matching layers of two streams."""

import pytest

from backend.types import StreamSpec, matched_layers


def spec(name, depth):
    return StreamSpec.of(name, "vision", depth, 8)


def numbers(a, b):
    return [(x.layer, y.layer) for x, y in matched_layers(spec("vision", a), spec("text", b))]


def test_equal_depths_match_layer_k_with_layer_k():
    assert numbers(4, 4) == [(k, k) for k in range(5)]


def test_unequal_depths_match_relative_depth_with_one_pair_a_layer_of_the_deeper():
    assert numbers(12, 6) == [(k, (k + 1) // 2) for k in range(13)]
    assert numbers(6, 12) == [((k + 1) // 2, k) for k in range(13)]


@pytest.mark.parametrize(("a", "b"), [(12, 5), (5, 12), (7, 7), (24, 6), (1, 12)])
def test_ends_match_and_no_pair_goes_back(a, b):
    pairs = numbers(a, b)
    assert pairs[0] == (0, 0) and pairs[-1] == (a, b)
    assert len(pairs) == max(a, b) + 1
    assert pairs == sorted(pairs)


def test_the_order_of_the_arguments_is_the_order_of_the_pair():
    first, second = matched_layers(spec("vision", 2), spec("text", 4))[1]
    assert (first.stream, second.stream) == ("vision", "text")
