"""The whole path from a checkpoint to numbers, on a tiny model of every family."""

from __future__ import annotations

import json

import numpy as np
import pytest

from backend.models.placement import NAMES
from backend.models.registry import FAMILIES as REGISTRY
from backend.store import Store
from backend.types import POOLINGS
from backend.views.groups import RunInfo, group_runs
from tests.paths.made import FAMILIES, PLACED, PROBED, Made, N, command

RUNS = (*FAMILIES, *PLACED)
OURS = "fusionscope-fusion"


def test_every_registered_family_goes_the_whole_path() -> None:
    assert {*FAMILIES.values(), OURS} == set(REGISTRY)


@pytest.mark.parametrize("name", RUNS)
def test_everything_that_was_captured_is_measured_and_projected(made: Made, name: str) -> None:
    run = Store(made.every).run(made.runs[name])
    assert run.manifest.model.family == FAMILIES.get(name, OURS)
    declared = {
        (ref, pooling)
        for spec in run.streams
        for ref in spec.refs
        for pooling in spec.poolings_of(ref)
    }
    assert set(run.captured()) == declared
    for ref, pooling in declared:
        vectors = run.vectors(ref.stream, ref, pooling)
        spec = next(spec for spec in run.streams if spec.name == ref.stream)
        assert vectors.shape == (N, spec.width_of(ref))
        assert np.isfinite(vectors).all()
    measured = run.measures()
    places = {
        (row.stream_a, row.layer_a, row.site_a, row.pooling)
        for row in measured[measured["measure"].eq("participation_ratio")].itertuples()
    }
    assert places == {(r.stream, r.layer, r.site, pooling) for r, pooling in declared}
    assert ("linear_probe" in set(measured["measure"])) is (name == PROBED)
    projected = run.projections(method="pca")
    columns = ["stream", "layer", "site", "pooling"]
    assert set(projected[columns].itertuples(index=False, name=None)) == places
    assert len(projected) == N * len(places)


def test_no_two_models_share_a_run_id(made: Made) -> None:
    assert len(set(made.runs.values())) == len(RUNS)
    assert set(Store(made.every).run_ids()) == set(made.runs.values())
    for name in FAMILIES:
        run = Store(made.every).run(made.runs[name])
        assert run.run_id.endswith(run.manifest.model.digest[:8])


def test_no_released_model_is_grouped_with_the_models_that_do_not_fuse(made: Made) -> None:
    store = Store(made.every)
    groups = group_runs(RunInfo(entry, store.source) for entry in store.listing().entries)
    assert len(groups) == len(RUNS)
    assert [group.name for group in groups if group.placed] == [*PLACED]
    for group in groups:
        if not group.placed:
            assert group.manifest.placement is None and group.seeds == ()
            assert group.name not in NAMES


def test_the_list_of_runs_for_scripts_tells_every_models_streams(made: Made) -> None:
    rows = {
        row["run_id"]: row for row in json.loads(command("runs", "--store", made.every, "--json"))
    }
    for name in FAMILIES:
        row = rows[made.runs[name]]
        # Two encoders side by side say themselves what they are called.
        called = f"tiny-{name.replace('_', '-')}"
        assert row["model"] == called
        assert (row["placement"], row["seed"], row["n"]) == (None, None, N)
        assert set(row["poolings"]) <= set(POOLINGS)
    streams = {
        name: {stream["name"]: stream["fusion_layers"] for stream in rows[run]["streams"]}
        for name, run in made.runs.items()
    }
    assert streams["clip"] == {"vision": [], "text": []}
    assert set(streams["blip2"]) == {"vision", "query", "image", "text"}
    assert streams["whisper"] == {"audio": [], "text": [1, 2, 3]}
    assert rows[made.runs["none"]]["placement"] == "none"


def test_the_store_has_no_faults(made: Made) -> None:
    assert f"{len(RUNS)} runs checked, no faults" in command("verify", "--store", made.every)


@pytest.mark.parametrize("pair", [("clip", "llava"), ("none", "vilt"), ("lxmert", "whisper")])
def test_two_models_of_the_same_samples_are_compared(made: Made, pair: tuple[str, str]) -> None:
    ids = [made.runs[name] for name in pair]
    assert f"{ids[0]} ~ {ids[1]}: mean" in command("compare", *ids, "--store", made.every)
    rows = Store(made.every).pair(*ids).measures()
    assert rows["value"].notna().any()
    streams = [{s.name for s in Store(made.every).run(run_id).streams} for run_id in ids]
    assert set(rows["stream_a"]) <= streams[0] and set(rows["stream_b"]) <= streams[1]
