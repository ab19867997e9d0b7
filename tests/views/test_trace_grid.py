"""Two captions by two images: where the pair is more than picture plus text."""

import numpy as np
import pytest

from backend.inference.values import Output, Trace
from backend.inference.what_if import BOTH, CAPTION, GIVEN, IMAGE
from backend.types import StreamSpec
from backend.views import trace_grid as views
from tests.inference.reference_pairs import at, ref
from tests.pages.harness import ROOT

VISION = StreamSpec.of("vision", "vision", 2, 2, [2], reads="text")
SETS = {GIVEN: (1, 1), IMAGE: (1, -1), CAPTION: (-1, 1), BOTH: (-1, -1)}


def grid(vector, streams=(VISION,), outputs=()):
    """Four traces: ``vector(site, caption, image)`` of settings 1 (this one) and -1 (another)."""
    return {
        name: Trace(
            *("tiny", "fusion", "d1", streams),
            {
                (site, pooling): np.asarray(vector(site, *settings), np.float32)
                for spec in streams
                for site in spec.refs
                for pooling in ("cls", "mean")
            },
            {},
            outputs=tuple(outputs[name]) if outputs else (),
        )
        for name, settings in SETS.items()
    }


def parts(row):
    return [row[f"{name}_part"] for name in ("caption", "image", "interaction")]


def test_what_adds_up_has_no_interaction_and_captions_are_told_from_images():
    def vector(site, caption, image):
        return [4 * caption, 3 * image]

    traces = grid(vector)
    table = views.effects(traces, "cls")
    assert len(table) == len(VISION.refs) and table["pooling"].eq("cls").all()
    row = table.iloc[0]
    # (4, 3), (4, -3), (-4, 3), (-4, -3): the upper two against the lower two are 8 apart
    assert row["caption_effect"] == 8 and row["image_effect"] == 6
    assert parts(row) == pytest.approx([0.8, 0.6, 0])
    assert "at no layer is the pair more" in views.effects_in_words(table, traces[GIVEN])
    assert "never lets" not in views.effects_in_words(table, traces[GIVEN])


def test_an_exclusive_or_is_all_interaction_and_not_undefined():
    traces = grid(lambda site, caption, image: [caption * image, 5])
    row = views.effects(traces, "cls").iloc[0]
    assert parts(row) == [0, 0, 1] and row["interaction_effect"] == 2
    assert (row["share"], row["reason"]) == (1, "")


def test_the_first_site_above_noise_and_the_largest_one_are_named():
    def vector(site, caption, image):
        both = {"2.fusion": 0.1, "2": 0.5}.get(site.label, 1e-5)
        return [caption, image, both * caption * image]

    traces = grid(vector)
    table = views.effects(traces, "cls")
    assert views.effects_in_words(table, traces[GIVEN]) == (
        "The pair becomes more than picture plus text at vision 2.fusion. It is that most at "
        "vision 2: the interaction is 33 % as long as all that changes."
    )  # 0.5 / √(1 + 1 + 0.25)


def test_a_site_at_which_no_more_than_noise_changes_has_a_reason_and_no_parts():
    def vector(site, caption, image):
        return [(site.layer + 1e-6) * caption, 1]

    table = views.effects(grid(vector), "cls")
    row = at(table, ref("vision 0"))
    assert np.isnan(parts(row)).all()
    assert row["reason"] == "layer 0 of vision is the same for all four pairs"


def ironic(*probabilities):
    """The outputs of the four pairs, in the order of the grid."""
    return {
        name: [
            Output("topics", "multilabel", ("a", "b"), np.array([0.9, 0.1], np.float32)),
            Output("irony", "binary", ("no", "yes"), np.array([1 - p, p], np.float32)),
        ]
        for name, p in zip((GIVEN, IMAGE, CAPTION, BOTH), probabilities, strict=True)
    }


def test_outputs_have_the_contrast_of_the_class_that_is_likeliest_for_the_pair_itself():
    traces = grid(lambda *_: [1, 1], outputs=ironic(0.9, 0.2, 0.1, 0.8))
    assert views.predictions(traces[CAPTION]) == ("topics: a 90 %", "irony: no 90 %")
    table = views.outputs(traces)
    topics, irony = table.to_dict("records")
    assert (topics["class"], topics["interaction"], topics["log_odds"]) == ("a", 0, 0)
    assert irony["class"] == "yes" and irony[IMAGE] == pytest.approx(0.2)
    assert irony["interaction"] == pytest.approx(1.4)
    odds = [0.9 / 0.1, 0.2 / 0.8, 0.1 / 0.9, 0.8 / 0.2]
    assert irony["log_odds"] == pytest.approx(np.log(odds[0] * odds[3] / (odds[1] * odds[2])))
    said = views.outputs_in_words(table)
    assert "irony: yes" in said and "90 % as given and 80 % with both others" in said
    assert "20 % with another image and 10 % with another caption" in said
    assert "+140 points, +7.2 in log-odds" in said
    shown = views.for_people(table)
    assert shown.iloc[1].tolist() == [
        "irony",
        "yes",
        "90 %",
        "20 %",
        "10 %",
        "80 %",
        "+140",
        "+7.2",
    ]


def test_a_certain_output_has_no_log_odds_and_a_model_without_outputs_says_nothing():
    certain = views.outputs(grid(lambda *_: [1, 1], outputs=ironic(1, 0.2, 0.1, 0.8)))
    assert np.isnan(certain["log_odds"].iloc[1])
    assert views.for_people(certain)["Interaction, log-odds"].tolist() == ["+0.0", "undefined"]
    assert "log-odds" not in views.outputs_in_words(certain)
    none = views.outputs(grid(lambda *_: [1, 1]))
    assert none.empty and views.outputs_in_words(none) == ""


def test_the_grid_is_there_with_all_four_pairs_only():
    traces = grid(lambda *_: [1, 1])
    assert views.has_grid({**traces, "blank text": traces[GIVEN]})
    assert not views.has_grid({name: traces[name] for name in (GIVEN, CAPTION, IMAGE)})


def macros(run_id):
    """The grid of two macros whose captions and faces are of opposite moods, through a model."""
    from backend.data.macros.draw import draw
    from backend.data.macros.grammar import compose
    from backend.data.sample import Sample
    from backend.inference.models import Catalogue
    from backend.inference.tracing import trace_batch
    from backend.store import Store

    catalogue = Catalogue(Store(str(ROOT / "cache" / "demo")))
    adapter = catalogue.open(catalogue.run(run_id).key)
    happy, sad = (
        compose(happy_face=happy, cheerful_caption=not happy, thing="cup")
        for happy in (True, False)
    )
    pairs = [(happy, happy), (happy, sad), (sad, happy), (sad, sad)]
    samples = [Sample(words.caption, (draw(face),)) for words, face in pairs]
    traces = trace_batch(adapter, samples, attention=False)
    return dict(zip((GIVEN, IMAGE, CAPTION, BOTH), traces, strict=True))


def test_on_the_demo_the_pair_is_more_than_its_parts_from_the_first_fusion_on():
    traces = macros("macros-late-s0")
    for pooling in ("cls", "mean"):
        table = views.effects(traces, pooling)
        above = table["interaction_effect"] > table["noise"]
        meets = table["position"] >= 9.5
        assert above.equals(meets), "from 10.fusion on in both streams, and nowhere before"
        early = table[~meets]
        assert (early["interaction_effect"] < 1e-5).all()
        assert (early.loc[early["stream"].eq("text"), "image_effect"] < 1e-5).all()
        assert (early.loc[early["stream"].eq("vision"), "caption_effect"] < 1e-5).all()
    said = views.effects_in_words(views.effects(traces, "cls"), traces[GIVEN])
    assert said.startswith(
        "The pair becomes more than picture plus text at vision 10.fusion and text 10.fusion. It "
        "is that most at "
    )
    assert views.outputs_in_words(views.outputs(traces)).startswith(
        "Of the outputs, irony: ironic has the largest interaction"
    )


def test_a_model_without_fusion_adds_up_at_every_layer_and_says_so():
    traces = macros("macros-none-s0")
    table = views.effects(traces, "cls")
    assert (table["interaction_effect"] < 1e-5).all()
    assert views.effects_in_words(table, traces[GIVEN]) == (
        "This model never lets the two meet: at no layer is the pair more than picture plus text. "
        "Only its outputs see both."
    )
