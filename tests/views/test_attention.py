import numpy as np
import pytest

from backend.inference.values import MapKey, Tokens, Trace
from backend.types import LayerRef, StreamSpec
from backend.views import attention

SUMMARY, CONTENT, SPECIAL = 1, 2, 4
VISION = StreamSpec.of("vision", "vision", 3, 4, [2], reads="text")
TEXT = StreamSpec.of("text", "text", 3, 4, [2, 3], reads="vision")
BOXES = np.array([[np.nan] * 4, [0, 0, 10, 10], [10, 0, 20, 10]], dtype=np.float32)


@pytest.fixture
def trace():
    weights = np.zeros((2, 4, 3), dtype=np.float32)  # heads, CLS word word SEP, CLS patch patch
    weights[0, 1] = 0.5, 0.4, 0.1
    weights[0, 2] = 0.2, 0.2, 0.6
    weights[1, 1] = 0.5, 0.1, 0.4
    weights[1, 2] = 0.6, 0.2, 0.2
    tokens = {
        "vision": Tokens(np.array([SUMMARY, CONTENT, CONTENT], np.int8), ("",) * 3, "box", BOXES),
        "text": Tokens(
            np.array([SUMMARY, CONTENT, CONTENT, SPECIAL], np.int8),
            ("[CLS]", "a ", "cat", "[SEP]"), "span", np.zeros((4, 2), np.float32),
        ),
    }  # fmt: skip
    keys = [MapKey(LayerRef("text", k, "fusion"), "vision") for k in (2, 3)]
    return Trace("m", "f", "d", (VISION, TEXT), {}, tokens, dict.fromkeys(keys, weights))


def test_words_meets_and_heads_of_the_stream_that_looks(trace):
    looks = attention.looking(trace)
    assert (looks.stream, looks.reads, looks.heads) == ("text", "vision", 2)
    assert looks.words == ((1, "a"), (2, "cat"))
    assert [key.ref.label for key in looks.keys] == ["2.fusion", "3.fusion"]


def test_the_share_of_each_patch_for_a_word_a_head_and_all_of_them(trace):
    key = attention.looking(trace).keys[0]
    one = attention.patches(trace, key, (20, 10), word=1, head=0, content_only=False)
    assert one.boxes.tolist() == [[0, 0, 10, 10], [10, 0, 20, 10]]
    assert one.weights.tolist() == pytest.approx([0.4, 0.1])
    shared = attention.patches(trace, key, (20, 10), word=1, head=0)
    assert shared.weights.tolist() == pytest.approx([0.8, 0.2])
    every = attention.patches(trace, key, (20, 10), content_only=False)
    assert every.weights.tolist() == pytest.approx(
        [(0.4 + 0.2 + 0.1 + 0.2) / 4, (0.1 + 0.6 + 0.4 + 0.2) / 4]
    )


def test_the_meet_of_a_site_is_the_last_one_before_it(trace):
    keys = attention.looking(trace).keys
    at = {ref.label: attention.meet_at(TEXT, keys, ref) for ref in TEXT.refs}
    assert at["0"] is None and at["1"] is None
    assert at["2.fusion"] == at["2"] == keys[0]
    assert at["3.fusion"] == at["3"] == keys[1]


def test_the_meter_says_where_attention_goes(trace):
    # of the words: (.5 + .8 + .5 + .4) / 4 to patches, the rest to CLS
    key = attention.looking(trace).keys[0]
    assert attention.meter(trace, key) == (
        "layer 2.fusion: 55 % to patches, 45 % to CLS, separators and registers"
    )


def test_a_model_without_such_a_stream_has_nothing_to_look_at(trace):
    from dataclasses import replace

    assert attention.looking(replace(trace, attention={})) is None
