"""Measures while a model is trained: right values at the right steps, and no trace in the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from backend.capture.options import CaptureOptions
from backend.errors import InputError
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.jobs.training_measures import (
    FILE,
    TrainingMeasures,
    read_training_measures,
    require_measured,
)
from backend.measures import cka
from backend.measures.suite.dimensions import of_spectrum
from backend.store import Store, kinds
from backend.store.verify import verify
from backend.train.loop import train_seed
from backend.train.options import MeasureOptions
from tests.train.test_training import PLAN, same, source
from tests.watch import Watch

SMALL = replace(PLAN, epochs=2, freeze="text=1;vision=1")  # 64 samples, 4 steps an epoch


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("measured")
    return train_seed(SMALL, source(), 0, out, observer=TrainingMeasures("epoch"))


def rows(folder: Path) -> pd.DataFrame:
    found = read_training_measures(folder)
    assert found is not None
    return found


def value(frame: pd.DataFrame, step: int, a: tuple[str, int], b: tuple[str, int]) -> float:
    row = frame[
        (frame["step"] == step)
        & (frame["measure"] == "cka")
        & (frame["estimator"] == "debiased")
        & (frame["stream_a"] == a[0])
        & (frame["layer_a"] == a[1])
        & (frame["stream_b"] == b[0])
        & (frame["layer_b"] == b[1])
        & (frame["site_a"] == "block")
        & (frame["site_b"] == "block")
    ]
    assert len(row) == 1
    return float(row["value"].iloc[0])


def test_each_epoch_has_transitions_matching_layers_and_dimensions(measured: Path) -> None:
    frame = rows(measured)
    assert frame[["epoch", "step"]].drop_duplicates().to_numpy().tolist() == [
        [0, 0],
        [1, 4],
        [2, 8],
    ]
    assert set(frame["measure"]) == {"cka", *of_spectrum()}
    assert set(frame["n"]) == {32}
    for k in range(1, 4):
        for stream in ("vision", "text"):
            value(frame, 8, (stream, k), (stream, k + 1))
        value(frame, 4, ("vision", k), ("text", k))
    assert value(frame, 0, ("vision", 4), ("text", 4)) != value(
        frame, 8, ("vision", 4), ("text", 4)
    )


def test_measuring_does_not_change_the_training(measured: Path, tmp_path: Path) -> None:
    assert same(measured, train_seed(SMALL, source(), 0, tmp_path / "a"))
    every = TrainingMeasures("3", samples=9)
    often = train_seed(SMALL, source(), 0, tmp_path / "b", observer=every)
    assert same(measured, often)
    assert sorted(set(rows(often)["step"])) == [0, 3, 6]
    assert set(rows(often)["n"]) == {9}


def test_a_killed_training_ends_with_the_same_rows(measured: Path, tmp_path: Path) -> None:
    in_epoch_2 = Watch(lambda done, *_: done == 4 + 4)  # after the second epoch was measured
    with pytest.raises(KeyboardInterrupt):
        train_seed(SMALL, source(), 0, tmp_path, in_epoch_2, observer=TrainingMeasures("epoch"))
    again = train_seed(SMALL, source(), 0, tmp_path, observer=TrainingMeasures("epoch"))
    pd.testing.assert_frame_equal(rows(again), rows(measured))
    assert same(again, measured)


@pytest.mark.parametrize(
    ("every", "samples", "said"),
    [
        ("3", 256, "measure_every: was measured every epoch on 256 samples"),
        ("epoch", 9, "measure_samples: was measured every epoch on 256 samples"),
    ],
)
def test_rows_of_other_options_are_never_mixed(
    measured: Path, tmp_path: Path, every: str, samples: int, said: str
) -> None:
    in_epoch_2 = Watch(lambda done, *_: done == 4 + 1)
    with pytest.raises(KeyboardInterrupt):
        train_seed(SMALL, source(), 0, tmp_path, in_epoch_2, observer=TrainingMeasures("epoch"))
    other = TrainingMeasures(every, samples)
    with pytest.raises(InputError, match=f"{FILE}: {said}.*delete the file"):
        train_seed(SMALL, source(), 0, tmp_path, observer=other)
    # Nothing is lost: it goes on as it began, or as it is asked from here on.
    (table,) = tmp_path.rglob(FILE)
    table.unlink()
    anew = rows(train_seed(SMALL, source(), 0, tmp_path, observer=other))
    assert set(anew["epoch"]) == {2} and set(anew["n"]) == {min(samples, 32)}
    require_measured(measured, MeasureOptions("epoch", 256))
    with pytest.raises(InputError, match=f"{said}.*finished.*Choose another `out`"):
        require_measured(measured, MeasureOptions(every, samples))


def test_rows_of_an_older_version_are_taken_up(measured: Path, tmp_path: Path) -> None:
    table = pq.read_table(measured / FILE)
    pq.write_table(table.replace_schema_metadata({}), tmp_path / FILE)
    require_measured(tmp_path, MeasureOptions("3", 9))


def test_capture_copies_the_rows_into_the_run_and_they_are_those_of_the_model(
    measured: Path, tmp_path: Path
) -> None:
    plan = replace(SMALL, epochs=1)
    one = train_seed(plan, source(), 0, tmp_path / "o", observer=TrainingMeasures("epoch"))
    request = CaptureRequest(
        model=str(one),
        data=PLAN.data,
        store=str(tmp_path / "s"),
        options=CaptureOptions(split="dev"),
    )
    run_id = run_capture(request, open_request(request)).run_id
    store = Store(tmp_path / "s")
    run = store.run(run_id)
    pd.testing.assert_frame_equal(run.training_measures(), rows(one))
    assert not verify(store)
    # The best epoch is the last one, so the checkpoint is the model that was measured.
    last = rows(one)
    for a, b in ((("vision", 3), ("vision", 4)), (("vision", 4), ("text", 4))):
        expected = float(cka(run.vectors(*a), run.vectors(*b)))
        assert value(last, 4, a, b) == pytest.approx(expected, abs=1e-5)


def test_a_run_without_them_has_no_rows_and_a_damaged_file_is_named(
    measured: Path, tmp_path: Path
) -> None:
    request = CaptureRequest(
        model=str(measured), data=PLAN.data, store=str(tmp_path / "s"), run_id="r"
    )
    run_capture(request, open_request(request))
    store = Store(tmp_path / "s")
    path = store.run("r").contents.file(kinds.TRAINING_MEASURES)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)
    assert [finding.file for finding in verify(store)] == ["training_measures.parquet"]
    path.unlink()
    assert store.run("r").training_measures().empty


def test_a_finished_checkpoint_that_was_not_measured_is_named(
    measured: Path, tmp_path: Path
) -> None:
    require_measured(measured, MeasureOptions("epoch"))
    with pytest.raises(InputError, match="was trained without `measure_every`"):
        require_measured(tmp_path, MeasureOptions("epoch"))


@pytest.mark.parametrize("every", ["0", "-1", "often", "1.5", ""])
def test_an_interval_that_is_none_is_refused(every: str) -> None:
    with pytest.raises(InputError, match="measure_every: "):
        TrainingMeasures(every)


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="measure_samples: "):
        TrainingMeasures("epoch", samples=3)


def test_layer_0_of_cls_is_undefined_with_its_reason(measured: Path) -> None:
    frame = rows(measured)
    zero = frame[(frame["layer_a"] == 0) & (frame["measure"] == "cka")]
    assert np.isnan(zero["value"]).all()
    assert zero["reason"].str.contains("constant").all()
