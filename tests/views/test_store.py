import json
import shlex
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backend.errors import InputError
from backend.figures.scales import SCALES
from backend.figures.theme import marker_of
from backend.measures.suite.parts import measure_key
from backend.store import Store
from backend.store.index import Identity, entry_of
from backend.store.kinds import COMPARISONS, MEASURES
from backend.types import LayerRef, TaskSpec
from backend.views import queries, questions
from backend.views.cells import blocks_of, cell_at, cell_view, default_cell
from backend.views.groups import Overview, RunInfo, counted_groups, group_runs, noun, nouns
from backend.views.layers import coloured, colourings, nearest_ref, points_at, refs_of
from backend.views.missing import missing_of, present_in_words
from backend.views.scores import best_of, headline_metrics, score_rows, score_table
from backend.views.store_access import StoreView, look, named_store, overview


@pytest.fixture(scope="module")
def path(tmp_path_factory, store_factory):
    where = tmp_path_factory.mktemp("view") / "store"
    store_factory.make_store(
        where, placements=("late", "none", "full"), seeds=(0, 1), n=20, depth=4
    )
    return where


@pytest.fixture(scope="module")
def runs(path):
    return overview(str(path))


CKA = SCALES["cka"]


def view_of(path):
    return look(str(path))


def measured(path, group):
    ask = questions.measures(view_of(path), [group], ["cka"], pooling="cls", estimator="debiased")
    frame = ask.answer().frame
    return frame[frame["run_id"].eq(group.runs[0].run_id)]


def test_runs_that_differ_only_in_their_seed_are_one_group_in_a_fixed_order(runs):
    assert [group.label for group in runs.groups] == ["none", "full", "late"]
    assert [group.seeds for group in runs.groups] == [(0, 1)] * 3
    assert len({group.series.colour for group in runs.groups}) == 3


def test_a_group_is_found_by_key_by_placement_and_by_run_id(runs):
    late = runs.groups[2]
    assert runs.find(late.key) is late
    assert runs.find("late") is late
    alone = runs.find("late-seed1")
    assert alone is not None and alone.seeds == (1,) and alone.label == "late, seed 1"
    assert runs.find("later") is None


def test_without_a_choice_comparable_groups_are_shown_and_unknown_ones_are_named(runs):
    assert runs.chosen(()) == (runs.groups, ())
    assert runs.chosen(("late", "gone")) == ((runs.groups[2],), ("gone",))
    assert runs.chosen(("late", "none"))[0] == (runs.groups[0], runs.groups[2])
    assert runs.chosen(("gone",)) == (runs.groups, ("gone",))
    assert Overview((), ()).chosen(()) == ((), ())


def test_two_datasets_with_the_same_placement_get_different_labels_and_keys(
    tmp_path, store_factory
):
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0,), n=12, depth=4)
    other = tmp_path / "other"
    store_factory.make_store(
        other, placements=("late",), seeds=(0,), n=12, depth=4, dataset="memes"
    )
    manifest = json.loads((other / "runs/late-seed0/run.json").read_text())
    manifest["run_id"] = "late-memes"
    (other / "runs/late-seed0/run.json").write_text(json.dumps(manifest))
    (other / "runs/late-seed0").rename(tmp_path / "s/runs/late-memes")
    groups = overview(str(tmp_path / "s")).groups
    assert [group.label for group in groups] == ["late, macros test", "late, memes test"]
    assert len({group.key for group in groups}) == 2
    both = overview(str(tmp_path / "s"))
    assert both.find("late") is None and both.chosen(("late",))[1] == ("late",)
    first, second = (group.key for group in groups)
    assert both.why_none("late") == f"late is ambiguous: {first} or {second}"
    assert both.why_none("lat") == "this store has no run lat"
    assert both.find("late~memes") is groups[1], "what is not ambiguous is found"


def test_of_many_that_begin_alike_three_are_named(runs):
    groups = tuple(replace(runs.groups[0], key=f"late~{at}") for at in range(5))
    told = Overview(groups, ()).why_none("late")
    assert told == "late is ambiguous: late~0, late~1, late~2 or 2 more"


def test_what_is_missing_comes_with_a_command_that_a_shell_reads_back(runs, path):
    late = runs.groups[2]
    missing = {item.what: item for item in missing_of(late, StoreView("fine", "my store"))}
    assert set(missing) == {"checkpoint", "activations", "projections"}
    assert missing["activations"].runs == ("late-seed1",)
    words = shlex.split(missing["activations"].command)
    assert words[:2] == ["fusionscope", "capture"]
    assert words[words.index("--store") + 1] == "my store"
    assert words[words.index("--model") + 1] == late.manifest.origin.model
    train = shlex.split(missing["checkpoint"].command)
    assert train[train.index("--seeds") + 1] == "1"
    assert train[train.index("--placement") + 1] == "late"


def test_the_command_that_trained_a_run_is_given_as_it_was(runs):
    late = runs.groups[2]
    manifest = late.runs[1].manifest
    origin = manifest.origin.model_copy(update={"train": "fusionscope train --epochs 3 --seeds 1"})
    run_json = manifest.model_copy(update={"origin": origin}).to_json().encode()
    entry = late.runs[1].entry._replace(run_json=run_json)
    missing = missing_of(
        replace(late, runs=(replace(late.runs[1], entry=entry),)), StoreView("fine", "s")
    )
    assert missing[0].what == "checkpoint"
    assert missing[0].command == "fusionscope train --epochs 3 --seeds 1"


def test_scores_are_tabled_as_mean_and_sd_on_the_runs_own_split(runs):
    rows = score_rows(runs.groups)
    assert set(rows["split"]) == {"test"} and "loss" not in set(rows["metric"])
    assert headline_metrics(rows, runs.groups) == [
        ("irony", "auroc"),
        ("object", "accuracy"),
        ("topics", "macro_f1"),
    ]
    table = score_table(rows, runs.groups)
    assert list(table["placement"]) == ["none", "full", "late"]
    assert "±" in table["irony AUROC"][0]
    assert best_of(rows, runs.groups, "irony", "auroc").startswith("Highest mean: late, 0.9")


def test_a_store_is_missing_empty_or_fine_and_says_why(tmp_path, path):
    assert look(None).status == "unnamed"
    assert look(str(tmp_path / "gone")).status == "missing"
    assert "does not exist" in look(str(tmp_path / "gone")).message
    Store.create(tmp_path / "empty")
    assert look(str(tmp_path / "empty")).status == "empty"
    fine = look(str(path))
    assert fine.status == "fine" and fine.name == "store"


def test_the_command_line_counts_more_than_the_environment():
    environment = {"FUSIONSCOPE_STORE": "env"}
    assert named_store(["--store", "cli"], environment) == "cli"
    assert named_store(["--store=cli"], environment) == "cli"
    assert named_store([], environment) == "env"


def test_a_broken_run_is_listed_with_its_reason_beside_the_good_ones(tmp_path, store_factory):
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0, 1), n=12, depth=4)
    (tmp_path / "s/runs/late-seed0/run.json").write_text("{")
    found = overview(str(tmp_path / "s"))
    assert [item.run_id for item in found.broken] == ["late-seed0"]
    assert "not valid JSON" in found.broken[0].reason
    assert [run.run_id for run in found.runs] == ["late-seed1"]


def test_corrupt_measures_are_named_and_the_run_stays(tmp_path, store_factory):
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0,), n=12, depth=4)
    file = next((tmp_path / "s/runs/late-seed0/measures").glob("*.parquet"))
    file.write_bytes(b"nothing")
    groups = overview(str(tmp_path / "s")).groups
    assert len(groups) == 1
    table = questions.measures(view_of(tmp_path / "s"), groups, ["cka"]).answer()
    assert table.frame.empty and str(file.name) in table.problems[0]


def test_runs_with_other_samples_are_left_out_and_the_difference_is_named(tmp_path, store_factory):
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0,), n=12, depth=4)
    store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(1,), n=10, depth=4)
    first, second = (questions.run_at(view_of(tmp_path / "s"), f"late-seed{k}") for k in (0, 1))
    same = queries.comparable((first, second))
    assert same.run_ids == ("late-seed0",)
    assert "macro-00010" in same.message
    assert queries.comparable((first,)).message == ""


def test_a_sample_has_text_labels_in_words_and_a_picture(path):
    at = questions.run_at(view_of(path), "late-seed0")
    sample = queries.sample(at, "macro-00001")
    assert sample.text == "work with a dog, number 1"
    assert dict(sample.labels) == {"irony": "ironic", "object": "dog", "topics": "work, weather"}
    assert sample.thumbnail is not None and sample.thumbnail[8:12] == b"WEBP"
    binary = TaskSpec("t", "binary", ("no", "yes"))
    assert queries.label_in_words(None, binary) == "no label"
    assert queries.label_in_words([], TaskSpec("t", "multilabel", ("a",))) == "none of them"
    for run_id, sample_id in (("late-seed0", "gone"), ("late-seed9", "macro-00001")):
        with pytest.raises(
            InputError, match=f"no (sample|run) '{sample_id if 'g' in sample_id else run_id}'"
        ):
            queries.sample(questions.run_at(view_of(path), run_id), sample_id)


def test_a_clicked_place_leads_to_its_layers_in_every_block(runs):
    blocks = blocks_of(runs.groups[2])
    assert list(blocks) == ["all", "vision~text", "vision~vision", "text~text"]
    assert cell_at(blocks["all"], 6, 2) == (LayerRef("vision", 2), LayerRef("text", 1))
    assert cell_at(blocks["vision~text"], 1, 2.0) == (LayerRef("vision", 2), LayerRef("text", 1))
    assert cell_at(blocks["text~text"], 9, 0) is None
    assert cell_at(blocks["all"], "x", None) is None


def test_a_cell_in_detail_is_the_same_in_both_directions(runs, path):
    late = runs.groups[2]
    rows = measured(path, late)
    ab = cell_view(rows, (LayerRef("vision", 3), LayerRef("text", 2)), CKA)
    ba = cell_view(rows, (LayerRef("text", 2), LayerRef("vision", 3)), CKA)
    assert ab is not None and ba is not None
    assert ab.mean == ba.mean and ab.n == 20
    within = cell_view(rows, (LayerRef("text", 3), LayerRef("text", 1)), CKA)
    assert within is not None and within.mean == within.values["CKA"][0]
    dead = cell_view(rows, (LayerRef("vision", 0), LayerRef("text", 1)), CKA)
    assert dead is not None and dead.mean != dead.mean and "constant" in dead.reasons[0]
    assert cell_view(rows, (LayerRef("vision", 9), LayerRef("text", 1)), CKA) is None


def test_the_default_cell_is_where_vision_and_text_are_most_alike(runs, path):
    late = runs.groups[2]
    rows = measured(path, late)
    cell = default_cell(rows, blocks_of(late)["all"], CKA)
    assert cell is not None and (cell[0].stream, cell[1].stream) == ("vision", "text")
    cross = rows[rows["stream_a"].eq("vision") & rows["stream_b"].eq("text")]
    detail = cell_view(rows, cell, CKA)
    assert detail is not None and detail.mean == cross["value"].max()
    assert default_cell(rows.iloc[:0], blocks_of(late)["all"], CKA) is None


def test_points_are_coloured_by_task_class_or_modality(runs, path):
    group = runs.groups[2]
    frame = questions.projections(view_of(path), "late-seed0").answer().frame
    frame = frame[frame["pooling"].eq("cls")]
    samples = questions.samples(view_of(path), "late-seed0").answer().frame
    tasks = group.manifest.tasks
    kinds = colourings(tasks, group.series.streams, group.series.streams)
    assert list(kinds) == [
        "irony",
        "object",
        "topics:weather",
        "topics:work",
        "topics:food",
        "modality",
    ]
    refs = refs_of(frame, group.series.stream("text"))
    assert [ref.label for ref in refs] == ["0", "1", "2", "3", "4.fusion", "4"]
    points = points_at(frame, refs[2])
    irony = coloured(points, samples, tasks, "irony")
    assert list(irony["colour"][:2]) == ["sincere", "ironic"] and irony["colour"].iloc[16] == ""
    topics = coloured(points, samples, tasks, "topics:weather")
    assert list(topics["colour"][:3]) == ["weather", "weather", "not weather"]
    assert set(coloured(points, samples, tasks, "modality")["colour"]) == {"text"}


def test_a_layer_that_is_not_there_becomes_the_one_before_it():
    refs = [LayerRef("text", k) for k in range(5)]
    assert nearest_ref(refs, None) == refs[4]
    assert nearest_ref(refs, "2") == refs[2]
    assert nearest_ref(refs, "3.fusion") == refs[2]
    assert nearest_ref(refs, "12") == refs[4]


def test_a_picture_larger_than_a_thumbnail_is_not_even_opened(monkeypatch):
    monkeypatch.setattr(queries.Image, "open", lambda *_, **__: pytest.fail("was opened"))
    size = (13_000 - 1).to_bytes(3, "little")
    huge = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + size + size + b"\0" * 4
    picture, said = queries._picture(huge)
    assert picture is None and "larger than a thumbnail" in said


@pytest.mark.parametrize("stored", [b"", b"not a picture", b"RIFF\x10\x00\x00\x00WEBPVP8 cut"])
def test_a_picture_that_cannot_be_read_is_said_and_not_shown(stored):
    said = "The stored picture cannot be read, or is larger than a thumbnail."
    assert queries._picture(stored) == (None, said)
    assert queries._picture(None) == (None, "No picture was stored for this sample.")


def test_only_files_that_may_hold_a_measure_are_read(tmp_path, store_factory):
    store = store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0,), n=16)
    run = store.run("late-seed0")
    rows = run.measures().drop(columns="key")
    for key in ("default-shape-cls-0123456789", "thesis-cka-cls-0123456789"):
        name = "procrustes" if "shape" in key else "cka"
        chosen = rows[rows["measure"].eq("cka") & rows["pooling"].eq("cls")]
        run.add(MEASURES, chosen.assign(measure=name), key)
    where, groups = view_of(tmp_path / "s"), overview(str(tmp_path / "s")).groups
    broken = run.contents.file(MEASURES, "default-shape-cls-0123456789")
    held = queries.held_measures(questions.run_at(where, "late-seed0"), run.keys(MEASURES))
    assert set(held["default"]) == {*run.measure_names(["default"]), "procrustes"}
    assert held["thesis"] == ("cka",)
    assert len(questions.measures(where, groups, ["procrustes"]).answer().frame)
    thesis = questions.measures(where, groups, ["cka"], "thesis").answer().frame
    assert set(thesis["key"]) == {"thesis-cka-cls-0123456789"}
    broken.write_bytes(b"")
    assert not questions.measures(where, groups, ["cka"]).answer().problems
    assert questions.measures(where, groups, ["procrustes"]).answer().problems


def test_what_a_page_may_choose_from_comes_without_the_values(path, runs):
    offered = questions.offered(view_of(path), runs.groups, ["cka"]).answer().frame
    whole = questions.measures(view_of(path), runs.groups, ["cka"]).answer().frame
    kinds = whole[["pooling", "estimator"]].drop_duplicates()
    assert len(offered) == len(kinds) == 4 and set(offered["n"]) == {20}
    assert set(offered["params"]) == set(whole["params"])


def test_a_question_stays_the_same_until_its_own_tables_change(tmp_path, store_factory):
    store = store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0, 1), n=16)

    def asked():
        where, groups = view_of(tmp_path / "s"), overview(str(tmp_path / "s")).groups
        late = next(group for group in groups if group.name == "late")
        one = [replace(late, runs=late.runs[:1])]
        return (
            questions.measures(where, one, ["cka"]),
            questions.projections(where, "late-seed0"),
            questions.samples(where, "late-seed0"),
        )

    before = asked()
    rows = store.run("late-seed1").measures().drop(columns="key")
    store.run("late-seed1").add(MEASURES, rows, "more")
    store_factory.make_store(tmp_path / "s", placements=("none",), seeds=(0,), n=16)
    assert asked() == before and hash(asked()) == hash(before)
    store.run("late-seed0").add(MEASURES, rows, "default-rsa-cls-0123456789")
    assert asked() == before  # that file holds no CKA
    store.run("late-seed0").add(MEASURES, rows, "default-cka-cls-0123456789")
    now = asked()
    assert now[0] != before[0] and now[1:] == before[1:]
    run_json = tmp_path / "s/runs/late-seed0/run.json"
    run_json.write_text(run_json.read_text().replace("macros", "others"))
    assert not set(asked()) & {*now, *before}


def test_rows_of_groups_are_in_their_order_and_called_as_they_are(path, runs):
    late, none = runs.groups[2], runs.groups[0]
    single = runs.find("late-seed1")
    table = questions.measures(view_of(path), [late, single, none], ["participation_ratio"])
    frame = table.answer().frame
    order = frame[["series", "run_id", "seed"]].drop_duplicates()
    assert order.to_numpy().tolist() == [
        [late.key, "late-seed0", 0],
        [late.key, "late-seed1", 1],
        [single.key, "late-seed1", 1],
        [none.key, "none-seed0", 0],
        [none.key, "none-seed1", 1],
    ]
    assert dict(zip(frame["series"], frame["label"], strict=True))[single.key] == "late, seed 1"
    alone = frame[frame["series"].eq(single.key)]["value"].to_numpy()
    among = frame[frame["series"].eq(late.key) & frame["seed"].eq(1)]["value"].to_numpy()
    np.testing.assert_array_equal(alone, among)


def test_what_is_stored_between_two_runs_is_turned_and_goes_stale(tmp_path, store_factory):
    store = store_factory.make_store(tmp_path / "s", placements=("late", "none"), seeds=(0,), n=12)
    rows = store.run("late-seed0").measures(["cka"]).drop(columns="key")
    rows = rows[rows["stream_a"].eq("vision") & rows["stream_b"].eq("text")]
    assert not len(
        questions.cross(view_of(tmp_path / "s"), "none-seed0", "late-seed0").answer().frame
    )
    store.pair("late-seed0", "none-seed0").add(COMPARISONS, rows, "default-cka")
    ask = questions.cross(view_of(tmp_path / "s"), "none-seed0", "late-seed0")
    frame = ask.answer().frame
    assert set(frame["stream_a"]) == {"text"} and set(frame["key"]) == {"default-cka"}
    assert frame["layer_a"].tolist() == rows["layer_b"].tolist() and ask.replaced == ()
    run_json = tmp_path / "s/runs/none-seed0/run.json"
    run_json.write_text(run_json.read_text().replace("macros", "others"))
    again = questions.cross(view_of(tmp_path / "s"), "none-seed0", "late-seed0")
    assert again != ask and again.replaced == ("none-seed0",) and not len(again.answer().frame)


def test_a_measure_under_several_keys_counts_once_and_the_default_preset_wins():
    frame = pd.DataFrame(
        {
            "key": ["thesis-cls-1", "default-cls-9", "default-cls-5", "thesis-cls-1"],
            "measure": ["cka", "cka", "cka", "procrustes"],
            "value": [1.0, 2.0, 3.0, 4.0],
        }
    )
    assert questions.one_key(frame, ["measure"])["value"].tolist() == [3.0, 4.0]
    alone = frame[frame["key"].eq("thesis-cls-1")]
    assert questions.one_key(alone, ["measure"]) is alone


def test_what_this_version_computes_comes_before_what_an_older_one_left():
    now = measure_key("default", "rsa", "cls")
    for older in ("default-rsa-cls-0000000000", "default-rsa-cls-ffffffffff"):
        frame = pd.DataFrame({"key": [older, now], "measure": "rsa", "value": [1.0, 2.0]})
        assert questions.one_key(frame, ["measure"])["value"].tolist() == [2.0]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, store_factory):
    """Two placements and three released models on the same samples."""
    where = tmp_path_factory.mktemp("mixed") / "store"
    store_factory.make_store(where, placements=("none", "late"), seeds=(0, 1), n=12, depth=4)
    store_factory.make_released_store(where, n=12)
    return overview(str(where))


def run_info(manifest):
    entry = entry_of(
        Identity("", ""),
        manifest.to_json().encode(),
        manifest,
        (),
        has_activations=False,
        has_checkpoint=False,
    )
    return RunInfo(entry, None)  # no test asks its store


def infos(*manifests):
    return [run_info(manifest) for manifest in manifests]


def test_a_released_model_is_a_group_of_its_own_after_the_placements(mixed):
    assert [group.label for group in mixed.groups] == [
        *("none", "late"),
        *("tiny-one", "tiny-three", "tiny-two"),
    ]
    assert [group.placed for group in mixed.groups] == [True, True, False, False, False]
    none, clip = mixed.groups[0], mixed.groups[-1]
    assert none.seeds == (0, 1) and none.seeds_in_words == "seeds 0 and 1"
    assert clip.seeds == () and clip.seeds_in_words == ""
    assert clip.key == "tiny-two~macros" and mixed.find("tiny-two") == clip


def test_groups_are_called_by_what_they_are(mixed):
    ours, models = mixed.groups[:2], mixed.groups[2:]
    assert (noun(ours), nouns(ours), counted_groups(ours)) == (
        *("placement", "placements"),
        "2 placements",
    )
    assert (noun(models[:1]), nouns(models), counted_groups(models[:1])) == (
        *("model", "models"),
        "1 model",
    )
    assert nouns(mixed.groups) == "placements and models"
    assert noun(mixed.groups) == "placement or model"
    assert counted_groups(mixed.groups) == "2 placements and 3 models"


def test_two_models_of_one_name_are_two_groups_with_labels_of_their_own(store_factory):
    make = store_factory.make_released_manifest
    first, second = make("two", digest="aaaaaaaa1"), make("two", digest="bbbbbbbb2")
    groups = group_runs(infos(first, second))
    assert len(groups) == 2 and len({group.key for group in groups}) == 2
    assert [group.label for group in groups] == [
        f"tiny-two, {one.run_id}" for one in (first, second)
    ]


def test_models_shown_together_never_look_alike_however_many_the_store_has(store_factory):
    make = store_factory.make_released_manifest
    manifests = [make("two", name=f"m{at:02}", digest=f"{at:08}") for at in range(18)]
    groups = group_runs(infos(*manifests))
    alike = [groups[at] for at in (1, 2, 9, 17)]
    shown, _ = Overview(groups, ()).chosen([group.key for group in alike])
    assert [group.key for group in shown] == [group.key for group in alike]
    assert shown[:2] == tuple(alike[:2])
    text = shown[0].series.streams[1]
    looks = {(group.series.colour, marker_of(group.series, text)) for group in shown}
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == 4


def test_a_model_that_is_called_none_is_not_the_placement(store_factory):
    released = store_factory.make_released_manifest("two", name="none")
    ours = store_factory.make_manifest("none-seed0", "none")
    groups = group_runs(infos(released, ours))
    assert [group.placed for group in groups] == [True, False]
    assert groups[0].label == "none" != groups[1].label


def test_a_released_model_lacks_neither_scores_nor_a_checkpoint(mixed, tmp_path):
    assert missing_of(mixed.groups[-1], StoreView("fine", str(tmp_path))) == ()
    assert "checkpoint" not in present_in_words(mixed.groups[-1])


def test_the_matrix_has_the_blocks_of_the_pair_and_of_every_stream_with_itself(mixed):
    three = next(group for group in mixed.groups if group.label == "tiny-three")
    blocks = blocks_of(three, ("text", "text_decoder"))
    assert list(blocks) == [
        *("all", "text~text_decoder"),
        *("vision~vision", "text~text", "text_decoder~text_decoder"),
    ]
    assert [spec.name for spec in blocks["all"].rows] == ["text", "text_decoder"]
    assert list(blocks_of(three)) == [
        *("all", "vision~text"),
        *("vision~vision", "text~text", "text_decoder~text_decoder"),
    ]
    assert list(blocks_of(three, ("vision", "query"))) == list(blocks)[2:]


def test_a_named_site_that_is_not_there_becomes_its_layer():
    refs = [*(LayerRef("text", k) for k in range(4)), LayerRef("text", 3, "norm")]
    assert nearest_ref(refs, "3.norm") == refs[4]
    assert nearest_ref(refs, "3.projected") == refs[4]
    assert nearest_ref(refs[:4], "2.norm") == refs[2]
    assert nearest_ref(refs, None) == refs[3]


def test_a_first_run_that_cannot_be_read_does_not_hide_the_others(store_factory, tmp_path):
    made = store_factory.make_store(tmp_path / "s", ("none", "late"), (0,), n=8, depth=4)
    view = view_of(made.path)
    runs = tuple(questions.run_at(view, run_id) for run_id in made.run_ids())
    broken = made.paths.run(runs[0].run_id).samples
    for part in broken.iterdir():
        part.write_bytes(part.read_bytes()[:50])
    same = queries.comparable(runs)
    assert same.run_ids == (runs[1].run_id,) and same.message
