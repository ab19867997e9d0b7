"""Keys of what a store keeps of the measures: they name it, and change with all that is passed."""

import pytest

from backend.measures.suite import parts
from backend.measures.suite.parts import (
    content_key,
    is_current,
    may_hold,
    measure_key,
    measures_of,
    parts_of,
    pooling_of,
    preset_of,
)
from backend.types import POOLINGS

OLDER = "default-rsa-mean-0123456789"
UNKNOWN = ("default-nothing-cls-0123456789", "of-an-old-version", "thesis", "default-rsa-cls-xyz")


@pytest.mark.parametrize("preset", ["default", "thesis"])
def test_a_key_says_what_it_holds(preset):
    keys = {}
    for part in parts_of(preset):
        for pooling in POOLINGS:
            if not part.measures_of(pooling):
                continue
            key = measure_key(preset, part.name, pooling)
            keys[key] = part
            assert key.startswith(f"{preset}-{part.name}-{pooling}-")
            assert (preset_of(key), pooling_of(key)) == (preset, pooling)
            assert is_current(key) and not is_current(key[:-1] + "~")
            held = tuple(one.name for one in part.measures)
            assert measures_of(key) == held
            assert may_hold(key, [held[-1], "nothing"]) and not may_hold(key, ["nothing"])
            assert not may_hold(key, [])
    poolings = {"default": 2, "thesis": 1}[preset]
    assert len(keys) == poolings * len(parts_of(preset))


def test_an_older_key_is_read_and_not_current():
    assert measures_of(OLDER) == ("rsa",) and pooling_of(OLDER) == "mean"
    assert preset_of("thesis-cka-cls-0123456789") == "thesis" and not is_current(OLDER)
    assert not is_current(measure_key("default", "rsa", "cls").replace("rsa", "nothing"))


@pytest.mark.parametrize("key", UNKNOWN)
def test_of_an_unknown_key_only_reading_tells(key):
    assert measures_of(key) is None and not is_current(key)
    assert preset_of(key) == "default"
    assert may_hold(key, ["cka"])
    assert pooling_of("of-an-old-version") is None


def test_a_preset_that_there_is_not_counts_as_default():
    assert preset_of("other-cka-cls-0123456789") == "default"
    assert measures_of("other-cka-cls-0123456789") is None


def test_keys_change_with_everything_that_is_passed(monkeypatch):
    keys = {
        content_key("a", "cls", {"x": 1, "y": 2}),
        content_key("b", "cls", {"x": 1, "y": 2}),
        content_key("a", "mean", {"x": 1, "y": 2}),
        content_key("a", "cls", {"x": 1, "y": 3}),
        content_key("a", "cls", {"x": 1}),
    }
    assert len(keys) == 5
    assert content_key("a", "cls", {"y": 2, "x": 1}) in keys
    assert content_key("a", "cls", {"x": 1, "y": 2}) == "a-cls-" + digest(
        '{"name": "a", "pooling": "cls", "x": 1, "y": 2}'
    )
    before = {part: measure_key("default", part, "cls") for part in ("rsa", "cka")}
    monkeypatch.setitem(parts._REVISIONS, "rsa", 99)
    after = {part: measure_key("default", part, "cls") for part in before}
    assert after["rsa"] != before["rsa"] and after["cka"] == before["cka"]
    monkeypatch.setattr(parts, "VERSION", parts.VERSION + 1)
    assert measure_key("default", "cka", "cls") != before["cka"]


def digest(text):
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:10]
