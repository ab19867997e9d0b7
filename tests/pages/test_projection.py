"""The Projection page: what moves, what a second fit alone moves, whose neighbours change."""

import html

import pandas as pd
import pytest

from backend.jobs.project import project_run
from backend.report.build import report
from backend.store import Store, kinds
from backend.types import LayerRef
from backend.views.neighbourhoods import changes, changes_in_words, most_changed
from backend.views.state import ViewState
from tests.pages.harness import charts, open_page, tables

PAGE = "projection"


@pytest.fixture(scope="module")
def bare(tmp_path_factory, store_factory):
    path = tmp_path_factory.mktemp("bare") / "s"
    store_factory.make_store(path, ("late",), seeds=(0,), n=24, depth=4, poolings=("cls",))
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory, store_factory):
    path = tmp_path_factory.mktemp("whole") / "s"
    store = store_factory.make_store(path, ("late",), seeds=(0,), n=24, depth=4, poolings=("cls",))
    run = store.run("late-seed0")
    project_run(run, method="pca")
    place = {"stream": "vision", "site": "block", "pooling": "cls", "method": "pca", "n": 24}
    run.add(kinds.REFITS, pd.DataFrame([{**place, "layer": 2, "movement": 0.123}]), "again")
    return path


@pytest.fixture
def visit(monkeypatch):
    def go(store, page=PAGE, **query):
        at = open_page(monkeypatch, store, page, **query)
        assert not at.exception
        return at

    return go


def words(at):
    """What a reader sees as text, as it reads."""
    items = [*at.markdown, *at.caption, *at.header, *at.code]
    return "\n".join(str(item.value) for item in items).replace("\\", "")


def stored_changes(path, before, ref):
    run = Store(path).run("late-seed0")
    rows = run.table(kinds.NEIGHBOURS).to_pandas()
    sides = [
        rows[rows.stream.eq(at.stream) & rows.layer.eq(at.layer) & rows.site.eq(at.site)]
        for at in (before, ref)
    ]
    return changes(*sides)


def test_a_map_is_coloured_by_the_neighbours_that_changed(visit, whole):
    at = visit(whole, colour="neighbours", stream="vision", layer="3")
    found = stored_changes(whole, LayerRef("vision", 2), LayerRef("vision", 3))
    (trace,) = charts(at)["map"]["data"]
    assert trace["marker"]["colorscale"] and trace["marker"]["cmax"] == 1
    assert "neighbours changed" in trace["hovertemplate"]
    assert found.k == 10 and found.frame["changed"].max() > 0
    assert "neighbours changed" in at.selectbox(key="view_colour").options


def test_the_samples_that_changed_most_are_listed_with_the_usual(visit, whole):
    at = visit(whole, stream="vision", layer="3")
    found = stored_changes(whole, LayerRef("vision", 2), LayerRef("vision", 3))
    head, *rows = tables(at)["neighbours-changed"]
    most = most_changed(found, 8)
    assert head[3:] == ["nearest in layer 2", "nearest in layer 3"]
    assert [row[0] for row in rows] == most["sample_id"].tolist()
    assert [row[2] for row in rows] == [f"{round(10 * at)} of 10" for at in most["changed"]]
    assert [row[3] for row in rows] == most["before"].tolist()
    assert f"{10 * found.usual[1]:.3g} of a sample's 10 nearest neighbours change" in words(at)


def test_the_movement_stands_beside_that_of_a_second_fit(visit, whole):
    shown = words(visit(whole, stream="vision", layer="3"))
    assert "fitting layer 2 a second time, with nothing changed, moves it 0.12" in shown
    assert "a point that moves has changed" not in shown


def test_a_first_layer_has_nothing_before_it(visit, whole):
    at = visit(whole, stream="vision", layer="0", colour="neighbours")
    assert "Layer 0 is the first: there is no layer before it." in words(at)
    assert "neighbours-changed" not in tables(at)


def test_a_run_without_stored_neighbours_says_which_command_adds_them(visit, bare):
    at = visit(bare, stream="vision", layer="3")
    assert "Whose neighbours changed is not stored for this run. This adds it:" in words(at)
    assert f"fusionscope project --store {bare} --run late-seed0" in words(at)
    assert "of the map's radius" in words(at)
    assert "neighbours changed" not in at.selectbox(key="view_colour").options


def test_compare_offers_the_same_colour_and_says_how_many_change(visit, whole):
    at = visit(whole, "compare", colour="neighbours", stream="vision", layer="3")
    found = stored_changes(whole, LayerRef("vision", 2), LayerRef("vision", 3))
    (trace,) = charts(at)["map-0"]["data"]
    assert trace["marker"]["colorscale"] and "neighbours changed" in trace["hovertemplate"]
    assert changes_in_words(found, LayerRef("vision", 2), LayerRef("vision", 3)) in words(at)


def test_compare_does_not_offer_what_no_run_keeps(visit, bare):
    at = visit(bare, "compare", stream="vision", layer="3")
    assert "neighbours changed" not in at.selectbox(key="view_colour").options


@pytest.mark.parametrize("colour", [None, "neighbours"])
def test_a_report_says_what_changed_and_is_coloured_by_it_where_that_is_asked(whole, colour):
    state = ViewState(stream="vision", layer="3", colour=colour)
    text = html.unescape(report(str(whole), state, ["projection"]).to_html())
    found = stored_changes(whole, LayerRef("vision", 2), LayerRef("vision", 3))
    assert "vision: what changed from layer 2 to 3" in text
    assert changes_in_words(found, LayerRef("vision", 2), LayerRef("vision", 3)) in text
    assert "fitting layer 2 a second time, with nothing changed, moves it 0.12" in text
    assert ("coloured by neighbours changed" in text) is (colour == "neighbours")


def test_a_report_names_the_command_that_adds_neighbours(bare):
    text = report(str(bare), ViewState(layer="3"), ["projection"]).to_html()
    assert f"fusionscope project --store {bare} --run late-seed0" in text
