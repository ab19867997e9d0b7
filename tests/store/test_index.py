"""A listing shows a store as it is, however many runs it has and whoever wrote the index."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

from backend.errors import InputError
from backend.store import Store, directory
from backend.store.index import INDEX_NAME, Entry, entries_in, read_index, table_of


@pytest.fixture
def indexed(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of four runs that counts as large, with its index."""
    monkeypatch.setattr(directory, "WORTH_WRITING", 3)
    store.listing()
    assert (store.path / INDEX_NAME).is_file()
    return store


def _rename(store: Store) -> None:
    shutil.copytree(store.path / "runs/late-seed0", store.path / "runs/copied")
    run_json = store.path / "runs/copied/run.json"
    run_json.write_text(run_json.read_text().replace('"late-seed0"', '"copied"'))


def _replace(store: Store) -> None:
    _rename(store)
    (store.path / "runs/copied").rename(store.path / "elsewhere")
    raw = (store.path / "elsewhere/run.json").read_text().replace('"copied"', '"late-seed0"')
    shutil.rmtree(store.path / "elsewhere")
    shutil.copytree(store.path / "runs/late-seed1", store.path / "runs/.new")
    (store.path / "runs/.new/run.json").write_text(raw)
    shutil.rmtree(store.path / "runs/late-seed0")
    (store.path / "runs/.new").rename(store.path / "runs/late-seed0")


def _edit(store: Store) -> None:
    run_json = store.path / "runs/late-seed0/run.json"
    raw = json.loads(run_json.read_text())
    raw["model"]["name"] = "another"
    run_json.write_text(json.dumps(raw))


CHANGES: dict[str, Callable[[Store], object]] = {
    "copied in": _rename,
    "replaced": _replace,
    "edited": _edit,
    "deleted": lambda store: store.delete("late-seed0"),
    "without vectors": lambda s: shutil.rmtree(s.path / "runs/late-seed0/activations"),
    "broken": lambda store: (store.path / "runs/late-seed0/run.json").write_text("{"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_that_is_changed_shows_at_once_in_this_process_and_in_the_next(
    indexed: Store, change: str
) -> None:
    before = indexed.listing()
    assert indexed.listing() is before
    CHANGES[change](indexed)
    now = indexed.listing()
    assert now != before
    (indexed.path / INDEX_NAME).rename(indexed.path / "kept")
    truth = Store(indexed.path).listing()
    (indexed.path / "kept").rename(indexed.path / INDEX_NAME)
    assert now == truth == Store(indexed.path).listing()


def test_what_the_index_knows_is_not_read_again(
    indexed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing = indexed.listing()
    read: list[str] = []
    real = directory.entry_of

    def counting(*arguments: object, **more: bool) -> Entry:
        entry = real(*arguments, **more)  # type: ignore[arg-type]
        read.append(entry.run_id)
        return entry

    monkeypatch.setattr(directory, "entry_of", counting)
    assert Store(indexed.path).listing() == listing and not read
    _edit(indexed)
    assert Store(indexed.path).listing().entries[0].model == "another"
    assert read == ["late-seed0"]


def test_a_small_store_has_no_index(store: Store) -> None:
    store.listing()
    assert not (store.path / INDEX_NAME).exists()


@pytest.mark.parametrize("broken", ["garbage", "other columns", "other version", "a directory"])
def test_an_index_that_does_not_fit_is_ignored_and_written_anew(
    indexed: Store, broken: str
) -> None:
    listing, path = indexed.listing(), indexed.path / INDEX_NAME
    table = pq.ParquetFile(path).read()
    path.unlink()
    match broken:
        case "garbage":
            path.write_bytes(b"PAR1 and no more")
        case "other columns":
            pq.write_table(table.drop_columns(["scores"]), path)
        case "other version":
            renamed = table.set_column(1, "label", table["label"])
            pq.write_table(renamed.replace_schema_metadata({"fusionscope": "0.0.0"}), path)
        case "a directory":
            path.mkdir()
    assert Store(indexed.path).listing() == listing
    if broken != "a directory":
        assert tuple(read_index(indexed.path).values()) == listing.entries


def test_a_store_that_cannot_be_written_to_is_listed_without_an_index(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "WORTH_WRITING", 3)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert len(store.listing().entries) == 4
    assert not (store.path / INDEX_NAME).exists()


def test_several_that_write_the_index_at_once_leave_one_that_fits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "WORTH_WRITING", 3)
    with ThreadPoolExecutor(6) as pool:
        listings = list(pool.map(lambda _: Store(store.path).listing(), range(12)))
    assert all(listing == listings[0] for listing in listings)
    names = {path.name for path in store.path.iterdir()}
    assert INDEX_NAME in names and not any(name.startswith(".tmp-") for name in names)
    assert Store(store.path).listing() == listings[0]


def test_entries_survive_the_index_to_the_last_number(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store_factory.make_store(tmp_path, ("late",), (0,), n=8)
    store_factory.make_released_store(tmp_path, n=8)
    entries = Store(tmp_path).listing().entries
    assert any(entry.seed is None for entry in entries) and any(e.scores for e in entries)
    assert any(not entry.scores for entry in entries)
    assert tuple(entries_in(table_of(entries))) == entries
    assert tuple(entries_in(table_of(()))) == ()
    for entry in entries:
        assert entry.specs == entry.manifest.streams
        assert entry.score_summary == Store(tmp_path).run(entry.run_id).score_summary()


def test_a_link_out_of_the_store_is_no_run(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.path / "runs/late-seed0", tmp_path / "outside")
    (store.path / "runs/late-seed9").symlink_to(tmp_path / "outside")
    reasons = {item.run_id: item.reason for item in store.broken()}
    assert "leads out of the store" in reasons["late-seed9"]
    with pytest.raises(InputError, match="leads out of the store"):
        store.run("late-seed9")
