"""Every page in Streamlit's own test harness, on good, empty and broken stores."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from backend.store import Store
from backend.store.kinds import TOKENS
from backend.types import LayerRef
from tests.pages.harness import APP, ROOT, alts, as_sent, charts, marks, open_page

PAGES = ("runs", "transitions", "alignment", "dimensionality", "projection", "study", "compare")


@pytest.fixture(scope="module")
def store(tmp_path_factory, store_factory):
    path = tmp_path_factory.mktemp("pages") / "demo"
    store_factory.make_store(path, seeds=(0, 1), n=24, depth=4)
    return path


@pytest.fixture
def visit(monkeypatch):
    def go(store, page="runs", **query):
        return open_page(monkeypatch, store, page, **query)

    return go


def words(at):
    """Everything that a reader sees as text."""
    kinds = (
        "title",
        "header",
        "subheader",
        "markdown",
        "caption",
        "text",
        "code",
        "info",
        "warning",
        "error",
    )
    return "\n".join(str(item.value) for kind in kinds for item in getattr(at, kind))


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_with_charts_and_no_error(visit, store, page):
    at = visit(store, page)
    assert not at.exception and not at.error and not at.warning
    assert at.title[0].value == page.capitalize()
    assert charts(at)
    assert all(alts(at).values())


def test_runs_shows_a_card_a_placement_with_drawing_scores_and_commands(visit, store):
    at = visit(store)
    heads = [item.value for item in at.subheader]
    assert heads == ["Scores", "Placements", "none", "full", "early", "middle", "late"]
    assert sum(key.startswith("placement-") for key in charts(at)) == 5
    shown = {metric.label: metric.value for metric in at.metric}
    assert set(shown) == {"irony, AUROC", "object, accuracy", "topics, macro\\-F1"}
    assert all("±" in value for value in shown.values())
    commands = [code.value for code in at.code]
    assert any(c.startswith("fusionscope capture --model runs/late") for c in commands)
    assert any(c.startswith("fusionscope project --store") for c in commands)
    assert "n = 24" in words(at)


def test_runs_says_how_many_tokens_each_stream_has_a_sample(visit, tmp_path, store_factory):
    made = store_factory.make_store(tmp_path / "counted", ("late",), (0,), n=12, depth=4)
    rows = {"stream": ["text", "text", "vision"], "tokens": [9, 5, 1050], "samples": [4, 8, 12]}
    made.run("late-seed0").add(TOKENS, pd.DataFrame(rows))
    shown = words(visit(tmp_path / "counted")).replace("\\", "").replace("\u2060", "")
    assert "Tokens a sample: " in shown
    assert "text 5 (5 to 9)" in shown and "vision 1,050" in shown


def test_transitions_overlays_all_placements_and_shows_the_whole_matrix(visit, store):
    at = visit(store, "transitions")
    drawn = charts(at)
    assert set(drawn) == {"curve-vision", "curve-text", "heatmap"}
    names = [t.get("name") for t in drawn["curve-vision"]["data"] if t["mode"] == "lines+markers"]
    assert names == ["none", "full", "early", "middle", "late"]
    assert any("Where the streams are most alike" in c.value for c in at.caption)


def test_a_cell_in_the_url_is_shown_in_words_with_every_seed(visit, store):
    at = visit(store, "transitions", cell="vision:3~text:2", focus="early~macros~tiny-early")
    assert at.subheader[0].value == "Vision layer 3 and text layer 2"
    table = at.table[0].value
    assert list(table["seed"]) == ["0", "1"]
    shown = {metric.label: metric.value for metric in at.metric}
    assert float(shown["CKA"]) == pytest.approx(table["CKA"].astype(float).mean(), abs=5e-4)
    assert shown["n"] == "24"
    at.button[0].click().run()
    assert "cell" not in at.query_params
    assert not at.exception


def test_an_undefined_cell_shows_its_reason(visit, store):
    at = visit(store, "transitions", cell="vision:0~text:1")
    assert "Undefined: layer 0 of vision is constant" in words(at)
    assert {m.label: m.value for m in at.metric}["CKA"] == "undefined"


def test_the_estimator_and_pooling_change_the_curves_and_the_url(visit, store):
    at = visit(store, "transitions")
    before = charts(at)["curve-text"]["data"][1]["y"]
    at.get_by_key("view_estimator").set_value("biased").run()
    assert at.query_params["estimator"] == "biased"
    after = charts(at)["curve-text"]["data"][1]["y"]
    assert before != after
    at.get_by_key("view_pooling").set_value("mean").run()
    assert at.query_params["pooling"] == "mean"
    assert charts(at)["curve-text"]["data"][1]["y"] not in (before, after)


def test_one_placement_is_shaded_and_drawn_in_its_modalities_colours(visit, store):
    at = visit(store, "transitions", runs="late")
    figure = charts(at)["curve-vision"]
    (shade,) = figure["layout"]["shapes"]
    assert shade["path"].startswith("M3.5,0H4.5V1")
    assert "curve-text" in charts(at)


def test_choosing_placements_writes_the_url_and_survives_a_change_of_page(visit, store):
    at = visit(store, "transitions")
    keys = at.get_by_key("view_runs").value
    at.get_by_key("view_runs").set_value(keys[:2]).run()
    assert at.query_params["runs"] == ",".join(keys[:2])
    at.switch_page("pages/dimensionality.py").run()
    assert at.query_params["runs"] == ",".join(keys[:2])
    names = [t.get("name") for t in charts(at)["effective_dimension-text"]["data"]]
    assert names.count("none") == 1 and "late" not in names


def test_stepping_through_layers_moves_the_points_and_keeps_sample_and_axes(visit, store):
    at = visit(store, "projection", runs="late", layer="1", sample="macro-00005")
    first, ring = charts(at)["map"], marks(at)["map"]
    assert "vision layer 1" in first["layout"]["xaxis"]["title"]["text"]
    next(b for b in at.button if b.label == "Next").click().run()
    second = charts(at)["map"]
    assert at.query_params["layer"] == "2"
    assert at.query_params["sample"] == "macro-00005"
    assert first["layout"]["xaxis"]["range"] == second["layout"]["xaxis"]["range"]
    assert first["data"][0]["x"] != second["data"][0]["x"]
    assert "number 5" in words(at) and "Chosen sample" in words(at)
    assert {mark["name"] for mark in ring} == {"selected"} and marks(at)["map"] != ring


def test_both_streams_are_overlaid_when_coloured_by_modality(visit, store):
    at = visit(store, "projection", runs="late", colour="modality", layer="2")
    names = [t["name"] for t in charts(at)["map"]["data"]]
    assert names[:2] == ["vision (24)", "text (24)"]
    assert "fitted on its own" in words(at)


@pytest.mark.parametrize("page", PAGES)
def test_a_broken_link_opens_the_page_and_says_so_in_one_line(visit, store, page):
    at = visit(
        store,
        page,
        layer="seven",
        runs="gone",
        cell="a~b",
        junk="1",
        sample="nobody",
        colour="no such task",
        stream="smell",
        block="x~y",
        seed="77",
        focus="gone",
    )
    assert not at.exception
    notes = [c.value for c in at.caption if "link were ignored" in c.value]
    assert "layer\\=seven" in notes[0] and "junk" in notes[0] and "no run gone" in notes[0]
    own = {
        "transitions": "no focus gone; these runs have no block",
        "alignment": "no focus gone",
        "projection": "no stream smell",
        "compare": "no stream smell",
    }
    assert len(notes) == 1 + (page in own)
    assert own.get(page, "") in notes[-1].replace("\\", "")
    assert charts(at)


@pytest.mark.parametrize("page", PAGES)
def test_one_run_alone_is_enough(visit, tmp_path, store_factory, page):
    store_factory.make_store(tmp_path / "one", placements=("late",), seeds=(0,), n=16, depth=4)
    at = visit(tmp_path / "one", page)
    assert not at.exception and charts(at)


@pytest.mark.parametrize("page", PAGES)
def test_a_store_without_anything_derived_says_which_command_makes_it(
    visit, tmp_path, store_factory, page
):
    store_factory.make_store(
        tmp_path / "bare",
        placements=("late",),
        seeds=(0,),
        n=16,
        depth=4,
        measures=False,
        projections=False,
        scores=False,
        checkpoint=False,
    )
    at = visit(tmp_path / "bare", page)
    assert not at.exception
    command = {"projection": "fusionscope project", "runs": "fusionscope measure"}.get(
        page, "fusionscope measure"
    )
    assert any(code.value.startswith(command) for code in at.code)


@pytest.mark.parametrize("page", PAGES)
def test_a_streaming_run_shows_its_measures_and_misses_only_its_vectors(visit, tmp_path, page):
    from backend.capture.options import CaptureOptions
    from backend.jobs.capture import CaptureRequest, open_request, run_capture
    from tests.tiny import tiny_checkpoint

    request = CaptureRequest(
        model=str(tiny_checkpoint(tmp_path / "model")),
        data="macros",
        store=str(tmp_path / "store"),
        streaming=True,
        options=CaptureOptions(limit=12, batch_size=4, device="cpu"),
    )
    run_capture(request, open_request(request))
    at = visit(tmp_path / "store", page)
    assert not at.exception
    assert not at.error
    if page in ("transitions", "dimensionality"):
        assert charts(at)


def test_a_missing_an_empty_and_an_unnamed_store_get_a_helpful_page(visit, tmp_path, monkeypatch):
    Store.create(tmp_path / "empty")
    for path, head in (
        (tmp_path / "gone", "This store cannot be opened"),
        (tmp_path / "empty", "This store is empty"),
    ):
        at = visit(path)
        assert not at.exception
        assert at.subheader[0].value == head
        assert str(path) in words(at)
        assert any(code.value == "fusionscope demo" for code in at.code)


def test_a_broken_run_is_listed_beside_the_good_ones(visit, tmp_path, store_factory):
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0, 1), n=16, depth=4)
    (tmp_path / "s/runs/late-seed1/run.json").write_text('{"schema_version": 99}')
    at = visit(tmp_path / "s")
    assert not at.exception
    assert "newer Fusionscope" in words(at)
    assert [b for b in at.subheader if b.value == "late"]


def test_a_store_of_only_broken_runs_names_each_reason(visit, tmp_path, store_factory):
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0,), n=16, depth=4)
    (tmp_path / "s/runs/late-seed0/run.json").write_text("not json")
    at = visit(tmp_path / "s", "transitions")
    assert not at.exception
    assert at.subheader[0].value == "No run of this store can be read"
    assert "not valid JSON" in words(at)


@pytest.mark.parametrize(
    ("page", "folder"),
    [("transitions", "measures"), ("dimensionality", "measures"), ("projection", "projections")],
)
def test_a_corrupt_table_is_named_and_the_other_runs_are_shown(
    visit, tmp_path, store_factory, page, folder
):
    store_factory.make_store(tmp_path / "s", placements=("none", "late"), seeds=(0,), n=16, depth=4)
    file = next((tmp_path / "s/runs/late-seed0" / folder).glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:200])
    at = visit(tmp_path / "s", page)
    assert not at.exception
    assert file.name in words(at) and "corrupt Parquet" in words(at)
    if page != "projection":
        assert charts(at)


@pytest.mark.parametrize("page", ["transitions", "dimensionality"])
def test_where_the_only_table_is_damaged_the_page_does_not_ask_to_make_it_and_others_work(
    visit, tmp_path, store_factory, page
):
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0,), n=16, depth=4)
    file = next((tmp_path / "s/runs/late-seed0/measures").glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:200])
    at = visit(tmp_path / "s", page)
    assert not at.exception and "corrupt Parquet" in words(at)
    assert f"fusionscope verify --store {tmp_path / 's'}" in words(at)
    assert not any("yet. This makes them" in info.value for info in at.info)
    other = visit(tmp_path / "s", "projection")
    assert not other.exception and charts(other)


def test_runs_with_different_samples_are_not_averaged_and_the_ids_are_named(
    visit, tmp_path, store_factory
):
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0, 1), n=16, depth=4)
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(2,), n=12, depth=4)
    at = visit(tmp_path / "s", "dimensionality")
    assert not at.exception
    assert len(at.warning) == 1 and "macro\\-00012" in at.warning[0].value
    names = [t.get("name") for t in charts(at)["effective_dimension-text"]["data"]]
    assert "mean of 2 seeds, band min to max" in names


def test_markdown_and_html_in_captions_and_names_are_shown_literally(
    visit, tmp_path, store_factory
):
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0,), n=16, depth=4)
    manifest = tmp_path / "s/runs/late-seed0/run.json"
    raw = json.loads(manifest.read_text())
    raw["placement"]["name"] = "**bold** <script>alert(1)</script> :material/home:"
    manifest.write_text(json.dumps(raw))
    for page in PAGES:
        at = visit(tmp_path / "s", page)
        assert not at.exception
        for kind in ("markdown", "caption", "subheader"):
            for item in getattr(at, kind):
                assert "<script" not in item.value.replace("\\<script", "")
                assert "**bold**" not in item.value
                assert not getattr(item, "allow_html", False)
        assert not any("<script" in figure for figure in as_sent(at))


def test_the_dashboard_never_imports_torch_umap_or_sklearn(store):
    code = f"""
import os, sys
os.environ["FUSIONSCOPE_STORE"] = {str(store)!r}
from streamlit.testing.v1 import AppTest
at = AppTest.from_file({str(APP)!r}, default_timeout=60).run()
for page in {PAGES!r}:
    at.switch_page(f"pages/{{page}}.py").run()
    assert not at.exception, page
heavy = ("torch", "umap", "sklearn", "transformers", "timm", "numba")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert done.stdout.strip().splitlines()[-1:] == ["[]"], done.stderr[-2000:]


def test_pages_are_thin():
    for page in (ROOT / "pages").glob("*.py"):
        assert len(page.read_text().splitlines()) <= 150, page.name


def test_cells_and_samples_can_be_chosen_without_a_mouse(visit, store):
    at = visit(store, "transitions", runs="late", cell="vision:3~text:2")
    row = at.selectbox(key="view_cell_Row")
    assert row.value.stream == "vision" and row.value.layer == 3
    row.set_value(LayerRef("vision", 1)).run()
    assert at.query_params["cell"] == "vision:1~text:2"
    assert at.subheader[0].value == "Vision layer 1 and text layer 2"
    at = visit(store, "projection", runs="late")
    at.text_input(key="view_sample").set_value(" macro-00004 ").run()
    assert at.query_params["sample"] == "macro-00004"
    assert "number 4" in words(at)
    at.text_input(key="view_sample").set_value("nobody").run()
    assert any("have no sample nobody" in c.value for c in at.caption)


def test_a_damaged_table_of_tokens_is_one_line_and_the_page_goes_on(visit, store_factory, tmp_path):
    made = store_factory.make_store(tmp_path / "s", ("late",), (0,), n=8, depth=4)
    (made.paths.run("late-seed0").dir / "tokens.parquet").write_bytes(b"nothing")
    at = visit(tmp_path / "s")
    assert not at.exception
    assert "Delete the run and make it again" in words(at)
    assert "Every run" in [one.label for one in at.expander]
