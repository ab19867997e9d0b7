"""Ids and layers become paths in one place, and never one outside the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InputError
from backend.store import Store
from backend.store.kinds import MEASURES, PROJECTIONS
from backend.store.paths import StorePaths, check_id, layer_name, part_name, part_starts
from backend.store.table_files import RunTables
from backend.types import LayerRef


@pytest.mark.parametrize("good", ["a", "late-seed0", "v1.2_x", "-x", "0", "a" * 80])
def test_an_id_is_letters_digits_dots_dashes_underscores(good: str) -> None:
    assert check_id(good) == good


@pytest.mark.parametrize(
    "bad", ["", ".", "..", ".x", "a/b", "a\\b", "a b", "ü", "a\n", "a\0", "a" * 81, "../../etc"]
)
def test_anything_else_is_refused_in_one_line(bad: str) -> None:
    with pytest.raises(InputError, match="is not valid") as caught:
        check_id(bad)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=12))
def test_no_text_leads_out_of_the_store(text: str) -> None:
    root = Path("store")
    try:
        path = StorePaths(root).run(text).dir
    except InputError:
        return
    assert path.resolve().parent == (root / "runs").resolve()


@pytest.mark.parametrize("key", ["../x", ".hidden", "a/b"])
def test_keys_are_checked_like_ids(key: str) -> None:
    run = RunTables(StorePaths(Path("store")).run("r"))
    for kind in (MEASURES, PROJECTIONS):
        with pytest.raises(InputError, match="is not valid"):
            run.file(kind, key)


def test_a_link_out_of_the_store_is_refused(store: Store, tmp_path: Path) -> None:
    outside = store.paths.run("none-seed0").dir.rename(tmp_path / "outside")
    (store.path / "runs" / "none-seed0").symlink_to(outside)
    with pytest.raises(InputError, match="leads out of the store"):
        store.run("none-seed0")
    assert [item.run_id for item in store.broken()] == ["none-seed0"]


def test_a_linked_directory_inside_a_run_is_refused(store: Store, tmp_path: Path) -> None:
    run = store.run("none-seed0")
    outside = run.contents.paths.activations.rename(tmp_path / "outside")
    (run.contents.paths.dir / "activations").symlink_to(outside)
    with pytest.raises(InputError, match="leads out of the store"):
        run.vectors("vision", 1)


def test_a_store_reached_through_a_link_reads(store: Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.path)
    assert Store(tmp_path / "link").run("none-seed0").vectors("vision", 1).shape == (48, 12)


@pytest.mark.parametrize("stream", ["../x", "a/b", ".hidden"])
def test_a_stream_never_leads_out_of_the_run(stream: str) -> None:
    run = StorePaths(Path("store")).run("r")
    for path_of in (run.layer, run.whole_layer, layer_name):
        with pytest.raises(InputError, match=r"stream name .* is not valid"):
            path_of(LayerRef(stream, 4), "cls")


def test_parts_sort_as_their_rows_and_nothing_else_is_one(tmp_path: Path) -> None:
    for name in (part_name(1000), part_name(0), part_name(20), ".tmp-1", "part-5.parquet", "x"):
        (tmp_path / name).touch()
    assert part_starts(tmp_path) == (0, 20, 1000)
    assert part_starts(tmp_path / "missing") == ()
