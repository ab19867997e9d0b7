"""What is stored between two runs: seen from either side, stale when a run is replaced, whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from backend.errors import InputError
from backend.store import Store, kinds, verify

A, B, C = "late-seed0", "none-seed0", "none-seed1"


@pytest.fixture
def rows(store: Store) -> pd.DataFrame:
    """Two cells between A and B: vision 1 of A with text 3 of B, and text 4 with vision 2."""
    one = store.run(A).measures(["cka"]).drop(columns="key").dropna(subset=["value"]).iloc[:2]
    return one.assign(
        stream_a=["vision", "text"],
        layer_a=[1, 4],
        site_a="block",
        stream_b=["text", "vision"],
        layer_b=[3, 2],
        site_b="block",
        value=[0.25, 0.5],
    )


def cells(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    columns = ["stream_a", "layer_a", "stream_b", "layer_b", "value"]
    return list(frame[columns].itertuples(index=False, name=None))


def recapture(store: Store, factory: ModuleType, run_id: str) -> None:
    """Replace a run by one of the same id that was made later."""
    manifest = store.run(run_id).manifest.model_copy(
        update={"created": "2026-03-01T12:00:00+00:00"}
    )
    with store.writer(manifest, replace=True) as writer:
        factory.write_parts(writer, factory.make_samples(48), factory.make_vectors(manifest, 48))
        writer.commit()


def test_a_comparison_is_stored_once_and_read_from_either_side(
    store: Store, rows: pd.DataFrame
) -> None:
    assert store.pair(A, B).keys(kinds.COMPARISONS) == () and store.pair(A, B).measures().empty
    store.pair(A, B).add(kinds.COMPARISONS, rows, "cka-cls-1")
    assert (
        store.pair(A, B).keys(kinds.COMPARISONS)
        == store.pair(B, A).keys(kinds.COMPARISONS)
        == ("cka-cls-1",)
    )
    there, back = store.pair(A, B).measures(), store.pair(B, A).measures()
    assert cells(there) == [("vision", 1, "text", 3, 0.25), ("text", 4, "vision", 2, 0.5)]
    assert cells(back) == [("text", 3, "vision", 1, 0.25), ("vision", 2, "text", 4, 0.5)]
    assert list(there["key"].unique()) == ["cka-cls-1"]
    files = [p.relative_to(store.path) for p in (store.path / "comparisons").rglob("*.parquet")]
    assert [str(p.parent) for p in files] == [f"comparisons/{A}~{B}"]
    assert verify(store) == []


def test_written_from_the_other_side_it_reads_the_same(store: Store, rows: pd.DataFrame) -> None:
    store.pair(B, A).add(kinds.COMPARISONS, rows, "cka-cls-1")
    assert cells(store.pair(A, B).measures())[0] == ("text", 3, "vision", 1, 0.25)
    assert cells(store.pair(B, A).measures())[0] == ("vision", 1, "text", 3, 0.25)


def test_a_key_is_written_once_and_bad_rows_not_at_all(store: Store, rows: pd.DataFrame) -> None:
    pair = store.pair(A, B)
    pair.add(kinds.COMPARISONS, rows, "k")
    with pytest.raises(InputError, match="a store is never edited"):
        pair.add(kinds.COMPARISONS, rows, "k")
    with pytest.raises(ValueError, match="must have a reason"):
        pair.add(kinds.COMPARISONS, rows.assign(value=np.nan), "other")
    with pytest.raises(InputError, match="comparison key"):
        pair.add(kinds.COMPARISONS, rows, "../k")
    assert pair.keys(kinds.COMPARISONS) == ("k",)


def test_a_run_with_itself_or_with_one_that_does_not_exist_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="cannot be compared with itself"):
        store.pair(A, A)
    with pytest.raises(InputError, match=r"no run 'late-seed7'.*Did you mean late-seed"):
        store.pair(A, "late-seed7")


def test_a_replaced_run_makes_its_comparisons_stale_and_new_ones_can_be_added(
    store: Store, rows: pd.DataFrame, store_factory: ModuleType
) -> None:
    store.pair(A, B).add(kinds.COMPARISONS, rows, "k")
    store.pair(B, C).add(kinds.COMPARISONS, rows, "k")
    recapture(store, store_factory, A)
    pair = store.pair(A, B)
    assert pair.keys(kinds.COMPARISONS) == () and pair.measures().empty
    assert [stale.replaced for stale in pair.stale()] == [(A,)]
    assert store.pair(B, C).keys(kinds.COMPARISONS) == ("k",), "the other pair is as it was"
    (finding,) = verify(store)
    assert finding.kind == "information" and f"made from {A} before it was replaced" in str(finding)
    pair.add(kinds.COMPARISONS, rows.assign(value=0.75), "k")
    assert set(pair.measures()["value"]) == {0.75}
    assert len(pair.stale()) == 1


def test_a_copy_of_the_store_has_its_comparisons(
    store: Store, rows: pd.DataFrame, tmp_path: Path
) -> None:
    store.pair(A, B).add(kinds.COMPARISONS, rows, "k")
    store.pair(A, B).add(kinds.COMPARISONS, rows, "l")
    copy = Store(shutil.copytree(store.path, tmp_path / "copy"))
    assert copy.pair(A, B).keys(kinds.COMPARISONS) == ("k", "l")


def test_a_deleted_run_takes_its_comparisons_along(store: Store, rows: pd.DataFrame) -> None:
    store.pair(A, B).add(kinds.COMPARISONS, rows, "k")
    store.pair(B, C).add(kinds.COMPARISONS, rows, "k")
    store.delete(A)
    assert [p.name for p in (store.path / "comparisons").iterdir()] == [f"{B}~{C}"]
    shutil.rmtree(store.path / "runs" / C)
    (finding,) = verify(store)
    assert finding.kind == "information" and f"{C}, which is gone" in str(finding)


def test_a_corrupt_file_is_named_by_the_reader_and_by_verify(
    store: Store, rows: pd.DataFrame, flip: Callable[[Path], None]
) -> None:
    pair = store.pair(A, B)
    pair.add(kinds.COMPARISONS, rows, "k")
    flip(pair.contents.file(kinds.COMPARISONS, pair.stored_key("k")))
    with pytest.raises(InputError, match=r"comparisons/.*k\..*corrupt Parquet"):
        pair.measures()
    assert any("corrupt" in str(finding) for finding in verify(store))


def test_layers_that_a_run_does_not_have_are_found(store: Store, rows: pd.DataFrame) -> None:
    store.pair(A, B).add(kinds.COMPARISONS, rows.assign(layer_b=[3, 9]), "k")
    (finding,) = verify(store)
    assert finding.kind == "problem" and "vision layer 9 is not a layer" in finding.problem


def test_what_is_no_comparison_is_passed_over(store: Store, rows: pd.DataFrame) -> None:
    store.pair(A, B).add(kinds.COMPARISONS, rows, "k")
    folder = store.path / "comparisons"
    (folder / "notes").mkdir()
    (folder / f"{B}~{A}").mkdir()
    (folder / f"{A}~{B}" / "mine.parquet").write_text("x")
    assert store.pair(A, B).keys(kinds.COMPARISONS) == ("k",)
    assert verify(store) == []


def test_a_pair_that_leads_out_of_the_store_is_refused(store: Store, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (store.path / "comparisons").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="leads out of the store"):
        store.pair(A, B).keys(kinds.COMPARISONS)


HALF = """
import sys, time
import pandas as pd
from pathlib import Path
from backend.store import Store, kinds, tables
write = tables.pq.write_table
def half(table, where, **options):
    write(table, where, **options)
    Path(where).write_bytes(Path(where).read_bytes()[:300])
    print("here", flush=True)
    time.sleep(600)
tables.pq.write_table = half
pair = Store(sys.argv[1]).pair(sys.argv[2], sys.argv[3])
pair.add(kinds.COMPARISONS, pd.read_pickle(sys.argv[4]), "k")
"""


def test_a_killed_writer_leaves_nothing_visible(
    store: Store, rows: pd.DataFrame, tmp_path: Path
) -> None:
    rows.to_pickle(tmp_path / "rows.pickle")
    words = [sys.executable, "-c", HALF, str(store.path), A, B, str(tmp_path / "rows.pickle")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        process.kill()
    pair = store.pair(A, B)
    assert pair.keys(kinds.COMPARISONS) == () and pair.stale() == () and verify(store) == []
    pair.add(kinds.COMPARISONS, rows, "k")
    assert cells(pair.measures())[0][-1] == 0.25
