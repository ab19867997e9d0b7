"""Ids and layers become paths in one place, and never one outside the store."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import InputError
from backend.store import Store
from backend.store.paths import StorePaths, activation_name, check_id, parse_activation_name
from backend.types import LayerRef, Pooling


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
    run = StorePaths(Path("store")).run("r")
    for path_of in (run.measure, run.projection):
        with pytest.raises(InputError, match="is not valid"):
            path_of(key)


def test_a_link_out_of_the_store_is_refused(store: Store, tmp_path: Path) -> None:
    outside = store.paths.run("none-seed0").dir.rename(tmp_path / "outside")
    (store.path / "runs" / "none-seed0").symlink_to(outside)
    with pytest.raises(InputError, match="leads out of the store"):
        store.run("none-seed0")
    assert [item.run_id for item in store.broken()] == ["none-seed0"]


def test_a_linked_directory_inside_a_run_is_refused(store: Store, tmp_path: Path) -> None:
    run = store.run("none-seed0")
    outside = run.paths.activations.rename(tmp_path / "outside")
    (run.paths.dir / "activations").symlink_to(outside)
    with pytest.raises(InputError, match="leads out of the store"):
        run.vectors("vision", 1)


def test_a_store_reached_through_a_link_reads(store: Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.path)
    assert Store(tmp_path / "link").run("none-seed0").vectors("vision", 1).shape == (48, 12)


@pytest.mark.parametrize("stream", ["vision", "q-former", "text.2", "a-1-cls"])
@pytest.mark.parametrize("label", ["0", "12", "4.fusion"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_layers_file_name_reads_back(stream: str, label: str, pooling: Pooling) -> None:
    ref = LayerRef.parse(stream, label)
    name = activation_name(ref, pooling)
    assert name == f"{stream}-{label}-{pooling}"
    assert parse_activation_name(name) == (ref, pooling)


@pytest.mark.parametrize("stem", ["vision-4", "vision-x-cls", "vision-4-max", "-4-cls", "a", ""])
def test_a_name_that_is_no_layer_is_none(stem: str) -> None:
    assert parse_activation_name(stem) is None
