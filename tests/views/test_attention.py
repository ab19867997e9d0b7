from dataclasses import replace

import numpy as np
import pytest

from backend.inference.effects import ClassProbability, Effects, VectorShift
from backend.inference.values import MapKey, Tokens, Trace
from backend.types import LayerRef, StreamSpec
from backend.views import attention
from backend.views.attention import Choice

SUMMARY, CONTENT, SPECIAL = 1, 2, 4
VISION = StreamSpec.of("vision", "vision", 3, 4, [2], reads="text")
TEXT = StreamSpec.of("text", "text", 3, 4, [2, 3], reads="vision")
BOXES = np.array([[np.nan] * 4, [10, 0, 20, 10], [0, 0, 10, 10]], dtype=np.float32)
READ = [MapKey(LayerRef("text", k, "fusion"), "vision") for k in (2, 3)]
SEEN = MapKey(LayerRef("vision", 2, "fusion"), "text")
IRONIC = ClassProbability("irony", "ironic")


@pytest.fixture
def trace():
    """Words read patches at two meets, patches read words at one."""
    weights = np.zeros((2, 4, 3), dtype=np.float32)  # heads, CLS word word SEP, CLS patch patch
    weights[0, 1] = 0.5, 0.4, 0.1
    weights[0, 2] = 0.2, 0.2, 0.6
    weights[1, 1] = 0.5, 0.1, 0.4
    weights[1, 2] = 0.6, 0.2, 0.2
    back = np.zeros((2, 3, 4), dtype=np.float32)  # heads, CLS patch patch, CLS word word SEP
    back[:, 1] = 0.1, 0.2, 0.6, 0.1
    back[:, 2] = 0.4, 0.4, 0.1, 0.1
    tokens = {
        "vision": Tokens(np.array([SUMMARY, CONTENT, CONTENT], np.int8), ("",) * 3, "box", BOXES),
        "text": Tokens(
            np.array([SUMMARY, CONTENT, CONTENT, SPECIAL], np.int8),
            ("[CLS]", "a ", "cat", "[SEP]"), "span", np.zeros((4, 2), np.float32),
        ),
    }  # fmt: skip
    maps = {**dict.fromkeys(READ, weights), SEEN: back}
    return Trace("m", "f", "d", (VISION, TEXT), {}, tokens, maps)


def only(trace, *keys):
    return replace(trace, attention={key: trace.attention[key] for key in keys})


def shared(trace, key, stream, **choice):
    return attention.weights_over(trace, key, stream, Choice(**choice)).tolist()


def test_both_directions_of_the_streams_that_meet(trace):
    looks = attention.looking(trace)
    assert (looks.words, looks.patches, looks.heads) == ("text", "vision", 2)
    assert looks.captions == {1: "a", 2: "cat"}
    assert looks.to_patches == tuple(READ) and looks.to_words == (SEEN,)
    assert not looks.needs_word and not looks.needs_patch
    one_way = attention.looking(only(trace, *READ))
    assert one_way.to_patches == one_way.to_words == tuple(READ)
    assert one_way.needs_patch and not one_way.needs_word
    other_way = attention.looking(only(trace, SEEN))
    assert other_way.to_patches == other_way.to_words == (SEEN,)
    assert other_way.needs_word and not other_way.needs_patch


def test_attention_of_a_stream_to_itself_is_no_meet(trace):
    own = MapKey(LayerRef("text", 2), "text")
    joint = replace(trace, attention={own: np.ones((2, 4, 4), np.float32)})
    assert attention.looking(joint) is None
    assert attention.looking(replace(trace, attention={})) is None


def test_words_that_come_again_and_tokens_without_text_stay_apart(trace):
    text = Tokens(
        np.array([CONTENT] * 4, np.int8), ("cat", " cat", "", "cat"), "span",
        np.zeros((4, 2), np.float32),
    )  # fmt: skip
    again = attention.looking(replace(trace, tokens={**trace.tokens, "text": text}))
    assert list(again.captions.values()) == ["cat", "cat (2)", "token 3", "cat (3)"]


def test_the_share_of_each_patch_for_a_word_a_head_and_all_of_them(trace):
    key = READ[0]
    raw = shared(trace, key, "vision", word=1, head=0, content_only=False)
    assert raw == pytest.approx([0.5, 0.4, 0.1])
    assert shared(trace, key, "vision", word=1, head=0) == pytest.approx([0, 0.8, 0.2])
    every = shared(trace, key, "vision", content_only=False)
    assert every == pytest.approx([0.45, (0.4 + 0.2 + 0.1 + 0.2) / 4, (0.1 + 0.6 + 0.4 + 0.2) / 4])


def test_the_words_of_a_patch_are_what_it_reads_or_else_who_reads_it(trace):
    read = shared(trace, SEEN, "text", patch=1, content_only=False)
    assert read == pytest.approx([0.1, 0.2, 0.6, 0.1])
    assert shared(trace, SEEN, "text", patch=1) == pytest.approx([0, 0.25, 0.75, 0])
    # the column of patch 1 over the patches: heads .8 and .2 of "a", .25 and .5 of "cat"
    readers = shared(only(trace, *READ), READ[0], "text", patch=1, head=1)
    assert readers[1:3] == pytest.approx([0.2, 0.5])
    looks = attention.looking(trace)
    table = attention.word_table(trace, looks, Choice(patch=1), most=9)
    assert list(table.columns) == ["2.fusion"] and list(table.index) == ["a", "cat"]
    assert table["2.fusion"].tolist() == pytest.approx([0.25, 0.75])
    assert list(attention.word_table(trace, looks, Choice(patch=1), most=1).index) == ["cat"]


def test_the_patches_of_a_word_that_is_only_read_are_those_that_read_it(trace):
    readers = shared(only(trace, SEEN), SEEN, "vision", word=2, content_only=False)
    assert readers[1:] == pytest.approx([0.6, 0.1])


def test_a_word_that_reads_nothing_takes_no_part_and_alone_has_nothing(trace):
    weights = trace.attention[READ[0]].copy()
    weights[:, 1] = 0.0
    blind = replace(trace, attention={READ[0]: weights})
    for content_only in (True, False):
        every = shared(blind, READ[0], "vision", head=0, content_only=content_only)
        alone = shared(blind, READ[0], "vision", word=2, head=0, content_only=content_only)
        assert every == pytest.approx(alone)
        assert np.isnan(shared(blind, READ[0], "vision", word=1, content_only=content_only)).all()


def test_patches_are_numbered_as_one_reads_and_said_by_their_place(trace):
    patches = attention.patches(trace, "vision", (40, 10))
    assert patches.tokens == [2, 1]
    assert patches.boxes.tolist() == [[0, 0, 10, 10], [10, 0, 20, 10]]
    assert patches.hovers == [
        "patch 1 (12 % from the left, 50 % from the top)",
        "patch 2 (38 % from the left, 50 % from the top)",
    ]


def test_the_meet_of_a_site_is_the_last_one_before_it():
    at = {ref.label: attention.meet_at(TEXT, READ, ref) for ref in TEXT.refs}
    assert at["0"] is None and at["1"] is None
    assert at["2.fusion"] == at["2"] == READ[0]
    assert at["3.fusion"] == at["3"] == READ[1]


def test_the_meter_has_a_row_a_meet_of_either_stream(trace):
    table = attention.meter(trace, attention.looking(trace))
    assert list(zip(table["stream"], table["label"], strict=True)) == [
        ("text", "2.fusion"), ("text", "3.fusion"), ("vision", "2.fusion"),
    ]  # fmt: skip
    # of the words (.5 + .8 + .5 + .4) / 4 to patches, the rest to CLS; of the patches .8 and .5
    assert table.iloc[0, 2:].tolist() == pytest.approx([0.55, 0.45, 0, 0], abs=1e-6)
    assert table.iloc[2, 2:].tolist() == pytest.approx([0.65, 0.25, 0.1, 0], abs=1e-6)


def effects(stream, values, tokens):
    shares = np.eye(tokens, dtype=np.float32)[1 : 1 + len(values)]
    return Effects(
        IRONIC, stream, np.zeros((len(values), 4)), np.array(values, np.float32), shares, 0.5
    )


def test_agreement_at_every_meet_is_of_the_attention_that_is_shown(trace):
    tokens = {
        **trace.tokens,
        "vision": Tokens(
            np.array([SUMMARY, *[CONTENT] * 4], np.int8), ("",) * 5, "box",
            np.array([[np.nan] * 4, *[[0, 0, 1, 1]] * 4], np.float32),
        ),
    }  # fmt: skip
    weights = np.zeros((1, 4, 5), np.float32)
    weights[0, 1] = 0.1, 0.1, 0.2, 0.3, 0.4
    weights[0, 2] = 0.0, 0.7, 0.2, 0.1, 0.0
    of = replace(trace, tokens=tokens, attention={READ[0]: weights})
    looks, hidden = attention.looking(of), effects("vision", [0.1, -0.2, 0.3, -0.4], 5)
    along = attention.agreements(of, looks, hidden, Choice(word=1))
    assert along[["stream", "label", "n", "reason"]].values.tolist() == [
        ["text", "2.fusion", 4, ""]
    ]
    assert along["value"].tolist() == pytest.approx([1.0])
    against = attention.agreements(of, looks, hidden, Choice(word=2))
    assert against["value"].tolist() == pytest.approx([-1.0])


def test_what_is_the_same_for_all_is_not_compared_with_effects(trace):
    hidden = effects("text", [0.1, 0.2], 4)
    read = only(trace, *READ)
    looks = attention.looking(read)
    assert attention.agreements(read, looks, hidden, Choice()).empty
    assert len(attention.agreements(read, looks, hidden, Choice(patch=1))) == 2
    seen = only(trace, SEEN)
    hidden = effects("vision", [0.1, 0.2], 3)
    assert attention.agreements(seen, attention.looking(seen), hidden, Choice()).empty
    elsewhere = effects("query", [0.1, 0.2], 3)
    assert attention.agreements(trace, attention.looking(trace), elsewhere, Choice()).empty


def test_what_is_said_of_the_most_and_of_what_is_watched():
    names = ["cat", "dog", "hat", "cow"]
    said = attention.most_in_words(names, np.array([0.1, 0.4, np.nan, 0.25]), most=2)
    assert said == "dog 40.0 %, cow 25.0 %"
    assert attention.most_in_words(names, [0.0] * 4) == "none"
    hidden = effects("vision", [0.1, -0.25, np.nan], 4)
    assert attention.effects_in_words(hidden)[:2] == [
        "without it the probability of ironic (irony) falls by 0.100",
        "without it the probability of ironic (irony) rises by 0.250",
    ]
    assert attention.strongest(hidden, most=2) == [1, 0]
    moved = replace(hidden, target=VectorShift(LayerRef("text", 3), "cls"))
    assert attention.effects_in_words(moved)[0] == (
        "without it the cls vector of text at layer 3 moves by 0.100 of its length"
    )


def test_hidden_parts_are_told_by_their_rows_in_reading_order():
    regions = np.array([[0, 10, 20, 20], [0, 0, 20, 10]], np.float32)
    hidden = replace(effects("vision", [0.1, 0.2], 3), regions=regions)
    parts = attention.hidden_parts(hidden, (20, 20))
    assert parts.tokens == [1, 0] and parts.boxes[0].tolist() == [0, 0, 20, 10]
    assert parts.hovers[0] == "part 1 (50 % from the left, 25 % from the top)"
