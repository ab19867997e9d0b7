"""A trace as a file: all that was shown, and nothing of it that a browser would run."""

import base64
import json
from html.parser import HTMLParser

import numpy as np
import pytest

from backend.report.trace import HOLDS, still, trace_html
from tests.report.traced import ANYWHERE, HOSTILE, LABELS, NORM, PATH, panels, trace_file

VOID = ("meta", "img")


class Read(HTMLParser):
    """The elements of a file: their attributes, and the text in each."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, _, text in self.open:
            text.append(data)

    def texts(self, tag):
        return ["".join(text).strip() for name, _, text in self.elements if name == tag]

    def data(self, name):
        (text,) = [text for _, given, text in self.elements if given.get("id") == name]
        return json.loads("".join(text))


def numbers(packed):
    """The numbers of an array as Plotly packs it."""
    return np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"]).tolist()


@pytest.fixture(scope="module")
def read():
    return Read(trace_file().decode())


def test_hostile_text_stays_text_wherever_it_stands(read):
    assert read.open == [], "every element ends"
    assert not any(name.startswith("on") for _, given, _ in read.elements for name in given)
    assert [given["alt"] for tag, given, _ in read.elements if tag == "img"] == [
        "The picture that was traced"
    ]
    assert read.texts("blockquote") == [f"{HOSTILE}?"], "half a character cannot be written"
    assert f"turn: {HOSTILE}" in read.texts("li")
    assert HOSTILE in read.texts("th")
    scripts = [text for text in read.texts("script") if "alert(1)" in text]
    assert all(json.loads(text) for text in scripts) and len(scripts) == 2, "a map and the cards"


def test_a_file_holds_what_was_shown_and_says_so(read):
    assert HOLDS in read.texts("p")
    assert read.texts("h2") == [
        *("Contents", "The pair", "By layer", "Samples of the store", "Tables", "Made from")
    ]
    assert "Model late, seed 0, weights 0123456789ab." in read.texts("p")
    assert "A note." in read.texts("li")
    assert read.data("figure-2")["data"][0]["y"] == NORM
    assert set(read.data("figure-1-steps")) == set(LABELS)
    assert read.data("cards-0")["steps"]["2"][0]["cards"][0]["id"] == "b"
    assert read.texts("td") == ["0", "81 %"]
    assert read.data("provenance")["store"] == "small"


@pytest.mark.parametrize(("at", "where"), [("2.fusion", 2), ("9", 4), ("", 4)])
def test_the_strip_stands_where_the_page_stood_else_at_the_end(at, where):
    (slider,) = [given for _, given, _ in Read(trace_file(at).decode()).elements
                 if given.get("role") == "slider"]  # fmt: skip
    assert (slider["aria-valuenow"], slider["aria-valuemax"]) == (str(where), "4")


def test_a_single_figure_is_taken_away_as_it_stands_at_a_layer():
    way, norm, picture, *_ = panels()
    assert "frames" not in json.loads(still(way, "2.fusion"))
    _, trail, head = json.loads(still(way, "2.fusion"))["data"]
    assert numbers(trail["x"]) == list(PATH[:3, 0]), "the trail up to there"
    assert numbers(head["y"]) == [PATH[2, 1]]
    assert [shape["x0"] for shape in json.loads(still(norm, "3"))["layout"]["shapes"]] == [1, 3]
    assert len(json.loads(still(picture, "2"))["layout"]["shapes"]) == 2
    assert still(picture, "0") == picture.json, "nothing is looked at there"


def test_a_trace_without_sites_is_no_trace():
    with pytest.raises(ValueError, match="site"):
        trace_html([], [], "0", [], ANYWHERE)
