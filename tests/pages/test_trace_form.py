"""The form of Trace: what is asked for, from what a visitor chooses; no model runs here."""

import io
from functools import partial

import pytest
from PIL import Image

from backend.data.macros.draw import draw
from backend.data.macros.grammar import compose
from backend.inference.models import Catalogue
from backend.inference.uploads import read_picture
from backend.inference.what_if import what_if
from backend.store import Store
from dashboard.trace import jobs, live
from tests.pages.harness import ROOT, open_trace

DEMO = ROOT / "cache" / "demo"
scene = partial(compose, thing="balloon")


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def key_of(run):
    return Catalogue(Store(DEMO)).run(run).key


@pytest.fixture
def asked(monkeypatch):
    """What was asked for: (what is to be traced, the work)."""
    out = []
    monkeypatch.setattr(live, "ask", lambda _, asked, work: out.append((asked, work)))
    monkeypatch.setattr(jobs, "prepare", lambda: None)
    return out


@pytest.fixture
def visit(monkeypatch, asked):
    def go(**query):
        return open_trace(monkeypatch, **query)

    return go


def press(at, label="Trace"):
    at = next(button for button in at.button if button.label == label).click().run()
    assert not at.exception
    return at


def choose(at, key, value):
    return at.get_by_key(key).set_value(value).run()


def labelled(elements, label):
    return next((one for one in elements if one.label == label), None)


def said(at):
    kinds = ("caption", "error", "warning", "info")
    lines = [str(item.value) for kind in kinds for item in getattr(at, kind)]
    return "\n".join(lines).replace("\\", "").replace("\u2060", "")


def test_one_click_swaps_the_caption_of_the_first_macro_which_is_ironic(visit, asked):
    at = press(visit(), "Swap the caption")
    ((pair, work),) = asked
    ironic = scene(happy_face=True, cheerful_caption=False)
    assert ironic.ironic and pair.caption == ironic.caption
    assert pair.pair.image.digest == read_picture(png(draw(ironic))).digest
    cheerful = scene(happy_face=True, cheerful_caption=True).caption
    assert at.get_by_key("trace-other").value == cheerful
    assert work.key == what_if(caption=cheerful, cut="all").key


def test_another_face_another_caption_and_a_cut_at_one_layer_are_asked_for(visit, asked):
    at = choose(visit(), "trace-other-source", "The other face")
    at.get_by_key("trace-other").set_value("so it is")
    cuts = labelled(at.selectbox, "Cut the fusion")
    assert cuts.options == [
        *("nowhere", "at all layers", "at layer 10", "at layer 11", "at layer 12")
    ]
    cuts.set_value(11)
    at.get_by_key("trace-blanks").set_value(True)
    press(at)
    ((_, work),) = asked
    sad = read_picture(png(draw(scene(happy_face=False, cheerful_caption=False))))
    assert work.key == what_if(caption="so it is", image=sad, blanks=True, cut=11).key


def test_another_image_may_be_uploaded_or_stored_and_may_be_left_out_again(visit, asked):
    at = choose(visit(), "trace-other-source", "Upload")
    press(at)
    red = Image.new("RGBA", (30, 20), (200, 0, 0, 128))
    at.get_by_key("trace-other-file").set_value(("a.png", png(red), "image/png")).run()
    assert "Another image: transparent parts on white" in said(at)
    press(at)
    choose(at, "trace-other-source", "From the store")
    press(at)
    choose(at, "trace-other-source", None)
    press(at)
    keys = [work.key for _, work in asked]
    none = what_if(cut="all").key
    assert keys[0] == keys[3] == none
    assert keys[1] == what_if(image=read_picture(png(red)), cut="all").key
    assert keys[2] not in keys[:2]


def test_a_model_that_does_not_fuse_has_nothing_to_cut(visit, asked):
    at = visit(model=key_of("macros-none-s0"))
    assert labelled(at.selectbox, "Cut the fusion") is None
    assert "there is no fusion to cut" in said(at)
    press(at)
    assert asked[0][1].key == what_if().key


@pytest.mark.parametrize(
    ("typed", "traced"),
    [
        ("w " * 50_000, ("w " * 2_500)),
        ("<b>so</b> **it** :red[is] $x$", "<b>so</b> **it** :red[is] $x$"),
        ("شكرا 🏴󠁧󠁢󠁥󠁮󠁧󠁿 \u202egnp.exe\x00", "شكرا 🏴󠁧󠁢󠁥󠁮󠁧󠁿 gnp.exe"),
    ],
)
def test_any_text_is_traced_as_the_model_gets_it(visit, asked, typed, traced):
    at = visit()
    at.get_by_key("trace-text").set_value(typed)
    at.get_by_key("trace-other").set_value(typed)
    at = press(at)
    ((pair, work),) = asked
    assert pair.caption == pair.pair.text.text == traced
    assert work.key == what_if(caption=traced, cut="all").key
    assert ("Another caption: " in said(at)) == (typed != traced) == bool(pair.pair.text.notes)


@pytest.mark.parametrize(
    ("field", "text", "line"),
    [
        ("trace-text", "", "caption: it is empty"),
        ("trace-text", "\u200b\x00", "caption: nothing in it can be seen"),
        ("trace-other", "\u200b\x00", "another caption: nothing in it can be seen"),
    ],
)
def test_nothing_else_is_traced_where_a_text_is_refused(visit, asked, field, text, line):
    at = visit()
    at.get_by_key(field).set_value(text)
    at = press(at)
    assert line in said(at) and not asked
    at.get_by_key(field).set_value("words")
    press(at)
    assert len(asked) == 1


def test_a_file_that_is_no_picture_gets_one_sentence_and_asks_for_nothing(visit, asked):
    at = choose(visit(), "trace-source", "Upload")
    assert labelled(at.button, "Trace").disabled
    at.get_by_key("trace-file").set_value(("a.png", b"<svg onload='x'/>", "image/png")).run()
    (error,) = at.error
    assert "SVG" in error.value and labelled(at.button, "Trace").disabled and not asked


def test_the_texts_are_the_visitors_until_something_else_is_suggested(visit, asked):
    at = visit()
    at.get_by_key("trace-text").set_value("my words")
    at.get_by_key("trace-other").set_value("their words")
    at = choose(press(at), "trace-face", "sad")
    assert at.get_by_key("trace-text").value == "my words"
    at = choose(at, "trace-mood", "cheerful")
    assert at.get_by_key("trace-text").value == scene(happy_face=0, cheerful_caption=1).caption
    assert at.get_by_key("trace-other").value == ""


def test_a_link_with_a_sample_opens_on_it_and_the_link_follows_the_choice(visit, asked):
    sample_id = str(Store(DEMO).run("macros-late-s0").sample_ids()[7])
    at = visit(sample=sample_id)
    assert at.get_by_key("trace-source").value == "From the store"
    assert at.get_by_key("trace-sample").value == sample_id
    press(at)
    at.get_by_key("trace-text").set_value("other words")
    press(at)
    assert [pair.sample_id for pair, _ in asked] == [sample_id, None]
    at = choose(at, "trace-source", "Draw one")
    assert "sample" not in at.query_params
    at = choose(at, "trace-source", "From the store")
    assert at.query_params["sample"] == at.get_by_key("trace-sample").value


def test_a_sample_and_a_model_that_are_not_here_are_named_in_one_line(visit):
    at = visit(sample="<b>no</b>", model="zzz")
    (line,) = [line for line in said(at).splitlines() if "ignored" in line]
    assert "these runs have no model zzz; these runs have no sample <b>no</b>" in line
    assert at.get_by_key("trace-source").value == "Draw one"
