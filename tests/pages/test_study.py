"""The Study page in Streamlit's test harness: the demo, one run, and stores that lack something."""

import json
import shutil

import pytest

from backend.study import CLAIMS
from tests.pages.harness import ROOT, as_sent, charts, open_page

DEMO = ROOT / "cache" / "demo"


@pytest.fixture(scope="module")
def store(tmp_path_factory, store_factory):
    path = tmp_path_factory.mktemp("study") / "store"
    store_factory.make_store(path, n=24, depth=4)
    return path


@pytest.fixture
def visit(monkeypatch):
    def go(store, **query):
        at = open_page(monkeypatch, store, "study", **query)
        assert not at.exception
        return at

    return go


def words(at):
    kinds = ("title", "header", "subheader", "markdown", "caption", "code", "info", "warning")
    said = "\n".join(str(item.value) for kind in kinds for item in getattr(at, kind))
    return said.replace("\\", "")


def test_the_table_has_every_placement_with_the_best_in_bold_and_differences(visit, store):
    at = visit(store)
    assert not at.error and not at.warning
    scores, differences = (table.value for table in at.table)
    assert scores["placement"].tolist() == ["none", "full", "early", "middle", "late"]
    assert scores["seeds"].tolist() == ["3"] * 5
    irony = scores["irony AUROC"].tolist()
    assert [cell.startswith("**") for cell in irony] == [False, False, False, False, True]
    assert differences["placement"].tolist() == ["full", "early", "middle", "late"]
    assert all("[" in cell for cell in differences["irony AUROC"])
    assert "Difference to none" in words(at)


def test_every_claim_is_a_card_with_verdicts_a_figure_and_sentences(visit, store):
    at = visit(store)
    heads = [item.value for item in at.subheader]
    assert [claim.title for claim in CLAIMS] == [h for h in heads if h in {c.title for c in CLAIMS}]
    assert {f"effects-{claim.key}" for claim in CLAIMS} <= set(charts(at))
    assert "late fusion scores" in words(at) and "Holm's correction" in words(at)
    assert any(key.startswith("scatter-") for key in charts(at))


def test_baseline_task_and_metric_live_in_the_link(visit, store):
    at = visit(store)
    at.get_by_key("view_baseline").set_value("late").run()
    assert at.query_params["baseline"] in ("late", ["late"])
    assert at.table[1].value["placement"].tolist() == ["none", "full", "early", "middle"]
    at.get_by_key("view_task").set_value("object").run()
    assert at.query_params["task"] in ("object", ["object"])
    assert list(at.table[0].value.columns) == ["placement", "seeds", "object accuracy"]
    assert "topics macro" not in words(at)
    again = visit(store, baseline="late", task="object", metric="accuracy")
    assert list(again.table[0].value.columns) == ["placement", "seeds", "object accuracy"]
    assert again.get_by_key("view_metric").value == "accuracy"


def test_what_a_link_asks_in_vain_is_said_in_one_line(visit, store):
    at = visit(store, baseline="gone", task="gone", dataset="gone")
    notes = [c.value for c in at.caption if "link were ignored" in c.value]
    assert len(notes) == 1
    for key in ("dataset", "task", "baseline"):
        assert f"no {key} gone" in notes[0]
    assert at.table


def test_the_published_numbers_stand_beside_ones_own_when_asked_for(visit, store):
    at = visit(store)
    assert "Probing Layer-wise" not in words(at)
    next(t for t in at.toggle if t.label == "Published numbers").set_value(True).run()
    assert at.query_params["published"] in ("1", ["1"])
    assert "Probing Layer-wise" in words(at)
    theirs = at.table[2].value
    assert theirs.iloc[5].tolist()[2].strip("*") == "0.764 ± 0.004"
    assert {"published-scores", "published-alignment"} <= set(charts(at))
    assert "On Hateful Memes" in words(at)


def test_the_table_can_be_downloaded_in_three_formats(visit, store):
    at = visit(store)
    at.session_state["study-downloads"] = True
    labels = {button.proto.label for button in at.run().get("download_button")}
    assert {"scores (CSV)", "Table (LaTeX)", "Table (Markdown)"} <= labels


def test_one_run_is_not_enough_and_says_so(visit, tmp_path, store_factory):
    store_factory.make_store(tmp_path / "one", placements=("late",), seeds=(0,), n=16, depth=4)
    at = visit(tmp_path / "one")
    assert len(at.table) == 1 and at.table[0].value["placement"].tolist() == ["late"]
    assert "±" not in at.table[0].value["irony AUROC"][0]
    said = words(at)
    for verdict in ("**supported**", "**contradicted**", "**no clear difference**"):
        assert verdict not in said
    assert "not enough runs" in said


@pytest.mark.parametrize(("seeds", "keeps"), [((0, 1), True), ((0,), True), ((0, 1), False)])
def test_what_would_make_verdicts_possible_is_said_with_its_command(
    visit, tmp_path, store_factory, seeds, keeps
):
    path = tmp_path / "s"
    store_factory.make_store(path, ("none",), seeds=(0, 1), n=16, depth=4, projections=False)
    store_factory.make_store(path, ("late",), seeds=seeds, n=16, depth=4, projections=False)
    if not keeps:
        shutil.rmtree(path / "runs/late-seed1/predictions", ignore_errors=True)
        (path / "runs/late-seed1/predictions.parquet").unlink(missing_ok=True)
    at = visit(path)
    said, commands = words(at), "\n".join(code.value for code in at.code)
    lone = "late has one seed, so how much trainings differ by chance is not known"
    old = "1 run without predictions (late-seed1)"
    assert (lone in said) is (seeds == (0,))
    assert (old in said) is not keeps
    more = "fusionscope train --data macros --placement late --seeds 1,2 --out DIR"
    assert (more in commands) is (seeds == (0,))
    again = "fusionscope train --data macros --placement late --seeds 1 --out DIR"
    assert (again in commands) is not keeps


def test_without_scores_the_page_names_training_and_still_asks_what_it_can(
    visit, tmp_path, store_factory
):
    store_factory.make_store(
        tmp_path / "s", placements=("none", "late"), seeds=(0, 1), n=16, depth=4, scores=False
    )
    at = visit(tmp_path / "s")
    assert not at.table
    assert any(code.value.startswith("fusionscope train") for code in at.code)
    assert "effects-transitions" in charts(at)


def test_without_measures_the_page_names_the_command_and_still_shows_the_table(
    visit, tmp_path, store_factory
):
    store_factory.make_store(
        tmp_path / "s", placements=("none", "late", "early"), seeds=(0, 1), n=16, depth=4,
        measures=False,
    )  # fmt: skip
    at = visit(tmp_path / "s")
    assert len(at.table) == 2
    assert any(code.value.startswith("fusionscope measure --store") for code in at.code)
    assert "effects-scores" in charts(at)


def test_two_datasets_are_shown_one_at_a_time(visit, tmp_path, store_factory):
    path = tmp_path / "s"
    store_factory.make_store(path, placements=("late", "none"), seeds=(0, 1), n=16, depth=4)
    other = tmp_path / "other"
    store_factory.make_store(
        other, placements=("late", "none"), seeds=(0, 1), n=12, depth=4, dataset="memes"
    )
    for folder in (other / "runs").iterdir():
        raw = json.loads((folder / "run.json").read_text())
        raw["run_id"] = f"memes-{folder.name}"
        (folder / "run.json").write_text(json.dumps(raw))
        folder.rename(path / "runs" / raw["run_id"])
    at = visit(path)
    assert at.get_by_key("view_dataset").options == ["macros", "memes"]
    assert "On macros" in words(at) and "On memes" not in words(at)
    at.get_by_key("view_dataset").set_value("memes").run()
    assert not at.exception and "On memes" in words(at) and not at.warning


def test_names_from_data_are_shown_literally(visit, tmp_path, store_factory):
    store_factory.make_store(
        tmp_path / "s", placements=("none", "late"), seeds=(0, 1), n=16, depth=4
    )
    for seed in (0, 1):
        file = tmp_path / f"s/runs/late-seed{seed}/run.json"
        raw = json.loads(file.read_text())
        raw["placement"]["name"] = "**b** <script>"
        file.write_text(json.dumps(raw))
    at = visit(tmp_path / "s")
    for table in at.table:
        assert r"\*\*b\*\* \<script\>" in table.value["placement"].tolist()
    assert not any("<script" in figure for figure in as_sent(at))


@pytest.mark.skipif(not (DEMO / "runs").is_dir(), reason="the demo store was not built")
def test_the_demo_store_has_a_verdict_on_every_claim(visit):
    at = visit(DEMO)
    assert not at.error and not at.warning
    assert len(at.table) == 2
    assert "not enough runs" not in words(at)


def test_runs_on_other_samples_are_named_and_left_out_of_claims_on_layers(
    visit, tmp_path, store_factory
):
    make = store_factory.make_store
    make(tmp_path / "s", placements=("none", "late"), seeds=(0, 1), n=16, depth=4)
    make(tmp_path / "s", placements=("late",), seeds=(2,), n=12, depth=4)
    at = visit(tmp_path / "s")
    assert len(at.warning) == 1
    assert "late-seed2: other samples" in at.warning[0].value.replace("\\", "").replace(
        "\u2060", ""
    )
    assert "2 seeds of late" in words(at)
