"""Pages on models of one, two and three streams, released by others and beside our own."""

import json

import pytest

from backend.store import Store
from tests.pages.harness import alts, charts, open_page

PAGES = (
    "runs",
    "transitions",
    "alignment",
    "dimensionality",
    "probes",
    "training",
    "projection",
    "compare",
    "study",
)
N = 24


@pytest.fixture(scope="module")
def stores(tmp_path_factory, store_factory):
    """{name: path}: one model each, all of them, and all beside two placements."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("one", "two", "three"):
        store_factory.make_released_store(folder / name, (name,), n=N)
    store_factory.make_released_store(folder / "models", n=N)
    store_factory.make_store(folder / "mixed", placements=("none", "late"), seeds=(0, 1), n=N)
    store_factory.make_released_store(folder / "mixed", n=N)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def visit(monkeypatch, stores):
    def go(store, page, **query):
        return open_page(monkeypatch, stores[store], page, **query)

    return go


def words(at):
    """All text of the page: what stands there, titles of widgets, their options and help."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "text", "code", "info")
    shown = [str(item.value) for kind in kinds for item in getattr(at, kind)]
    for kind in ("selectbox", "button", "button_group", "toggle", "pills", "multiselect"):
        for widget in at.get(kind):
            shown += [widget.label, *map(str, getattr(widget, "options", ()))]
            shown.append(str(getattr(widget, "help", "")))
    shown += alts(at).values()
    shown += [str(frame.value.columns) for frame in at.dataframe]
    return "\n".join(shown)


def options(at, label):
    return next(box for box in at.selectbox if box.label == label)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("store", ["one", "two", "three", "mixed"])
def test_every_page_opens_on_models_of_any_number_of_streams(visit, store, page):
    at = visit(store, page)
    assert not at.exception and not at.error and not at.warning
    assert at.title[0].value == page.capitalize()


@pytest.mark.parametrize("page", PAGES)
def test_a_store_without_placements_never_speaks_of_them(visit, page):
    at = visit("models", page)
    assert "model" in words(at).lower()
    assert "placement" not in words(at).lower()
    assert "seed" not in words(at).lower()


def test_a_store_of_both_says_so_and_lists_each_by_its_name(visit):
    at = visit("mixed", "runs")
    assert "2 placements and 3 models" in words(at)
    assert {"late", "tiny\\-two"} <= {item.value for item in at.subheader}
    assert "Placements and models" in words(at)


def test_alignment_of_one_stream_says_what_it_would_need(visit):
    at = visit("one", "alignment")
    assert "The chosen runs have one stream" in at.info[0].value
    assert not charts(at)


def test_two_streams_leave_nothing_to_choose(visit):
    at = visit("two", "alignment")
    assert "Streams compared" not in [box.label for box in at.selectbox]
    assert charts(at)["matching"]["layout"]["xaxis"]["title"]["text"].startswith("vision layer")


def test_the_pair_in_the_url_decides_what_alignment_shows(visit, stores):
    run = Store(stores["three"]).runs()["run_id"][0]
    rows = Store(stores["three"]).run(run).measures()
    at = visit("three", "alignment", pair="text~text_decoder", pooling="cls")
    drawn = charts(at)
    assert "text layer, with its matching text_decoder layer" in json.dumps(drawn["matching"])
    assert options(at, "Streams compared").value == ("text", "text_decoder")
    last = rows[
        rows["stream_a"].eq("text")
        & rows["stream_b"].eq("text_decoder")
        & rows["site_a"].eq("block")
        & rows["site_b"].eq("block")
        & rows["layer_a"].eq(4)
        & rows["layer_b"].eq(3)
        & rows["pooling"].eq("cls")
        & rows["estimator"].eq("debiased")
    ]["value"]
    shown = next(t for t in drawn["matching"]["data"] if t["mode"] == "lines+markers")
    assert f"mean {last.iloc[0]:.3f}" in shown["hovertext"][4]
    title = drawn["heatmap"]["layout"]
    assert "text_decoder" in title["xaxis"]["title"]["text"]
    assert "text_decoder" not in title["yaxis"]["title"]["text"]


def test_the_pair_is_chosen_in_the_sidebar_and_kept_on_other_pages(visit):
    at = visit("three", "alignment")
    box = options(at, "Streams compared")
    assert box.value == ("vision", "text")
    box.select(("vision", "text_decoder")).run()
    assert not at.exception
    assert at.query_params["pair"] in ("vision~text_decoder", ["vision~text_decoder"])
    at.switch_page("pages/compare.py").run()
    assert "Matching layers of vision and text\\_decoder" in words(at)
    at.switch_page("pages/transitions.py").run()
    assert "text_decoder" in charts(at)["heatmap"]["layout"]["xaxis"]["title"]["text"]


def test_a_pair_that_these_runs_do_not_have_is_named_and_the_default_is_shown(visit):
    at = visit("two", "alignment", pair="vision~query")
    assert "these runs have no streams vision and query" in words(at)
    assert charts(at)["matching"]["layout"]["xaxis"]["title"]["text"].startswith("vision layer")


def test_models_without_the_pair_are_named(visit):
    at = visit("mixed", "alignment")
    assert "Without streams vision and text: tiny\\-one" in words(at)


def test_a_pooling_that_a_stream_lacks_is_said_and_another_is_offered(visit):
    at = visit("three", "transitions", pooling="cls")
    assert "vision has no cls vectors" in words(at)
    assert {"curve-text", "curve-text_decoder"} <= set(charts(at))
    assert "curve-vision" not in charts(at)
    next(button for button in at.button if button.label == "Show mean vectors").click().run()
    assert "curve-vision" in charts(at)
    assert "no cls vectors" not in words(at)


def test_the_pooling_that_all_shown_streams_have_is_shown_first(visit):
    for pair, pooling in (("vision~text", "mean"), ("text~text_decoder", "cls")):
        at = visit("three", "alignment", pair=pair)
        assert (
            next(one for one in at.get("button_group") if one.label == "Pooling").value == pooling
        )
        assert "matching" in charts(at)


@pytest.mark.parametrize("page", ["runs", "transitions", "alignment", "dimensionality"])
def test_what_must_be_known_of_a_stream_stands_where_it_is_plotted(visit, page):
    assert "Its last layer is read by the projection alone" in words(visit("three", page))
    assert "projection alone" not in words(visit("two", page))


def test_a_projection_steps_through_every_site_in_its_declared_order(visit):
    at = visit("two", "projection", stream="vision", pooling="cls")
    slider = at.get("select_slider")[0]
    assert [label.split(" ")[0] for label in slider.options] == [
        *("0", "1", "2", "3", "4"),
        *("4.norm", "4.projected"),
    ]
    shown = visit("two", "projection", stream="vision", pooling="cls", layer="4.projected")
    assert "layer 4.projected" in json.dumps(charts(shown)["map"])


def test_the_points_of_the_pair_stand_together_in_a_projection(visit):
    at = visit("three", "projection", colour="modality", pair="text~text_decoder", pooling="cls")
    names = [trace["name"].split(" ")[0] for trace in charts(at)["map"]["data"] if "name" in trace]
    assert names[:2] == ["text", "text_decoder"]
    colours = [trace["marker"]["color"] for trace in charts(at)["map"]["data"][:2]]
    assert colours[0] != colours[1]


def test_a_released_model_is_no_baseline_and_takes_no_part_in_claims(visit):
    at = visit("mixed", "study")
    assert options(at, "Baseline").options == ["none", "late"]
    assert "Released models take no part in the claims" in words(at)
    assert "tiny" not in "".join(frame.value.to_csv() for frame in at.table)


def test_released_models_alone_are_asked_no_claim(visit):
    at = visit("models", "study")
    assert "take runs of models that fusionscope train has made" in words(at)
    assert not charts(at) and not at.table


def test_training_says_that_released_models_were_not_trained_here(visit):
    assert "not trained here" in visit("models", "training").info[0].value


def test_runs_without_a_seed_are_compared_without_pairing_by_seed(visit):
    at = visit("mixed", "compare", runs="late,tiny-two", focus="tiny-two~macros")
    assert not at.exception
    assert "A model without a seed is one run" in words(at)
    assert "difference-vision-transitions" in charts(at)
