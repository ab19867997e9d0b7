"""The Training page on runs that were measured while trained, on others, and on both together."""

import pytest

from tests.pages.harness import alts, charts, open_page

EPOCHS = tuple((epoch, 10 * epoch) for epoch in range(5))
SMALL = {"n": 16, "depth": 4, "width": 6, "poolings": ("cls",), "projections": False}


def early_stops(placement, seed):
    """``none`` was not measured; seed 1 of ``early`` stopped after epoch 2, ``late`` did not."""
    if placement == "none":
        return ()
    return EPOCHS[:3] if (placement, seed) == ("early", 1) else EPOCHS


@pytest.fixture(scope="module")
def store(tmp_path_factory, store_factory):
    path = tmp_path_factory.mktemp("training") / "store"
    store_factory.make_store(
        path, ("none", "early", "late"), (0, 1), training=early_stops, keep_activations="none",
        **SMALL,
    )  # fmt: skip
    return path


@pytest.fixture
def visit(monkeypatch):
    def go(store, **query):
        at = open_page(monkeypatch, store, "training", **query)
        assert not at.exception
        return at

    return go


def said(at):
    text = "\n".join(str(c.value) for c in (*at.caption, *at.info))
    return text.replace("\\", "").replace("⁠", "")


def test_the_measured_runs_are_played_and_the_others_named(visit, store):
    at = visit(store)
    assert not at.error and not at.warning
    drawn = charts(at)
    assert set(drawn) == {"played", "whole"}
    assert [frame["name"] for frame in drawn["played"]["frames"]] == ["0", "10", "20", "30", "40"]
    lines = [t["name"] for t in drawn["played"]["data"] if t.get("mode") == "lines+markers"]
    assert lines == ["early (1 of 2 seeds stopped)", "late"]
    assert "Without training measures: none-seed0 and none-seed1." in said(at)
    assert "early: seed 1 stopped after epoch 2." in said(at)
    assert "16 samples" in said(at)
    assert all(alts(at).values())


def test_measure_and_stream_are_chosen_and_live_in_the_link(visit, store):
    at = visit(store)
    at.get_by_key("view_stream").set_value("text").run()
    at.get_by_key("view_played").set_value("participation_ratio").run()
    assert not at.exception
    assert at.query_params["played"] in ("participation_ratio", ["participation_ratio"])
    again = visit(store, played="participation_ratio", stream="text", runs="late")
    figure = charts(again)["played"]
    assert figure["layout"]["xaxis"]["title"]["text"] == "text layer (0 = embeddings)"
    assert figure["layout"]["yaxis"]["title"]["text"] == "participation ratio"
    assert [t["name"] for t in figure["data"] if t.get("mode") == "lines+markers"] == ["late"]
    assert again.get_by_key("view_played").value == "participation_ratio"


def test_matching_layers_need_no_choice_of_a_stream(visit, store):
    at = visit(store, played="alignment")
    assert "matching" in charts(at)["played"]["layout"]["xaxis"]["title"]["text"]
    assert not [control for control in at.get("button_group") if control.key == "view_stream"]


def test_the_estimator_changes_the_curve(visit, store):
    before = charts(visit(store))["played"]
    after = charts(visit(store, estimator="biased"))["played"]
    assert before["frames"][1]["data"] != after["frames"][1]["data"]
    assert "biased" in after["layout"]["yaxis"]["title"]["text"]


def test_the_heatmap_shows_the_chosen_placement(visit, store):
    at = visit(store, focus="early~macros~tiny-early")
    ticks = charts(at)["whole"]["layout"]["yaxis"]["ticktext"]
    assert ticks == ["1", "2 ◆", "3", "4"]


def test_runs_that_were_not_measured_get_the_commands_that_do_it(visit, store):
    at = visit(store, runs="none")
    assert not charts(at)
    (lines,) = [code.value for code in at.code if "--measure-every" in code.value]
    train, capture, *derived = lines.splitlines()
    assert [line.split()[1] for line in derived] == ["measure", "project"]
    assert all(line.endswith("--run none-seed0") for line in derived)
    assert train.startswith("fusionscope train --data macros --placement none")
    assert train.endswith("--out DIR-measured --measure-every epoch")
    assert capture.startswith("fusionscope capture --model DIR-measured/seed-0 ")
    assert "--run-id none-seed0 --replace" in capture
    assert "have no training measures yet" in said(at)


def test_a_damaged_file_is_named_and_the_other_runs_are_played(visit, tmp_path, store_factory):
    store_factory.make_store(
        tmp_path / "s", ("early", "late"), (0,), training=early_stops, keep_activations="none",
        **SMALL,
    )  # fmt: skip
    file = tmp_path / "s/runs/late-seed0/training_measures.parquet"
    file.write_bytes(file.read_bytes()[:100])
    at = visit(tmp_path / "s")
    assert any(file.name in code.value for code in at.code)
    lines = [t for t in charts(at)["played"]["data"] if t.get("mode") == "lines+markers"]
    assert [line["name"] for line in lines] == ["early"]


def test_what_a_link_asks_in_vain_is_said(visit, store):
    at = visit(store, stream="smell", played="football")
    assert charts(at)
    assert "these runs have no stream smell" in said(at)
    assert "played=football cannot be used" in said(at)
