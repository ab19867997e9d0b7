"""Poolings of two streams: one way to write them, in rows, links and names of files."""

import pytest

from backend.measures.suite.parts import is_current, measure_key, pooling_of
from backend.pooling import by_stream, from_key, in_key, in_words, of_stream, read_pooling
from backend.types import POOLINGS


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("cls", "cls"),
        (" mean", "mean"),
        ("vision=cls;text=mean", "text=mean;vision=cls"),
        (" text = mean ; vision = cls ", "text=mean;vision=cls"),
        ("a.b-2=cls;A_b=mean", "A_b=mean;a.b-2=cls"),
    ],
)
def test_a_pooling_is_written_in_one_way(text, written):
    assert read_pooling(text) == read_pooling(written) == written
    assert from_key(in_key(written)) == written
    assert set(in_key(written)) <= set("abcdefghijklmnopqrstuvwxyzA0123456789._-")


@pytest.mark.parametrize(
    "text",
    ["", "max", "vision=cls", "vision=cls;text=max", "vision=cls;vision=mean", "a=cls;b=mean;c=cls",
     "vision=cls;text=mean;", "vi/sion=cls;text=mean", "vision=cls;text=cls", "vision:cls;t=mean"],
)  # fmt: skip
def test_what_is_no_pooling_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a pooling of two streams|both are cls: say cls"):
        read_pooling(text)


def test_each_stream_has_its_own():
    both = "text=mean;vision=cls"
    assert dict(by_stream(both)) == {"text": "mean", "vision": "cls"}
    assert [of_stream(both, name) for name in ("vision", "text", "query")] == ["cls", "mean", None]
    assert [of_stream(name, "query") for name in POOLINGS] == list(POOLINGS)
    assert in_words(both, ("vision", "text")) == "vision cls, text mean"
    assert in_words("cls", ("vision", "text")) == "cls"


@pytest.mark.parametrize("pooling", ["cls", "mean", "text=mean;vision=cls", "a.b-2=cls;b=mean"])
def test_the_name_of_a_file_says_the_pooling(pooling):
    key = measure_key("default", "gap", pooling)
    assert pooling_of(key) == pooling and is_current(key)
    assert not is_current(key[:-1] + ("0" if key[-1] != "0" else "1"))
