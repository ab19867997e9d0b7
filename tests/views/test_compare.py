"""What stands beside what: columns, pairs of runs, layers of models of different depth."""

from dataclasses import replace

import pytest

from backend.figures.theme import Series
from backend.store import kinds
from backend.types import LayerRef, StreamSpec
from backend.views.compare import (
    cell_in,
    chosen_pair,
    columns_of,
    commands_for,
    cross_blocks,
    depths_differ,
    layer_for,
    run_pairs,
    subtractable,
)
from backend.views.groups import single
from backend.views.questions import cross
from backend.views.store_access import StoreView, look, overview


@pytest.fixture(scope="module")
def store(tmp_path_factory, store_factory):
    return store_factory.make_store(
        tmp_path_factory.mktemp("compare") / "store", seeds=(0, 1), n=12, depth=4
    )


@pytest.fixture(scope="module")
def groups(store):
    return overview(str(store.path)).groups


def labels(groups):
    return [group.label for group in groups]


def test_the_last_four_stand_side_by_side(groups):
    columns = columns_of(groups)
    assert labels(columns.groups) == ["full", "early", "middle", "late"]
    assert labels(columns.left_out) == ["none"]
    assert labels(columns_of(groups[:2]).groups) == ["none", "full"]
    assert columns_of(groups[:1]).left_out == ()


def test_runs_of_one_placement_get_colours_of_their_own_and_others_keep_theirs(groups):
    late = groups[-1]
    seeds = [single(late, run) for run in late.runs]
    colours = [group.series.colour for group in columns_of(seeds).groups]
    assert len(set(colours)) == 2
    kept = columns_of(groups[:3]).groups
    assert [g.series.colour for g in kept] == [g.series.colour for g in groups[:3]]


def test_the_pair_is_the_chosen_one_and_never_a_run_with_itself(groups):
    none, full, late = groups[0], groups[1], groups[-1]
    assert chosen_pair(groups, None, None) == (late, none)
    assert chosen_pair(groups, full.key, None) == (full, none)
    assert chosen_pair(groups, none.key, late.key) == (none, late)
    assert chosen_pair(groups, full.key, full.key) == (full, none)
    assert chosen_pair(groups, "gone", "gone") == (late, none)


def test_runs_are_paired_by_seed_and_the_first_ones_where_no_seed_is_common(groups):
    a, b = groups[0], groups[1]
    assert [(x.run_id, y.run_id) for x, y in run_pairs(a, b)] == [
        ("none-seed0", "full-seed0"),
        ("none-seed1", "full-seed1"),
    ]
    assert len(run_pairs(a, replace(b, runs=b.runs[1:]))) == 1
    assert run_pairs(a, replace(a, runs=a.runs[:1])) == ()  # a run is no pair with itself
    apart = run_pairs(replace(a, runs=a.runs[:1]), replace(b, runs=b.runs[1:]))
    assert [(x.run_id, y.run_id) for x, y in apart] == [("none-seed0", "full-seed1")]


def test_the_command_takes_the_runs_that_have_vectors_and_every_column(groups):
    shown = groups[1:]
    (command,) = commands_for(StoreView("fine", "DIR"), shown, run_pairs(shown[-1], shown[0]))
    assert command == (
        "fusionscope compare late-seed0 full-seed0 early-seed0 middle-seed0 --store DIR"
    )


def test_runs_without_vectors_are_captured_first(groups):
    bare = [
        replace(
            group,
            runs=tuple(
                replace(run, entry=run.entry._replace(has_activations=False)) for run in group.runs
            ),
        )
        for group in groups[:2]
    ]
    lines = commands_for(StoreView("fine", "DIR"), bare, run_pairs(*bare))
    assert [line.split()[1] for line in lines] == ["capture", "capture", "compare"]
    assert "--run-id none-seed0" in lines[0] and "--run-id full-seed0" in lines[1]
    assert lines[2] == "fusionscope compare none-seed0 full-seed0 --store DIR"


VISION, TEXT = StreamSpec.of("vision", "vision", 6, 8), StreamSpec.of("text", "text", 6, 8)
DEEP = Series("deep", "deep", (VISION, TEXT))
SHORT = Series("short", "short", (StreamSpec.of("vision", "vision", 3, 8), TEXT))
ONE = Series("one", "one", (VISION,))


def test_blocks_have_the_streams_of_one_run_in_rows_and_of_the_other_in_columns():
    blocks = cross_blocks(DEEP, SHORT)
    assert list(blocks) == [
        "all", "vision~vision", "vision~text", "text~vision", "text~text",
    ]  # fmt: skip
    assert blocks["text~vision"].rows == (TEXT,) and blocks["text~vision"].columns[0].depth == 3
    assert list(cross_blocks(ONE, ONE)) == ["vision~vision"]


def test_only_blocks_of_equal_depth_are_subtracted():
    blocks = cross_blocks(DEEP, SHORT)
    assert subtractable(blocks["text~text"], DEEP, SHORT)
    assert not subtractable(blocks["all"], DEEP, SHORT)
    assert not subtractable(cross_blocks(DEEP, ONE)["text~vision"], DEEP, ONE)


def test_a_cell_outside_of_the_block_falls_back_to_the_last_layers():
    block = cross_blocks(DEEP, SHORT)["all"]
    cell = (LayerRef("vision", 6), LayerRef("text", 2))
    assert cell_in(block, cell) == cell
    last = (LayerRef("vision", 6), LayerRef("vision", 3))
    assert cell_in(block, (LayerRef("vision", 1), LayerRef("vision", 6))) == last
    assert cell_in(block, None) == last


def test_layers_of_the_same_number_or_of_the_same_relative_depth_stand_together():
    refs = VISION.layers
    assert layer_for(LayerRef("vision", 4), VISION, VISION, refs) == LayerRef("vision", 4)
    fusion = LayerRef("vision", 4, "fusion")
    assert layer_for(fusion, VISION, VISION, refs) == LayerRef("vision", 3)
    short = SHORT.streams[0]
    found = [layer_for(ref, VISION, short, short.layers).layer for ref in refs]
    assert found == [0, 1, 1, 2, 2, 3, 3]


def test_streams_of_different_depth_are_named(groups):
    assert depths_differ(groups) == ()
    other = replace(groups[0], series=SHORT)
    assert depths_differ([replace(groups[0], series=DEEP), other]) == ("vision",)


def test_a_comparison_is_read_or_its_absence_explained(store):
    view = look(str(store.path))

    def asked(a, b):
        question = cross(view, a, b)
        return question, question.answer()

    question, nothing = asked("late-seed0", "none-seed0")
    assert nothing.frame.empty and nothing.problems == () and question.replaced == ()
    rows = store.run("late-seed0").measures(["cka"]).drop(columns="key")
    rows = rows[rows["stream_b"].eq("text") & (rows[["site_a", "site_b"]] == "block").all(axis=1)]
    pair = store.pair("late-seed0", "none-seed0")
    pair.add(kinds.COMPARISONS, rows, "cka-cls-1")
    assert len(asked("late-seed0", "none-seed0")[1].frame) == len(rows)
    turned = asked("none-seed0", "late-seed0")[1].frame
    assert set(turned["stream_a"]) == {"text"}
    file = pair.contents.file(kinds.COMPARISONS, pair.stored_key("cka-cls-1"))
    key, _, second, suffix = file.name.split(".")
    file.rename(file.with_name(f"{key}.000000000000.{second}.{suffix}"))
    question, stale = asked("late-seed0", "none-seed0")
    assert stale.frame.empty and question.replaced == ("late-seed0",)
    pair.add(kinds.COMPARISONS, rows, "cka-cls-1")
    pair.contents.file(kinds.COMPARISONS, pair.stored_key("cka-cls-1")).write_bytes(b"nonsense")
    (line,) = asked("late-seed0", "none-seed0")[1].problems
    assert "comparisons/late-seed0~none-seed0" in line
