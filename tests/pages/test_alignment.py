"""Alignment, and the choice of measure, on a store that `measure` filled, under both presets."""

import pytest

from backend.figures.scales import SCALES
from backend.jobs.measure import measure_store
from backend.store import Store
from backend.views.choices import ALIGNING, PAIRWISE
from tests.pages.harness import charts, open_page


@pytest.fixture(scope="module")
def store(tmp_path_factory, store_factory):
    path = tmp_path_factory.mktemp("alignment") / "store"
    made = store_factory.make_store(
        path, placements=("none", "late"), seeds=(0, 1), n=30, depth=4, keep_activations="all",
        measures=False,
    )  # fmt: skip
    measure_store(made, poolings=["cls"], workers=1)
    measure_store(made, ["late-seed0"], preset="thesis", workers=1)
    return path


@pytest.fixture
def visit(monkeypatch, store):
    def go(page, **query):
        return open_page(monkeypatch, store, page, **query)

    return go


def captions(at):
    return "\n".join(item.value.replace("\\", "") for item in at.caption)


def test_matching_layers_retrieval_and_the_matrix_are_drawn_for_all_placements(visit):
    at = visit("alignment")
    assert not at.exception and not at.error
    drawn = charts(at)
    assert set(drawn) == {
        "matching",
        "retrieval-image_to_text",
        "retrieval-text_to_image",
        "heatmap",
    }
    names = [t["name"] for t in drawn["matching"]["data"] if t.get("mode") == "lines+markers"]
    assert names == ["none", "late"]
    assert "matching text layer" in drawn["matching"]["layout"]["xaxis"]["title"]["text"]
    title = drawn["heatmap"]["layout"]
    assert "vision layer" in title["yaxis"]["title"]["text"]
    assert "text layer" in title["xaxis"]["title"]["text"]


@pytest.mark.parametrize("page", ["alignment", "transitions"])
def test_every_measure_of_two_layers_can_be_chosen(visit, page):
    at = visit(page)
    choice = at.get_by_key("view_measure")
    offered = ALIGNING if page == "alignment" else PAIRWISE
    assert choice.options == [SCALES[name].label for name in offered]
    for name in ("procrustes", "svcca", "mutual_knn", "rsa", "cka_rbf"):
        at.get_by_key("view_measure").set_value(name).run()
        assert not at.exception, name
        assert at.query_params["measure"] == [name] or at.query_params["measure"] == name
        curve = charts(at)["matching" if page == "alignment" else "curve-text"]
        assert curve["layout"]["yaxis"]["title"]["text"].startswith(SCALES[name].label)


def test_the_driving_samples_of_the_chosen_cell_are_shown_with_their_shares(visit, store):
    at = visit("alignment", cell="vision:3~text:2", runs="late")
    assert any(head.value == "Which samples drive it" for head in at.subheader)
    run = Store(store).run("late-seed0")
    from backend.types import LayerRef

    found = run.drivers(LayerRef("vision", 3), LayerRef("text", 2), "cls")
    best = found.sort_values("share").iloc[-1]
    shown = [text.value for text in at.text]
    assert f"{100 * best['share']:+.1f} %  {best['sample_id']}" in shown
    assert len([text for text in shown if " %  macro-" in text]) == 10


def test_a_distance_shows_no_drivers_and_chance_where_it_is_known(visit):
    at = visit("alignment", measure="procrustes", runs="late")
    assert not any(head.value == "Which samples drive it" for head in at.subheader)
    shown = {metric.label: metric.value for metric in at.metric}
    assert shown["Chance"] == "not known"
    at = visit("alignment", measure="mutual_knn", runs="late")
    assert {m.label: m.value for m in at.metric}["Chance"] == f"{10 / 29:.3f}"


def test_above_chance_is_a_switch_in_the_link_and_says_what_it_left_out(visit):
    at = visit("alignment", runs="none")
    before = charts(at)["heatmap"]
    toggle = next(t for t in at.toggle if t.label == "Above chance only")
    toggle.set_value(True).run()
    assert at.query_params["above"] in ("1", ["1"])
    after = charts(at)["heatmap"]
    assert "not above chance" in {t.get("name") for t in after["data"]}
    assert "not above chance" not in {t.get("name") for t in before["data"]}


def test_measures_without_a_test_have_no_switch(visit):
    at = visit("alignment", measure="svcca")
    assert not any(t.label == "Above chance only" for t in at.toggle)


def test_the_thesis_conventions_can_be_chosen_where_they_were_computed(visit):
    at = visit("alignment", runs="late")
    at.get_by_key("view_preset").set_value("thesis").run()
    assert not at.exception
    assert at.query_params["preset"] in ("thesis", ["thesis"])
    options = set(at.get_by_key("view_measure").options)
    assert options == {"CKA", "SVCCA", "Procrustes distance", "Mutual kNN"}
    at = visit("alignment", runs="none")
    assert "view_preset" not in at.session_state


def test_dimensions_can_be_chosen(visit):
    at = visit("dimensionality")
    assert set(charts(at)) == {
        f"{name}-{stream}"
        for name in ("effective_dimension", "participation_ratio")
        for stream in ("vision", "text")
    }
    at = visit("dimensionality", dims="two_nn,stable_rank")
    assert {key.rpartition("-")[0] for key in charts(at)} == {"two_nn", "stable_rank"}


def test_a_pooling_of_the_two_streams_is_offered_and_carried_in_the_link(
    monkeypatch, store_factory, tmp_path
):
    made = store_factory.make_store(
        tmp_path / "store", placements=("late",), seeds=(0,), n=30, depth=4, measures=False,
        keep_activations="all",
    )  # fmt: skip
    both = "text=mean;vision=cls"
    measure_store(made, poolings=["cls", both], workers=1)

    def go(page, **query):
        return open_page(monkeypatch, tmp_path / "store", page, **query)

    def values(at):
        return charts(at)["matching"]["data"]

    at = go("alignment")
    control = next(one for one in at.get("button_group") if one.label == "Pooling")
    assert control.options == ["cls", "vision cls, text mean"]
    alone = values(at)
    at.get_by_key("view_pooling").set_value(both).run()
    assert not at.exception and at.query_params["pooling"] in (both, [both])
    assert values(at) != alone and "no text" not in captions(at)
    linked = go("alignment", pooling="vision=cls;text=mean", runs="late")
    assert values(linked) == values(at)
    # Within a stream there is one pooling: the other pages show what they have.
    at = go("transitions", pooling=both)
    assert not at.exception and charts(at)
    control = next(one for one in at.get("button_group") if one.label == "Pooling")
    assert control.options == ["cls"]
