"""The study's frames from a store: datasets, models, scores on their own split."""

import json
from dataclasses import replace

import pytest

from backend.errors import InputError
from backend.store.scores import Score
from backend.study import build_table
from backend.views.store_access import overview
from backend.views.study import (
    MEASURES,
    datasets,
    described,
    effect_rows,
    findings,
    groups_of,
    markdown_table,
    score_frame,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory, store_factory):
    where = tmp_path_factory.mktemp("study") / "store"
    store_factory.make_store(
        where, placements=("none", "early", "late"), seeds=(0, 1, 2), n=20, depth=4
    )
    return str(where)


def change(path, run_id, edit):
    file = path / "runs" / run_id / "run.json"
    raw = json.loads(file.read_text())
    edit(raw)
    file.write_text(json.dumps(raw))


def test_scores_are_those_of_the_runs_own_split_with_the_tasks_metric_marked(path):
    runs = overview(path).runs
    frame = score_frame(runs)
    assert len(frame) == 9 * 3 and set(frame["split"]) == {"test"}
    assert frame["judged"].all() and set(frame["setting"]) == {""}
    assert set(frame["dataset"]) == {"macros"}
    table = build_table(frame, baseline="none")
    assert [row.label for row in table.rows] == ["none", "early", "late"]
    assert {cell.n for cell in table.cells.values()} == {3}


def test_a_task_without_its_own_metric_is_judged_by_the_first_one(path):
    info = overview(path).runs[0]
    scores = (Score("irony", "accuracy", "test", 0.5), Score("extra", "f2", "test", 0.1))
    frame = score_frame([replace(info, entry=info.entry._replace(scores=scores))])
    assert frame["judged"].tolist() == [True, True]


def test_datasets_of_one_name_are_told_apart_by_their_split(tmp_path, store_factory):
    store_factory.make_store(tmp_path / "s", placements=("late", "none"), seeds=(0,), n=12)
    change(tmp_path / "s", "late-seed0", lambda raw: raw["dataset"].update(split="dev"))
    seen = overview(str(tmp_path / "s"))
    assert set(datasets(seen.runs)) == {"macros dev", "macros test"}
    assert [group.label for group in groups_of(seen, "macros dev")] == ["late"]


def test_models_are_told_apart_only_where_a_placement_was_run_with_several(tmp_path, store_factory):
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0, 1), n=12)
    assert {one.setting for one in described(overview(str(tmp_path / "s")).runs)} == {""}
    change(tmp_path / "s", "late-seed1", lambda raw: raw["model"].update(name="other"))
    settings = {one.setting for one in described(overview(str(tmp_path / "s")).runs)}
    assert settings == {
        "tiny-late (vision 4x12 + text 4x12)", "other (vision 4x12 + text 4x12)",
    }  # fmt: skip


def test_the_store_is_asked_every_claim_with_the_measures_that_it_holds(path):
    results, problems = findings(path)
    assert [result.claim.key for result in results] == [
        "transitions", "dimension", "scores", "alignment", "interventions",
    ]  # fmt: skip
    assert problems == ()
    transitions = results[0].findings
    assert {one.subject for one in transitions} >= {"vision", "text"}
    assert all(one.n == 3 and one.verdict != "not enough runs" for one in transitions)
    # Three placements are too few for a correlation.
    assert {one.verdict for one in results[3].findings} == {"not enough runs"}
    assert set(MEASURES) >= {"cka", "effective_dimension"}


def test_an_unknown_pooling_an_empty_and_a_missing_store_are_bad_input(path, tmp_path):
    with pytest.raises(InputError, match=r"pooling: no run has measures of 'max'.*cls, mean"):
        findings(path, "max")
    (tmp_path / "empty" / "runs").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no run"):
        findings(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="does not exist"):
        findings(str(tmp_path / "gone"))


def test_a_corrupt_file_is_named_and_the_other_runs_count(tmp_path, store_factory):
    store_factory.make_store(
        tmp_path / "s", placements=("none", "late"), seeds=(0, 1, 2), n=16, depth=4
    )
    file = next((tmp_path / "s/runs/late-seed2/measures").glob("*.parquet"))
    file.write_bytes(file.read_bytes()[:200])
    results, problems = findings(str(tmp_path / "s"))
    assert len(problems) == 1 and file.name in problems[0]
    assert results[0].findings[0].n == 2


def test_a_row_of_the_forest_is_named_by_what_tells_it_apart(path):
    results, _ = findings(path)
    scores = effect_rows(results[2].findings)
    assert scores["label"].tolist()[0] == "late – none, irony AUROC"
    alone = effect_rows([one for one in results[2].findings if one.task == "irony"])
    assert alone["label"].tolist() == ["late – none", "late – early"]
    transitions = effect_rows(results[0].findings)
    assert "vision: early" in set(transitions["label"])
    assert transitions["label"].is_unique
    assert effect_rows([]).empty


def test_the_markdown_table_escapes_text_from_data_and_adds_the_thesis_where_it_fits(path):
    frame = score_frame(overview(path).runs)
    frame["placement"] = frame["placement"].replace({"early": "**x** [a](b)"})
    memes = frame[frame["task"].eq("irony")]
    table = build_table(memes)
    shown = markdown_table(table, {"macros": "hateful_memes"}, published=True)
    assert shown["placement"].tolist()[2] == r"\*\*x\*\* \[a\]\(b\)"
    assert shown["irony AUROC, thesis"].tolist() == ["0.654 ± 0.002", "0.764 ± 0.004", "–"]
    assert "irony AUROC, thesis" not in markdown_table(table, {"macros": "macros"}, published=True)
    assert "irony AUROC, thesis" not in markdown_table(table, {"macros": "hateful_memes"})
