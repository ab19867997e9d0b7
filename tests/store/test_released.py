"""Runs of models that were not trained here: any streams, named sites, no placement and no seed."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from backend.cli import app
from backend.errors import InputError
from backend.store import Run, Store, kinds, verify
from backend.store.commands import activations_command, measured_commands, train_command
from backend.types import LayerRef

ONE, THREE, TWO = (f"macros-tiny-{name}" for name in ("one", "three", "two"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType) -> Store:
    """Three released models and one of ours; do not change it."""
    path = tmp_path_factory.mktemp("mixed") / "store"
    store_factory.make_store(path, ("late",), (0,))
    made: Store = store_factory.make_released_store(path)
    return made


def run_of(store: Store, name: str) -> Run:
    return store.run(next(run_id for run_id in store.run_ids() if run_id.startswith(name)))


def test_a_store_of_any_models_is_whole(mixed: Store) -> None:
    assert verify(mixed) == []
    assert len(mixed.run_ids()) == 4


def test_a_run_has_the_sites_and_poolings_that_its_streams_declare(mixed: Store) -> None:
    run = run_of(mixed, THREE)
    assert run.captured() == run.manifest.captures
    assert [ref.label for ref in run.layers("vision", "cls")] == ["4.projected"]
    decoder = ["0", "1", "2.cross", "2", "3.cross", "3"]
    assert [ref.label for ref in run.layers("text_decoder")] == decoder
    folder = run.contents.paths.activations
    assert (folder / "text_decoder" / "3.cross-mean").is_dir()
    assert not any((folder / name).exists() for name in ("vision/0-cls", "text/4.projected-mean"))


def test_vectors_have_the_width_of_their_site(mixed: Store) -> None:
    run = run_of(mixed, THREE)
    widths = [run.vectors("vision", k, "mean").shape[1] for k in range(5)]
    assert widths == [8, 8, 12, 12, 16]
    assert run.vectors("vision", "4.projected").shape == (48, 6)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("vision", 0, "cls"), "stream vision has no summary token, so no cls. Use mean"),
        (("vision", "4.projected", "mean"), "pooled itself, so no mean. Use cls"),
        (("text", "4.norm", "cls"), "no cls vectors of text layer 4.norm. It has layers 0, 1"),
        (("vision", 9, "mean"), "no mean vectors of vision layer 9. It has layers 0, 1"),
    ],
)
def test_vectors_that_cannot_be_say_why(
    mixed: Store, place: tuple[str, int | str, str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        run_of(mixed, THREE).vectors(*place)  # type: ignore[arg-type]


def test_a_writer_reads_back_every_width(tmp_path: Path, store_factory: ModuleType) -> None:
    made = store_factory.make_released_manifest("three")
    vectors = store_factory.make_vectors(made, 5)
    with Store.create(tmp_path).writer(made) as writer:
        writer.write_part(store_factory.make_samples(5), vectors)
        assert [ref.label for ref in writer.layers("text")][-1] == "4.projected"
        for (ref, pooling), array in vectors.items():
            np.testing.assert_array_equal(writer.vectors(ref.stream, ref, pooling), array)


@pytest.mark.parametrize(
    ("key", "width", "said"),
    [
        ((LayerRef("vision", 0), "cls"), 8, r"poolings are \('mean',\)"),
        ((LayerRef("text", 4, "projected"), "mean"), 6, r"poolings are \('cls',\)"),
        ((LayerRef("vision", 4), "mean"), 8, r"expected \(5, 16\)"),
        ((LayerRef("text", 4, "norm"), "cls"), 10, r"no layer 4\.norm"),
    ],
)
def test_a_writer_refuses_what_a_site_does_not_have(
    tmp_path: Path,
    store_factory: ModuleType,
    key: tuple[LayerRef, str],
    width: int,
    said: str,
) -> None:
    made = store_factory.make_released_manifest("three")
    with Store.create(tmp_path).writer(made) as writer:
        with pytest.raises(ValueError, match=said):
            writer.write_part(store_factory.make_samples(5), {key: np.ones((5, width), np.float32)})
        assert writer.n_written == 0


def test_verify_finds_what_sites_do_not_have_and_what_is_missing(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store = store_factory.make_released_store(tmp_path, ("three",))
    run = run_of(store, THREE)
    folder = run.contents.paths.activations
    (folder / "vision" / "1-mean").rename(folder / "vision" / "0-cls")
    rows = run.measures().drop(columns="key")
    elsewhere = rows.head(1).assign(stream_a="text", layer_a=4, site_a="norm")
    run.add(kinds.MEASURES, elsewhere, "elsewhere")
    problems = {finding.file: finding.problem for finding in verify(store)}
    stray = "no part of a layer that run.json names"
    assert problems == {
        **{
            f"activations/vision/0-cls/part-0000000{at}.parquet": stray for at in ("00", "20", "40")
        },
        "activations/vision/1-mean": "layer is missing",
        "measures/elsewhere.parquet": "text layer 4.norm is not a layer of this run",
    }
    assert (LayerRef("vision", 0), "cls") not in run.captured()


def test_named_sites_are_found_in_every_table(mixed: Store) -> None:
    run = run_of(mixed, TWO)
    layer = run.projections("text", "3.projected")
    assert len(layer) == 48 and set(layer["site"]) == {"projected"}
    rows = run.measures(["cka"])
    shared = rows[rows["site_a"].eq("projected") & rows["site_b"].eq("projected")]
    assert set(zip(shared["stream_a"], shared["stream_b"], strict=True)) == {("vision", "text")}


def test_listings_tell_released_models_from_placements(mixed: Store) -> None:
    runs = mixed.runs().set_index("model")
    assert runs["label"].to_dict() == {
        "tiny-late": "late",
        "tiny-one": "tiny-one",
        "tiny-three": "tiny-three",
        "tiny-two": "tiny-two",
    }
    assert runs["placement"].isna().to_list() == [False, True, True, True]
    assert runs["seed"].isna().to_list() == [False, True, True, True]
    assert runs.loc["tiny-late", "seed"] == 0


def test_the_runs_command_lists_any_model(mixed: Store) -> None:
    result = CliRunner().invoke(app, ["runs", "--store", str(mixed.path), "--json"])
    rows = {row["model"]: row for row in json.loads(result.stdout)}
    assert set(rows["tiny-three"]) == {
        *("run_id", "model", "placement", "seed", "dataset", "n", "streams", "poolings"),
        *("tokens", "scores"),
    }
    assert rows["tiny-three"]["placement"] is None and rows["tiny-three"]["seed"] is None
    assert rows["tiny-late"]["placement"] == "late" and rows["tiny-late"]["seed"] == 0
    assert rows["tiny-three"]["streams"][2] == {
        "name": "text_decoder",
        "modality": "text",
        "depth": 3,
        "width": 14,
        "fusion_layers": [2, 3],
    }
    shown = CliRunner().invoke(app, ["runs", "--store", str(mixed.path)])
    assert "tiny-three" in shown.stdout and "model" in shown.stdout
    assert "None" not in shown.stdout


def test_a_released_model_is_captured_again_but_not_trained(store_factory: ModuleType) -> None:
    made = store_factory.make_released_manifest("two")
    model = made.model.model_copy(update={"revision": "c0ffee"})
    made = made.model_copy(update={"model": model})
    assert train_command(made) == "" and measured_commands(made, "s") == ()
    assert "--model hub/tiny-two --revision c0ffee --data macros" in activations_command(made, "s")


def test_measures_keep_the_names_of_sites(tmp_path: Path, store_factory: ModuleType) -> None:
    store = store_factory.make_released_store(tmp_path, ("two",), n=8)
    run = run_of(store, TWO)
    rows = run.measures().drop(columns="key")
    run.add(kinds.MEASURES, rows, "again")
    pd.testing.assert_frame_equal(run.measures(keys=["again"]).drop(columns="key"), rows)
    with pytest.raises(ValueError, match="site_a holds 'Norm'"):
        run.add(kinds.MEASURES, rows.assign(site_a="Norm"), "bad")
