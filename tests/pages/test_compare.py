"""The Compare page: columns, one selection in all maps, differences, one run by the other."""

import base64

import numpy as np
import pytest

from backend.jobs.compare import compare_runs
from backend.store import Store
from backend.types import LayerRef
from tests.pages.harness import alts, charts, marks, open_page

A, B = "late~macros~tiny-late", "early~macros~tiny-early"


@pytest.fixture(scope="module")
def store(tmp_path_factory, store_factory):
    path = tmp_path_factory.mktemp("compare") / "store"
    return store_factory.make_store(path, seeds=(0, 1), n=24, depth=4).path


@pytest.fixture
def visit(monkeypatch):
    def go(store, **query):
        return open_page(monkeypatch, store, "compare", **query)

    return go


def words(at):
    kinds = ("subheader", "markdown", "caption", "text", "info", "warning")
    return "\n".join(
        str(item.value).replace("\\", "").replace("\u2060", "")
        for kind in kinds
        for item in getattr(at, kind)
    )


def commands(at, verb=""):
    return [code.value for code in at.code if code.value.startswith(f"fusionscope {verb}")]


def numbers(item):
    """An array of a chart's JSON, which Plotly writes as base64 of its bytes."""
    if not isinstance(item, dict):
        return item
    array = np.frombuffer(base64.b64decode(item["bdata"]), dtype=item["dtype"])
    return array.reshape([int(k) for k in item.get("shape", "-1").split(",")]).tolist()


def ringed(at, key):
    """Where the ring around the chosen sample is in a map."""
    ring = marks(at)[key][0]
    assert ring["name"] == "selected"
    return ring["xanchor"], ring["yanchor"]


def ids_at(figure, place):
    return [
        sample
        for trace in figure["data"]
        if "hovertext" in trace
        for sample, x, y in zip(
            trace["hovertext"], numbers(trace["x"]), numbers(trace["y"]), strict=True
        )
        if (x, y) == place
    ]


def test_two_placements_stand_side_by_side_on_shared_scales(visit, store):
    at = visit(store, runs=f"{A},{B}")
    assert not at.exception and not at.warning
    drawn = charts(at)
    assert {f"placement-{A}", f"placement-{B}"} <= set(drawn)
    for row in ("transitions-vision", "transitions-text", "alignment", "dimension-vision",
                "dimension-text"):  # fmt: skip
        layout = drawn[row]["layout"]
        assert layout["xaxis"]["title"]["text"].startswith("early: ")
        assert layout["xaxis2"]["title"]["text"].startswith("late: ")
        assert {trace["yaxis"] for trace in drawn[row]["data"]} == {"y"}, "one scale"
    table = at.table[0].value
    assert list(table["placement"]) == ["early", "late"]
    assert all("±" in value for value in table["irony AUROC"])
    assert all(alts(at).values())


def test_four_of_five_are_shown_and_the_one_left_out_is_named(visit, store):
    at = visit(store)
    assert not at.exception
    keys = {key.partition("-")[2] for key in charts(at) if key.startswith("placement-")}
    assert {key.partition("~")[0] for key in keys} == {"full", "early", "middle", "late"}
    assert "left out: **none**" in words(at)
    assert len([key for key in charts(at) if key.startswith("map-")]) == 4
    assert len(at.query_params) == 0


def test_one_placement_is_shown_alone_and_says_how_to_get_a_second(visit, store):
    at = visit(store, runs=A)
    assert not at.exception
    assert "Choose a second placement" in words(at)
    assert "transitions-vision" in charts(at)
    assert not [key for key in charts(at) if key.startswith("difference")]


def test_single_runs_are_compared_by_their_ids(visit, store):
    at = visit(store, runs="late-seed0,late-seed1")
    assert not at.exception
    drawn = charts(at)
    assert {"placement-late-seed0", "placement-late-seed1"} <= set(drawn)
    curves = [t for t in drawn["difference-text-transitions"]["data"] if t.get("name")]
    colours = {t["line"]["color"] for t in curves if t.get("mode") == "lines+markers"}
    assert len(colours) == 2
    assert "no seed in common" in words(at)


def test_a_sample_is_marked_in_every_map_and_shown_once(visit, store):
    at = visit(store, runs=f"{A},{B}", sample="macro-00005", layer="2")
    for key in ("map-0", "map-1"):
        assert "macro-00005" in ids_at(charts(at)[key], ringed(at, key))
    assert ringed(at, "map-0") != ringed(at, "map-1")
    assert len(at.text_input) == 1 and at.text_input[0].value == "macro-00005"
    assert "number 5" in words(at)
    at.text_input[0].set_value("macro-00007").run()
    for key in ("map-0", "map-1"):
        assert "macro-00007" in ids_at(charts(at)[key], ringed(at, key))
    assert at.query_params["sample"] == "macro-00007"


def test_one_stepper_moves_all_maps_and_their_axes_hold_still(visit, store):
    at = visit(store, runs=f"{A},{B}", layer="1", sample="macro-00005")
    before = charts(at)
    next(b for b in at.button if b.label == "Next").click().run()
    after = charts(at)
    for key, name in (("map-0", "early"), ("map-1", "late")):
        assert f"{name}: vision layer 1," in before[key]["layout"]["xaxis"]["title"]["text"]
        assert f"{name}: vision layer 1.fusion," not in after[key]["layout"]["xaxis"]["title"]
        assert before[key]["layout"]["xaxis"]["range"] == after["map-0"]["layout"]["xaxis"]["range"]
    # 2.fusion is early's alone: late stays at its layer before it.
    assert "early: vision layer 2.fusion" in after["map-0"]["layout"]["xaxis"]["title"]["text"]
    assert "late: vision layer 1," in after["map-1"]["layout"]["xaxis"]["title"]["text"]
    next(b for b in at.button if b.label == "Next").click().run()
    for key in ("map-0", "map-1"):
        assert "vision layer 2," in charts(at)[key]["layout"]["xaxis"]["title"]["text"]
    assert at.query_params["layer"] == "2"


def test_the_difference_is_of_the_chosen_two_and_changes_sign_when_they_are_swapped(visit, store):
    at = visit(store, runs=f"{A},{B}", focus=A, against=B)
    there = charts(at)["difference-matrix"]
    assert "Seeds 0 and 1 are paired" in words(at)
    assert "late − early: vision layer" in there["layout"]["yaxis"]["title"]["text"]
    at = visit(store, runs=f"{A},{B}", focus=B, against=A)
    back = charts(at)["difference-matrix"]
    flat = [
        [
            None if v is None or v != v else v
            for line in numbers(figure["data"][0]["z"])
            for v in line
        ]
        for figure in (there, back)
    ]
    assert any(v for v in flat[0])
    for a, b in zip(*flat, strict=True):
        assert (a is None) == (b is None) and (a is None or a == pytest.approx(-b))
    assert back["data"][0]["zmin"] == -back["data"][0]["zmax"]


def test_choosing_the_reference_writes_the_link(visit, store):
    at = visit(store)
    at.get_by_key("view_against").set_value(B).run()
    assert at.query_params["against"] == B and at.query_params["focus"] == A
    assert (
        "minus early"
        in charts(at)["difference-text-transitions"]["layout"]["yaxis"]["title"]["text"]
    )


def test_without_a_comparison_the_command_that_makes_it_is_shown_and_then_its_matrix(
    visit, tmp_path, store_factory
):
    made = store_factory.make_store(tmp_path / "s", ("early", "late"), seeds=(0, 1), n=16, depth=4)
    at = visit(made.path)
    assert "cross" not in charts(at)
    assert commands(at, "compare") == [
        f"fusionscope compare late-seed0 early-seed0 --store {made.path}"
    ]
    compare_runs(made, ["late-seed0", "early-seed0"], poolings=["cls"])
    at.run()
    assert commands(at, "compare") == []
    figure = charts(at)["cross"]
    assert figure["layout"]["yaxis"]["title"]["text"].startswith("late vision layer")
    assert figure["layout"]["xaxis"]["title"]["text"].startswith("early vision layer")
    assert "The last layers of both. Click any cell." in words(at)
    at = visit(made.path, cell="vision:3~text:2")
    assert "Late vision layer 3 and early text layer 2" in words(at)
    frame = made.pair("late-seed0", "early-seed0").measures()
    value = frame[
        frame["estimator"].eq("debiased")
        & frame["stream_a"].eq("vision") & frame["layer_a"].eq(3)
        & frame["stream_b"].eq("text") & frame["layer_b"].eq(2)
    ]["value"].iloc[0]  # fmt: skip
    assert {m.label: m.value for m in at.metric}["CKA"] == f"{value:.3f}"
    at.get_by_key("view_cell_Column").set_value(LayerRef("text", 4)).run()
    assert at.query_params["cell"] == "vision:3~text:4"


def test_a_comparison_of_a_run_that_was_replaced_is_not_shown(visit, tmp_path, store_factory):
    made = store_factory.make_store(tmp_path / "s", ("early", "late"), seeds=(0,), n=16, depth=4)
    compare_runs(made, ["late-seed0", "early-seed0"], poolings=["cls"])
    path = made.path / "runs/late-seed0/run.json"
    path.write_text(path.read_text().replace("2026-01-31", "2026-02-01"))
    at = visit(made.path)
    assert not at.exception and "cross" not in charts(at)
    assert "out of date: late-seed0 was captured again" in words(at)
    assert len(commands(at, "compare")) == 1


def test_a_corrupt_comparison_is_named(visit, tmp_path, store_factory):
    made = store_factory.make_store(tmp_path / "s", ("early", "late"), seeds=(0,), n=16, depth=4)
    compare_runs(made, ["late-seed0", "early-seed0"], poolings=["cls"])
    (file,) = (made.path / "comparisons").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:200])
    at = visit(made.path)
    assert not at.exception
    assert any(file.name in code.value and "corrupt" in code.value for code in at.code)
    assert "transitions-vision" in charts(at)


def test_runs_of_different_samples_are_refused_and_the_ids_are_named(
    visit, tmp_path, store_factory
):
    store_factory.make_store(tmp_path / "s", ("early", "middle"), seeds=(0,), n=16, depth=4)
    store_factory.make_store(tmp_path / "s", ("late",), seeds=(0,), n=12, depth=4)
    at = visit(tmp_path / "s")
    assert not at.exception
    assert len(at.warning) == 1 and "macro-00012" in words(at) and "late-seed0" in words(at)
    assert not [key for key in charts(at) if A in key]
    assert "difference-matrix" in charts(at)


def test_models_of_different_depth_keep_their_own_axes(visit, tmp_path, store_factory):
    store_factory.make_store(tmp_path / "s", ("early",), seeds=(0,), n=16, depth=8)
    made = store_factory.make_store(tmp_path / "s", ("late",), seeds=(0,), n=16, depth=4)
    at = visit(tmp_path / "s", layer="6")
    assert not at.exception
    drawn = charts(at)
    panels = drawn["transitions-text"]["layout"]
    assert panels["xaxis"]["range"] == [0.5, 8.5]
    assert panels["xaxis2"]["range"] == [0.5, 4.5]
    assert "different numbers of vision and text layers" in words(at)
    assert "difference-matrix" not in drawn and "cannot be subtracted" in words(at)
    assert "matched by number" in words(at)
    titles = [drawn[key]["layout"]["xaxis"]["title"]["text"] for key in ("map-0", "map-1")]
    assert titles == ["early: vision layer 6, PCA 1", "late: vision layer 3, PCA 1"]
    compare_runs(Store(made.path), ["late-seed0", "early-seed0"], poolings=["cls"])
    at.run()
    figure = charts(at)["cross"]
    z = numbers(figure["data"][0]["z"])
    assert (len(z), len(z[0])) == (10, 18)


def test_missing_projections_and_measures_name_their_commands_and_the_rest_is_shown(
    visit, tmp_path, store_factory
):
    store_factory.make_store(
        tmp_path / "s", ("early",), seeds=(0,), n=16, depth=4, projections=False
    )
    store_factory.make_store(tmp_path / "s", ("late",), seeds=(0,), n=16, depth=4, measures=False)
    at = visit(tmp_path / "s")
    assert not at.exception
    assert any(c.startswith("fusionscope project --store") and "early" in c for c in commands(at))
    assert [key for key in charts(at) if key.startswith("map-")] == ["map-0"]
    assert "late: vision layer" in charts(at)["map-0"]["layout"]["xaxis"]["title"]["text"]


def test_without_measures_the_maps_are_still_there(visit, tmp_path, store_factory):
    store_factory.make_store(
        tmp_path / "s", ("early", "late"), seeds=(0,), n=16, depth=4, measures=False
    )
    at = visit(tmp_path / "s")
    assert not at.exception
    assert any(c.startswith("fusionscope measure") for c in commands(at))
    assert {"map-0", "map-1"} <= set(charts(at))
    at.get_by_key("view_pooling").set_value("mean").run()
    assert not at.exception and at.query_params["pooling"] == "mean"


def test_runs_without_anything_derived_and_without_vectors_name_all_that_is_missing(
    visit, tmp_path, store_factory
):
    store_factory.make_store(
        tmp_path / "s", ("early", "late"), seeds=(0,), n=16, depth=4, measures=False,
        projections=False, scores=False, checkpoint=False, keep_activations="none",
    )  # fmt: skip
    at = visit(tmp_path / "s")
    assert not at.exception
    said = "\n".join(commands(at))
    for command in ("measure", "project", "capture", "compare"):
        assert f"fusionscope {command}" in said
    assert "No scores were stored" in words(at)


def test_a_broken_link_opens_the_page_and_says_so_in_one_line(visit, store):
    at = visit(
        store, focus="gone", against="nobody", stream="smell", sample="nothing", block="x",
        layer="9.fusion", colour="none", cell="vision:77~text:1",
    )  # fmt: skip
    assert not at.exception and charts(at)
    (note,) = [c.value.replace("\\", "") for c in at.caption if "were ignored" in c.value]
    for part in ("no stream smell", "no sample nothing", "no colour none"):
        assert part in note


def test_the_measure_of_the_sidebar_changes_curves_and_differences(visit, store):
    at = visit(store, runs=f"{A},{B}")
    before = charts(at)
    at.get_by_key("view_estimator").set_value("biased").run()
    after = charts(at)
    for key in ("transitions-text", "difference-matrix", "difference-matching-layers"):
        assert before[key]["data"] != after[key]["data"], key
    at.get_by_key("view_dims").set_value("participation_ratio").run()
    assert at.query_params["dims"] == "participation_ratio"
    title = charts(at)["dimension-text"]["layout"]["yaxis"]["title"]["text"]
    assert title == "participation ratio"


def test_a_placement_beside_one_of_its_own_seeds_is_compared_with_the_others_alone(visit, store):
    at = visit(store, runs="late-seed0,late")
    assert not at.exception
    assert "Both are the same run" in words(at)
