"""Models that somebody released stand in tables by their name and take no part in claims."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from backend.errors import InputError
from backend.study import StudyRun, alignment_points, build_table, examine, render
from backend.study.alignment import last_alignment
from backend.study.runs import blocks
from backend.types import StreamSpec
from tests.study.frames import curve, dimensions, last, measure, runs, scores

CLIP = StudyRun(
    run_id="macros-clip",
    dataset="macros",
    setting="",
    placement="clip",
    seed=None,
    samples="a",
    streams=(StreamSpec.of("vision", "vision", 4, 8), StreamSpec.of("text", "text", 4, 8)),
    released=True,
)


def released(value=0.99, name="clip"):
    frame = scores({name: [value]})
    return frame.assign(released=True, seed=pd.array([pd.NA], dtype="Int64"), run_id="macros-clip")


def both():
    ours = scores({"none": [0.7, 0.72], "late": [0.9, 0.93]})
    return pd.concat([ours.astype({"seed": "Int64"}), released()], ignore_index=True)


def test_a_table_lists_a_released_model_last_with_its_score_and_no_seeds():
    table = build_table(both(), baseline="none")
    assert [row.label for row in table.rows] == ["none", "late", "clip"]
    clip, column = table.rows[-1], table.columns[0]
    assert table.cell(clip, column).text == "0.990" and table.cell(clip, column).best
    assert table.seeds(clip) == "–"
    assert table.heading == "placement or model"


def test_a_released_model_has_no_difference_to_a_placement_and_is_no_baseline():
    table = build_table(both(), baseline="none")
    assert table.difference(table.rows[-1], table.columns[0]) is None
    text = render(table, "markdown")
    assert text.count("clip") == 1
    with pytest.raises(
        InputError, match=r"no run has the placement 'clip'\. There are: none, late"
    ):
        build_table(both(), baseline="clip")


def test_a_table_of_released_models_alone_speaks_of_models():
    table = build_table(released())
    assert table.heading == "model"
    for form in ("text", "csv", "json", "latex", "markdown"):
        assert "placement" not in render(table, form)
    assert json.loads(render(table, "json"))["rows"][0]["model"] == "clip"


def test_a_released_model_is_no_run_without_fusion_for_any_claim():
    placed = runs("early", "late")
    rows = []
    for one in (*placed, *(replace(CLIP, seed=seed, run_id=f"clip-{seed}") for seed in (0, 1, 2))):
        rows += curve(one, "vision", [0.9, 0.5, 0.6, 0.4]) + curve(
            one, "text", [0.9, 0.8, 0.7, 0.6]
        )
        rows += dimensions(one, "vision", [9, 8, 7, 6, 5]) + dimensions(
            one, "text", [9, 8, 7, 6, 5]
        )
    every = (*placed, *(replace(CLIP, seed=seed, run_id=f"clip-{seed}") for seed in (0, 1, 2)))
    assert all(not run.released for block in blocks(every) for run in block.runs)
    found = {one.claim.key: one for one in examine(every, both(), pd.DataFrame(rows))}
    beyond = [one for one in found["transitions"].findings if "beyond" in one.subject]
    assert beyond and all(one.verdict == "not enough runs" for one in beyond)
    assert all(one.verdict == "not enough runs" for one in found["dimension"].findings)


def test_a_released_model_is_no_point_of_alignment_against_score():
    placed = runs("none", "late", seeds=(0, 1))
    rows = [last(one, "svcca", 0.4) for one in (*placed, CLIP)]
    points = alignment_points((*placed, CLIP), both(), pd.DataFrame(rows))
    assert set(points["placement"]) == {"none", "late"}


def test_the_pair_decides_whose_last_layers_are_compared():
    decoder = StreamSpec.of("text_decoder", "text", 2, 8)
    one = replace(runs("late", seeds=(0,))[0], run_id="x")
    one = replace(one, streams=(*one.streams, decoder))
    rows = pd.DataFrame(
        [
            measure("x", "svcca", ("vision", 4), ("text", 4), 0.3),
            measure("x", "svcca", ("text_decoder", 2), ("vision", 4), 0.8),
        ]
    )
    assert last_alignment(rows, [one])["alignment"].tolist() == [0.3]
    asked = last_alignment(rows, [one], ("vision", "text_decoder"))
    assert asked["alignment"].tolist() == [0.8]
    assert last_alignment(rows, [one], ("vision", "query")).empty
