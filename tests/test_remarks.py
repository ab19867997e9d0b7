"""Reasons and warnings as values: kept as JSON, worded in one place."""

import ast
import string
from pathlib import Path

import pytest

from backend import measures
from backend.remarks import (
    SENTENCES,
    Place,
    Remarks,
    in_words,
    merged,
    read_text,
    remark,
    sentences,
)

COPIES = remark("copies", "x", rows=3, n=9)


def test_a_sentence_is_made_of_the_layers_and_the_numbers():
    assert str(COPIES) == "3 of 9 rows of x are copies of another row"
    placed = COPIES.at({"x": (Place("vision", "4.fusion"),)})
    assert str(placed) == "3 of 9 rows of layer 4.fusion of vision are copies of another row"
    joined = COPIES.at({"x": (Place("vision", "4"), Place("text", "2", "run-1"))})
    assert "layer 4 of vision and layer 2 of text of run-1" in str(joined)


def test_what_is_written_is_read_again():
    remarks = Remarks.of(COPIES.at({"x": (Place("text", "1"),)}), remark("constant", "y"), None)
    text = remarks.to_text()
    assert read_text(text) == tuple(remarks)
    assert in_words(text) == str(remarks) and sentences(text) == tuple(map(str, remarks))
    assert Remarks.of().to_text() == "" and read_text("") == () and not Remarks.of(None)


def test_each_thing_is_said_once():
    assert Remarks.of(COPIES, [COPIES, COPIES]) == (COPIES,)
    text = Remarks.of(COPIES).to_text()
    assert merged(text, text) == text and merged("", "") == ""
    assert merged("old words", "old words") == "old words"
    assert sentences(merged("old words", text)) == ("old words", str(COPIES))


def test_only_what_is_about_a_layer_of_exactly_that_name_is_about_it():
    said = Remarks.of(*(remark("constant", name) for name in ("text", "text_decoder", "x")))
    assert [one.layers for one in said.about("text", "other")] == [("text",)]
    assert Remarks.of(remark("mostly_chance", n=6)).about("text")


@pytest.mark.parametrize(
    "text",
    ["layer 0 of vision is constant; n = 4", "[not ours]", "[3]", '[{"layers": []}]', '[{"code"'],
)
def test_sentences_of_older_stores_and_what_is_not_ours_are_shown_as_they_are(text):
    assert sentences(text) == (text,)


def test_a_code_of_a_newer_version_is_told_with_its_facts():
    text = '[{"code": "tilted", "layers": [["text", "3"]], "values": {"angle": 4.5}}]'
    assert in_words(text) == "tilted of layer 3 of text, angle = 4.5"
    assert in_words('[{"code": "copies", "values": {}}]') == "copies"


def test_every_remark_of_the_measures_has_a_sentence_that_its_values_fill():
    made = []
    for path in Path(measures.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "remark":
                code = node.args[0]
                made += [(code.value, node)] if isinstance(code, ast.Constant) else []
    assert len(made) > 25
    for code, node in made:
        wanted = {name for _, name, _, _ in string.Formatter().parse(SENTENCES[code]) if name}
        assert wanted - {"of"} == {keyword.arg for keyword in node.keywords}, code
        assert ("of" in wanted) == (len(node.args) > 1), code
