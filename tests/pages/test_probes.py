"""The Probes page on a store that has the part, and on runs that lack it or cannot have it."""

import base64
import json

import numpy as np
import pytest

from backend.jobs.measure import layers_of
from backend.measures.suite.compute import compute
from backend.measures.suite.parts import measure_key, part_of
from backend.measures.suite.rows import tidy_frame
from backend.store import Store, kinds
from tests.pages.harness import alts, charts, open_page

PART = part_of("default", "probes")


def add_probes(store, *run_ids):
    for run_id in run_ids:
        run = store.run(run_id)
        run.add(
            kinds.MEASURES,
            tidy_frame(compute(PART, layers_of(run, "cls")).rows),
            measure_key("default", "probes", "cls"),
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory, store_factory):
    path = tmp_path_factory.mktemp("probes") / "store"
    made = store_factory.make_store(
        path, placements=("none", "early", "late"), seeds=(0,), n=30, depth=4, width=6,
        keep_activations="all", poolings=("cls",),
    )  # fmt: skip
    add_probes(made, "none-seed0", "late-seed0")
    return path


@pytest.fixture
def visit(monkeypatch):
    def go(store, **query):
        return open_page(monkeypatch, store, "probes", **query)

    return go


def lines(figure):
    return [t["name"] for t in figure["data"] if t.get("mode") == "lines+markers"]


def test_each_stream_and_both_together_are_drawn_for_the_runs_that_have_probes(visit, store):
    at = visit(store)
    assert not at.exception and not at.error and not at.warning
    drawn = charts(at)
    assert set(drawn) == {"probe-vision", "probe-text", "probe-vision-and-text-together"}
    for figure in drawn.values():
        assert lines(figure) == ["none", "late"]
        assert any((t["name"] or "") == "chance 0.50" for t in figure["data"] if "name" in t)
    assert drawn["probe-text"]["layout"]["yaxis"]["title"]["text"] == "linear probe, AUROC"
    said = [c.value for c in at.caption if "Without probes" in c.value]
    assert len(said) == 1 and "early" in said[0]
    assert [c.value for c in at.code if "fusionscope measure" in c.value and "early" in c.value]
    assert all(alts(at).values())


def test_the_curve_is_what_the_store_holds(visit, store):
    at = visit(store, runs="late")
    figure = charts(at)["probe-text"]
    (line,) = [t for t in figure["data"] if t.get("mode") == "lines+markers"]
    rows = Store(store).run("late-seed0").measures(["linear_probe"])
    rows = rows[rows["estimator"].eq("irony") & rows["stream_a"].eq("text")]
    expected = rows[rows["stream_b"].eq("")].sort_values("layer_a")["value"].tolist()
    drawn = np.frombuffer(base64.b64decode(line["y"]["bdata"]), line["y"]["dtype"])
    np.testing.assert_allclose(drawn, expected)


def test_a_task_can_be_chosen_and_is_in_the_link(visit, store):
    at = visit(store)
    assert list(at.get_by_key("view_task").options) == ["irony", "object", "topics"]
    at.get_by_key("view_task").set_value("object").run()
    assert not at.exception
    assert at.query_params["task"] in ("object", ["object"])
    title = charts(at)["probe-vision"]["layout"]["yaxis"]["title"]["text"]
    assert title == "linear probe, accuracy"
    at = visit(store, task="topics")
    assert "macro-F1" in charts(at)["probe-vision"]["layout"]["yaxis"]["title"]["text"]
    assert not any("chance" in t.get("name", "") for t in charts(at)["probe-vision"]["data"])


def test_a_task_that_is_not_there_is_said_in_one_line(visit, store):
    at = visit(store, task="nonsense", layer="seven")
    assert not at.exception and charts(at)
    notes = [c.value for c in at.caption if "link were ignored" in c.value]
    assert any("no task nonsense" in note for note in notes)


def test_runs_without_probes_name_the_command(visit, store):
    at = visit(store, runs="early")
    assert not at.exception and not charts(at)
    assert any(code.value.startswith("fusionscope measure --store") for code in at.code)


def test_runs_without_labels_say_so(visit, tmp_path, store_factory):
    store_factory.make_store(
        tmp_path / "s", placements=("late",), seeds=(0,), n=16, depth=4, poolings=("cls",)
    )
    manifest = tmp_path / "s/runs/late-seed0/run.json"
    raw = json.loads(manifest.read_text())
    raw["dataset"]["tasks"] = []
    manifest.write_text(json.dumps(raw))
    at = visit(tmp_path / "s")
    assert not at.exception
    assert any("no labels" in info.value for info in at.info)


def test_a_corrupt_file_is_named_and_the_other_runs_are_shown(visit, tmp_path, store_factory):
    made = store_factory.make_store(
        tmp_path / "s", placements=("none", "late"), seeds=(0,), n=20, depth=4, width=4,
        keep_activations="all", poolings=("cls",),
    )  # fmt: skip
    add_probes(made, "none-seed0", "late-seed0")
    (file,) = (tmp_path / "s/runs/late-seed0/measures").glob("default-probes-*.parquet")
    file.write_bytes(file.read_bytes()[:100])
    at = visit(tmp_path / "s")
    assert not at.exception
    assert any(file.name in code.value for code in at.code)
    assert lines(charts(at)["probe-text"]) == ["none"]
