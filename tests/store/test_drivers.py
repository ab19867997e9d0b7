"""Driving samples: written with a run or added to it, found by pair, checked by verify."""

import pandas as pd
import pytest

from backend.errors import InputError
from backend.store import Store, kinds, verify
from backend.types import LayerRef


def rows(ids, layer=2):
    return pd.DataFrame(
        {
            "stream_a": "vision",
            "layer_a": layer,
            "site_a": "block",
            "stream_b": "text",
            "layer_b": 1,
            "site_b": "block",
            "pooling": "cls",
            "rank": [1, 2, -1],
            "sample_id": ids,
            "share": [0.5, 0.2, -0.1],
        }
    )


@pytest.fixture
def run(tmp_path, store_factory):
    store = store_factory.make_store(tmp_path / "s", placements=("late",), seeds=(0,), n=16)
    return store.run("late-seed0")


def test_added_drivers_are_found_by_their_pair_and_change_the_token(run, tmp_path):
    store = Store(tmp_path / "s")
    before = store.token("late-seed0")
    run.add(kinds.DRIVERS, rows(list(run.sample_ids()[:3])), "a")
    run.add(kinds.DRIVERS, rows(list(run.sample_ids()[3:6]), layer=3), "b")
    assert store.token("late-seed0") != before
    found = run.drivers(LayerRef("vision", 3), LayerRef("text", 1), "cls")
    assert found["sample_id"].tolist() == list(run.sample_ids()[3:6])
    assert len(run.drivers()) == 6
    assert run.drivers(pooling="mean").empty
    with pytest.raises(InputError, match="a store is never edited"):
        run.add(kinds.DRIVERS, rows(list(run.sample_ids()[:3])), "a")


def test_verify_names_drivers_of_unknown_samples_and_broken_files(run, tmp_path):
    run.add(kinds.DRIVERS, rows(["nobody", *run.sample_ids()[:2]]), "a")
    run.add(kinds.DRIVERS, rows(list(run.sample_ids()[:3])), "b")
    run.contents.file(kinds.DRIVERS, "b").write_bytes(b"PAR1")
    found = {finding.file: finding.problem for finding in verify(Store(tmp_path / "s"))}
    assert "samples that the run does not have" in found["drivers/a.parquet"]
    assert "corrupt Parquet" in found["drivers/b.parquet"]


def test_a_share_that_is_no_number_is_refused(run):
    frame = rows(list(run.sample_ids()[:3]))
    frame.loc[0, "share"] = float("nan")
    with pytest.raises(ValueError, match="share holds NaN"):
        run.add(kinds.DRIVERS, frame, "a")
