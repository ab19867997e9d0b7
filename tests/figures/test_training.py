"""Curves that are played over a training, its heatmap, and the axis of steps below both."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backend.figures import training_curves, training_heatmap
from backend.figures.timeline import at_moments, epoch_length, lags_of, moments_of
from backend.figures.training import MOST_FRAMES, QUANTITIES
from tests.figures.frames import LATE, NONE, cka_frame, dimension_frame, spans

EPOCHS = tuple((epoch, 10 * epoch) for epoch in range(4))
HELD = (*QUANTITIES[:2], "effective_dimension", "participation_ratio")
"""What the rows of these tests hold."""


def recorded(one, seed, moments, frame=cka_frame):
    """One run's rows at every (epoch, step), each value times 1 - step / 1000."""
    base = frame(one, seeds=(seed,))
    return pd.concat(
        [
            base.assign(epoch=epoch, step=step, value=base["value"] * (1 - step / 1000))
            for epoch, step in moments
        ],
        ignore_index=True,
    )


def rows(*parts, frame=cka_frame):
    return pd.concat([recorded(*part, frame) for part in parts], ignore_index=True)


def labels(frame):
    return [moment.label for moment in moments_of(frame)]


def frame_of(figure, name):
    return next(frame for frame in figure.frames if frame.name == name)


def line_of(figure, name, at=0):
    return frame_of(figure, name).data[3 * at + 1]


def test_steps_are_named_by_epoch_where_all_runs_were_measured_after_each():
    assert labels(rows((LATE, 0, EPOCHS))) == ["untrained", "epoch 1", "epoch 2", "epoch 3"]
    two = rows((LATE, 0, EPOCHS), (NONE, 0, EPOCHS[:3]))
    assert labels(two) == ["untrained", "epoch 1", "epoch 2", "epoch 3"]


def test_steps_within_epochs_are_named_by_step_and_epoch():
    every_4 = ((0, 0), (1, 4), (1, 8), (2, 12), (2, 16))
    assert labels(rows((LATE, 0, every_4))) == [
        "untrained",
        "step 4 (epoch 1)",
        "step 8 (epoch 1)",
        "step 12 (epoch 2)",
        "step 16 (epoch 2)",
    ]
    mixed = labels(rows((LATE, 0, EPOCHS[:3]), (NONE, 0, every_4)))
    assert mixed[3] == "step 10 (epoch 1)" and len(mixed) == 7


def test_an_epoch_that_differs_between_runs_is_not_named():
    longer = tuple((epoch, 15 * epoch) for epoch in range(3))
    assert labels(rows((LATE, 0, EPOCHS), (NONE, 0, longer))) == [
        "untrained", "step 10", "step 15", "step 20", "step 30",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "length"),
    [(EPOCHS[1:], 10), ([(1, 4), (2, 12)], 6), ([(1, 10), (2, 15), (2, 20), (3, 30)], 10),
     ([(1, 10), (1, 15), (2, 20), (2, 30)], 15), ([(1, 15), (2, 12)], None), ([], None)],
)  # fmt: skip
def test_the_length_of_an_epoch_fits_all_rows_or_there_is_none(pairs, length):
    assert epoch_length(pd.DataFrame(pairs, columns=["epoch", "step"])) == length


def test_between_its_steps_a_run_is_shown_as_it_was_measured_last():
    frame = rows((LATE, 0, EPOCHS), (NONE, 0, ((0, 0), (2, 15))))
    shown = at_moments(frame, moments_of(frame))
    since = shown.groupby(["series", "moment"])["step"].unique().map(list)
    assert since["late"].to_dict() == {0: [0], 10: [10], 15: [10], 20: [20], 30: [30]}
    assert since["none"].to_dict() == {0: [0], 10: [0], 15: [15], 20: [15], 30: [15]}


def test_a_run_that_was_not_measured_before_a_step_is_not_shown_there():
    frame = rows((LATE, 0, EPOCHS), (NONE, 0, EPOCHS[2:]))
    shown = at_moments(frame, moments_of(frame))
    assert sorted(set(shown[shown["series"].eq("none")]["moment"])) == [20, 30]
    assert lags_of(frame, moments_of(frame))["none", 10].text == "not measured yet"


def test_what_is_held_is_said_seed_by_seed():
    frame = rows((LATE, 0, EPOCHS), (LATE, 1, EPOCHS[:3]), (NONE, 0, EPOCHS[:3]))
    lags = lags_of(frame, moments_of(frame))
    assert set(lags) == {("late", 30), ("none", 30)}
    late, none = lags["late", 30], lags["none", 30]
    assert (late.text, late.brief, late.over) == (
        "seed 1 stopped after epoch 2", "1 of 2 seeds stopped", False,
    )  # fmt: skip
    assert (none.text, none.brief, none.over) == (
        "stopped after epoch 2", "stopped after epoch 2", True,
    )  # fmt: skip


def test_a_run_measured_every_few_steps_is_over_only_once_its_next_time_has_passed():
    every_4 = ((0, 0), (1, 4), (1, 8), (2, 12))
    frame = rows((LATE, 0, ((0, 0), (1, 10), (2, 20))), (NONE, 0, every_4))
    frame = pd.concat([frame, rows((LATE, 1, ((0, 0), (2, 14))))], ignore_index=True)
    lags = lags_of(frame, moments_of(frame))
    assert lags["none", 14].text == "measured at step 12" and not lags["none", 14].over
    assert lags["none", 20].text == "last measured at step 12 (epoch 2)"
    assert lags["none", 20].over


def test_there_is_a_frame_and_a_step_of_the_slider_for_every_recorded_step():
    figure = training_curves(rows((LATE, 0, EPOCHS)), [LATE], "transitions", "text")
    assert [frame.name for frame in figure.frames] == ["0", "10", "20", "30"]
    slider = figure.layout.sliders[0]
    assert [step.label for step in slider.steps] == ["0", "1", "2", "3"]
    assert slider.currentvalue.prefix == "epoch " and slider.active == 3
    assert [list(step.args[0]) for step in slider.steps] == [["0"], ["10"], ["20"], ["30"]]
    assert [button.label for button in figure.layout.updatemenus[0].buttons] == [
        "▶ Play", "❚❚ Pause",
    ]  # fmt: skip


def test_a_frame_holds_the_values_of_its_step_and_the_last_one_is_shown_first():
    figure = training_curves(rows((LATE, 0, EPOCHS)), [LATE], "transitions", "text")
    assert list(line_of(figure, "10").y) == pytest.approx([0.9 * 0.99] * 4)
    assert list(figure.data[1].y) == pytest.approx([0.9 * 0.97] * 4)
    assert list(figure.data[1].y) == list(line_of(figure, "30").y)


def test_the_untrained_curve_stays_as_a_faint_reference():
    figure = training_curves(rows((LATE, 0, EPOCHS)), [LATE], "transitions", "text")
    still = next(t for t in figure.data if t.name == "late, untrained")
    assert list(still.y) == pytest.approx([0.9] * 4) and still.line.dash == "dot"
    at = list(figure.data).index(still)
    assert all(at not in frame.traces for frame in figure.frames)
    assert "untrained 0.900" in line_of(figure, "10").hovertext[0]
    assert "untrained" in line_of(figure, "0").hovertext[0]


@pytest.mark.parametrize("quantity", HELD)
def test_axes_hold_still_and_every_frame_moves_the_same_traces(quantity):
    both = (LATE, NONE)
    parts = [(one, seed, EPOCHS[: 4 - seed]) for one in both for seed in (0, 1)]
    frame = pd.concat([rows(*parts), rows(*parts, frame=dimension_frame)])
    figure = training_curves(frame, both, quantity, "vision")
    assert all(frame.layout.to_plotly_json() == {} for frame in figure.frames)
    for one in figure.frames:
        assert list(one.traces) == list(range(6)) and len(one.data) == 6
    low, high = figure.layout.yaxis.range
    drawn = [float(v) for one in figure.frames for t in one.data if t.y is not None for v in t.y
             if v is not None and not math.isnan(v)]  # fmt: skip
    assert low <= min(drawn) and max(drawn) <= high
    if quantity in ("transitions", "alignment"):
        assert (low, high) == pytest.approx((-0.02, 1.02))


def test_a_dimension_can_share_its_axis_with_the_other_stream():
    frame = rows((LATE, 0, EPOCHS), frame=dimension_frame)
    figure = training_curves(frame, [LATE], "effective_dimension", "text", span=(0.0, 12.0))
    assert tuple(figure.layout.yaxis.range) == (0, 12)


def test_a_placement_that_stopped_is_held_pale_and_named():
    frame = rows((LATE, 0, EPOCHS), (NONE, 0, EPOCHS[:3]))
    figure = training_curves(frame, [LATE, NONE], "transitions", "text")
    before, after = line_of(figure, "20", 1), line_of(figure, "30", 1)
    assert list(before.y) == list(after.y)
    assert (before.name, before.opacity) == ("none", 1)
    assert (after.name, after.opacity) == ("none (stopped after epoch 2)", 0.5)
    assert "stopped after epoch 2" in after.hovertext[0]
    assert line_of(figure, "30", 0).name == "late" and line_of(figure, "30", 0).opacity == 1


def test_a_seed_that_stopped_stays_in_the_mean_and_the_hover_says_so():
    frame = rows((LATE, 0, EPOCHS), (LATE, 1, EPOCHS[:2]))
    figure = training_curves(frame, [LATE], "transitions", "text")
    last = line_of(figure, "30")
    assert list(last.y) == pytest.approx([(0.9 * 0.97 + 0.91 * 0.99) / 2] * 4)
    assert "2 seeds" in last.hovertext[0]
    assert "seed 1" in last.hovertext[0] and "epoch 3" in last.hovertext[0]
    assert last.name == "late (1 of 2 seeds stopped)"


def test_fusion_layers_are_shaded_as_in_the_figure_that_does_not_move():
    figure = training_curves(rows((LATE, 0, EPOCHS)), [LATE], "transitions", "vision")
    assert spans(figure.layout.shapes) == [(2.5, 4.5)]


def test_many_steps_are_thinned_evenly_and_both_ends_are_kept():
    many = tuple((1 + step // 1000, step) for step in range(0, 900, 3))
    figure = training_curves(rows((LATE, 0, many)), [LATE], "transitions", "text")
    steps = [int(frame.name) for frame in figure.frames]
    assert len(steps) == MOST_FRAMES and steps[0] == 0 and steps[-1] == 897
    assert max(np.diff(steps)) - min(np.diff(steps)) <= 3


def test_the_heatmap_has_a_row_a_layer_and_a_column_a_step():
    figure = training_heatmap(rows((LATE, 0, EPOCHS)), LATE, "transitions", "text")
    heat = figure.data[0]
    assert np.asarray(heat.z, dtype=float).shape == (4, 4)
    assert np.asarray(heat.z, dtype=float)[:, 2] == pytest.approx([0.9 * 0.98] * 4)
    assert (heat.zmin, heat.zmax) == (0, 1)
    assert list(figure.layout.xaxis.ticktext) == ["0", "1", "2", "3"]
    assert figure.layout.xaxis.title.text == "epoch of the training (0 = untrained)"
    assert list(figure.layout.yaxis.ticktext) == ["1", "2 ◆", "3", "4 ◆"]
    assert "epoch 2" in heat.hovertext[0][2] and "text 0 to 1" in heat.hovertext[0][2]


def test_an_undefined_cell_of_the_heatmap_is_marked_and_gives_its_reason():
    figure = training_heatmap(rows((LATE, 0, EPOCHS)), LATE, "alignment", "")
    assert "constant" in figure.data[0].hovertext[0][1]
    marks = figure.data[1]
    assert marks.name == "undefined" and sorted(zip(marks.x, marks.y, strict=True)) == [
        (0, 0), (1, 0), (2, 0), (3, 0),
    ]  # fmt: skip


def test_the_heatmap_says_which_seed_is_held():
    frame = rows((LATE, 0, EPOCHS), (LATE, 1, EPOCHS[:3]))
    heat = training_heatmap(frame, LATE, "transitions", "text").data[0]
    assert "seed 1 stopped after epoch 2" in heat.hovertext[0][3]
    assert "stopped" not in heat.hovertext[0][2]


def test_nothing_measured_gives_an_empty_figure_and_no_error():
    frame = rows((LATE, 0, EPOCHS)).iloc[:0]
    for quantity in QUANTITIES:
        assert not training_curves(frame, [LATE], quantity, "text").frames
        assert not training_heatmap(frame, LATE, quantity, "text").data


def test_names_from_data_cannot_bring_markup_into_frames():
    series = replace(LATE, label="<img src=x>")
    frame = rows((LATE, 0, EPOCHS), (NONE, 0, EPOCHS[:2]))
    assert "<img" not in training_curves(frame, [series, NONE], "transitions", "text").to_json()
